"""The sizes of a transformers model, worked out from its config.json: layers, widths, and how many parameters.

{"model_type": "opt", "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072, ...} -> 125_239_296 parameters
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainers import hub
from trainers.known_models import CONFIGS
from trainers.paths import local_path
from trainers.world_build import EOS_ID, RECIPE


@dataclass(frozen=True)
class Linear:
    """A weight matrix of one layer, by its name in transformers."""

    name: str
    inputs: int
    outputs: int

    @property
    def size(self) -> int:
        """Weights in it, without a bias."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Shape:
    """What a decoder is made of; every layer is alike."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    vocab: int
    # The linear layers of one layer, attention's first.
    linears: tuple[Linear, ...]
    # Three feed-forward matrices, one of them a gate.
    gated: bool
    # The norm is torch's LayerNorm, not an RMS norm written out in steps.
    layer_norm: bool
    # The feed-forward part's function is known from what it returns.
    relu: bool
    # Weights and biases of embeddings, head, norms and whatever else is no linear layer's weight.
    rest: int
    # Of these, the words' embedding, and a head of its own, which a classifier lacks.
    embedding: int
    head_weights: int = 0
    # Positions are told by turning queries and keys, not by an embedding of their own.
    turned: bool = True

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.layers * self.linear + self.rest

    @property
    def linear(self) -> int:
        """Weights of one layer's linear layers: what is stored in 4 bits, and what adapters are put on."""
        return sum(linear.size for linear in self.linears)


@dataclass(frozen=True)
class _Kind:
    """How one kind of model is laid out: the names of its linear layers, and which parts have a bias."""

    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    # Biases: of which linear layers, and of the norms.
    biased: Callable[[Mapping[str, Any]], frozenset[str]] = lambda _: frozenset()
    norm_bias: bool = False
    norms: int = 2
    # transformers' default for configs that leave the key out.
    tied: bool = False
    head_bias: bool = False
    # Norms of each head's queries and keys.
    head_norms: bool = False
    # Learnt positions, and how many of them there are more than the config says.
    positions: int | None = None


def _when(key: str, *names: str, default: bool = False) -> Callable[[Mapping[str, Any]], frozenset[str]]:
    return lambda config: frozenset(names) if config.get(key, default) else frozenset()


_QKVO, _GATED = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
_LLAMA = _Kind(_QKVO, _GATED, _when("attention_bias", *_QKVO))
_KINDS: Mapping[str, _Kind] = {
    "llama": _Kind(
        _QKVO, _GATED,
        lambda config: _when("attention_bias", *_QKVO)(config) | _when("mlp_bias", *_GATED)(config),
    ),
    "mistral": _Kind(_QKVO, _GATED),
    "qwen2": _Kind(_QKVO, _GATED, lambda _: frozenset(_QKVO[:3])),
    "qwen3": _Kind(_QKVO, _GATED, _when("attention_bias", *_QKVO), head_norms=True),
    "gemma": _Kind(_QKVO, _GATED, tied=True),
    "gemma2": _Kind(_QKVO, _GATED, tied=True, norms=4),
    "phi3": _Kind(("qkv_proj", "o_proj"), ("gate_up_proj", "down_proj")),
    "stablelm": _Kind(_QKVO, _GATED, _when("use_qkv_bias", *_QKVO[:3]), norm_bias=True),
    "olmo": _Kind(_QKVO, _GATED, norms=0),
    "olmo2": _Kind(_QKVO, _GATED),
    "smollm3": _Kind(_QKVO, _GATED, tied=True),
    "opt": _Kind(
        ("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1", "fc2"),
        _when("enable_bias", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", default=True),
        norm_bias=True, tied=True, positions=2,
    ),
    "gpt_neox": _Kind(
        ("query_key_value", "dense"), ("dense_h_to_4h", "dense_4h_to_h"),
        lambda config: _when("attention_bias", "query_key_value", "dense", default=True)(config)
        | {"dense_h_to_4h", "dense_4h_to_h"},
        norm_bias=True,
    ),
    "gpt2": _Kind(
        ("c_attn", "c_proj"), ("c_fc", "mlp.c_proj"),
        lambda _: frozenset({"c_attn", "c_proj", "c_fc", "mlp.c_proj"}),
        norm_bias=True, tied=True, positions=0,
    ),
    "phi": _Kind(
        ("q_proj", "k_proj", "v_proj", "dense"), ("fc1", "fc2"),
        lambda _: frozenset({"q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"}),
        norm_bias=True, norms=1, head_bias=True,
    ),
}  # fmt: skip
# Where only the number of parameters is known: as in Llama, 128 hidden units a layer and heads of 128.
_UNITS_A_LAYER = 128
_TYPICAL_VOCAB = 32000


def from_config(config: Mapping[str, Any]) -> float | None:
    """Parameters of a Llama-like, OPT, GPT-NeoX, GPT-2 or Phi model; None for other kinds.

    Raises ValueError where the config lacks a size.
    """
    found = shape(config)
    return None if found is None else float(found.parameters)


def shape(config: Mapping[str, Any]) -> Shape | None:
    """The sizes of a model of a kind that is known, else None. Raises ValueError where the config lacks one."""
    kind = _KINDS.get(str(config.get("model_type")))
    if kind is None:
        return None
    try:
        return _shape(config, kind)
    except (KeyError, TypeError) as error:
        raise ValueError(f"config.json lacks {error}") from None


def typical(parameters: float) -> Shape:
    """A Llama of about so many parameters: 12 hidden^2 weights a layer, and a vocabulary of 32000."""
    hidden = max(8, round((parameters * _UNITS_A_LAYER / 12) ** (1 / 3)))
    layers = max(1, round(hidden / _UNITS_A_LAYER))
    heads = max(1, round(hidden / 128))
    return _shape(
        {
            "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "head_dim": max(1, hidden // heads), "intermediate_size": round(8 * hidden / 3),
            "vocab_size": min(_TYPICAL_VOCAB, max(256, int(parameters / (4 * hidden)))), "tie_word_embeddings": False,
        },
        _LLAMA,
    )  # fmt: skip


def config_at(path: str, revision: str | None) -> Mapping[str, Any] | None:
    """The config.json of the model at `path`, a folder or hub id, where that is known without a download.

    It is on this machine, or the model is one of the presets'.
    """
    if path.startswith("builtin:"):
        return _BUILT_IN if path == "builtin:tiny" else None
    file = local_path(path) / "config.json"
    try:
        found = file if file.is_file() else hub.cached_file(path, revision, "config.json")
        known = CONFIGS.get(path) if found is None else json.loads(found.read_bytes())
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) else None


