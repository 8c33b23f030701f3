"""How many parameters a transformers model has, worked out from its config.json.

{"model_type": "opt", "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072, ...} -> 125_239_296
"""

from collections.abc import Mapping
from typing import Any

# Layouts of the feed-forward part: three matrices with a gate, or two.
GATED = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "stablelm", "olmo", "olmo2", "smollm3"}
PLAIN = {"opt", "gpt_neox", "phi", "gpt2"}


def from_config(config: Mapping[str, Any]) -> float | None:
    """Parameters of a Llama-like, OPT, GPT-NeoX, GPT-2 or Phi model, biases left out; None for other kinds.

    Raises ValueError where the config lacks a size.
    """
    kind = config.get("model_type")
    if kind not in GATED | PLAIN:
        return None
    try:
        layers = _size(config, "num_hidden_layers", "n_layer")
        return float(layers * _layer(config, gated=kind in GATED) + _embeddings(config))
    except (KeyError, TypeError) as error:
        raise ValueError(f"config.json lacks {error}") from None


def _layer(config: Mapping[str, Any], *, gated: bool) -> int:
    hidden = _size(config, "hidden_size", "n_embd")
    heads = _size(config, "num_attention_heads", "n_head")
    head = int(config.get("head_dim") or hidden // heads)
    shared = int(config.get("num_key_value_heads") or heads)
    attention = 2 * hidden * heads * head + 2 * hidden * shared * head
    inner = int(config.get("intermediate_size") or config.get("ffn_dim") or config.get("n_inner") or 4 * hidden)
    return attention + (3 if gated else 2) * hidden * inner


def _embeddings(config: Mapping[str, Any]) -> int:
    hidden = _size(config, "hidden_size", "n_embd")
    width = _size(config, "word_embed_proj_dim", "hidden_size", "n_embd")
    # transformers' default for the kinds that leave the key out.
    tied = config.get("tie_word_embeddings", config["model_type"] in {"opt", "gpt2", "gemma", "gemma2"})
    learnt = config["model_type"] in {"opt", "gpt2"}
    positions = _size(config, "max_position_embeddings", "n_positions") * hidden if learnt else 0
    projections = 2 * width * hidden if width != hidden else 0
    return _size(config, "vocab_size") * width * (1 if tied else 2) + positions + projections


def _size(config: Mapping[str, Any], *names: str) -> int:
    found = next((config[name] for name in names if name in config), None)
    if not isinstance(found, int):
        raise KeyError(names[0])
    return found