_BUILT_IN: Mapping[str, Any] = {
    "model_type": "llama", "vocab_size": EOS_ID + 1, "hidden_size": RECIPE.hidden, "intermediate_size": RECIPE.inner,
    "num_hidden_layers": RECIPE.layers, "num_attention_heads": RECIPE.heads,
    "max_position_embeddings": RECIPE.context, "tie_word_embeddings": True,
}  # fmt: skip


def _shape(config: Mapping[str, Any], kind: _Kind) -> Shape:
    hidden = _size(config, "hidden_size", "n_embd")
    heads = _size(config, "num_attention_heads", "n_head")
    head = int(config.get("head_dim") or hidden // heads)
    shared = int(config.get("num_key_value_heads") or heads)
    inner = int(config.get("intermediate_size") or config.get("ffn_dim") or config.get("n_inner") or 4 * hidden)
    layers = _size(config, "num_hidden_layers", "n_layer")
    linears = _linears(kind, hidden, heads * head, shared * head, inner)
    biased = kind.biased(config)
    norm = hidden * (2 if kind.norm_bias else 1)
    in_layer = kind.norms * norm + sum(linear.outputs for linear in linears if linear.name in biased)
    if kind.head_norms:
        in_layer += 2 * head
    elif config["model_type"] == "olmo2":
        # Norms of all queries and of all keys together.
        in_layer += (heads + shared) * head
    tied = bool(config.get("tie_word_embeddings", kind.tied))
    final = 0 if kind.norms == 0 or not config.get("do_layer_norm_before", True) else norm
    return Shape(
        layers, hidden, heads, shared, head, inner, _size(config, "vocab_size"), linears,
        gated=len(kind.feed_forward) == 3 or "gate_up_proj" in kind.feed_forward,
        layer_norm=kind.norm_bias,
        relu=config.get("activation_function", "relu" if config["model_type"] == "opt" else None) == "relu",
        rest=layers * in_layer + final + _embeddings(config, kind, hidden, tied=tied),
        embedding=_words(config),
        head_weights=0 if tied else _words(config),
        turned=kind.positions is None,
    )  # fmt: skip


def _linears(kind: _Kind, hidden: int, queries: int, keys: int, inner: int) -> tuple[Linear, ...]:
    *into, out = kind.attention
    width = (queries, keys, keys) if len(into) == 3 else (queries + 2 * keys,)
    *up, down = kind.feed_forward
    wide = 2 * inner if up == ["gate_up_proj"] else inner
    return (
        *(Linear(name, hidden, outputs) for name, outputs in zip(into, width, strict=True)),
        Linear(out, queries, hidden),
        *(Linear(name, hidden, wide) for name in up),
        Linear(down, inner, hidden),
    )


def _embeddings(config: Mapping[str, Any], kind: _Kind, hidden: int, *, tied: bool) -> int:
    vocab, width = _size(config, "vocab_size"), _width(config)
    known = _size(config, "max_position_embeddings", "n_positions") if kind.positions is not None else 0
    positions = (known + (kind.positions or 0)) * hidden
    projections = 2 * width * hidden if width != hidden else 0
    return _words(config) * (1 if tied else 2) + positions + projections + (vocab if kind.head_bias else 0)


def _words(config: Mapping[str, Any]) -> int:
    """Weights of a table with a row for each word."""
    return _size(config, "vocab_size") * _width(config)


def _width(config: Mapping[str, Any]) -> int:
    return _size(config, "word_embed_proj_dim", "hidden_size", "n_embd")


def _size(config: Mapping[str, Any], *names: str) -> int:
    found = next((config[name] for name in names if name in config), None)
    if not isinstance(found, int):
        raise KeyError(names[0])
    return found
