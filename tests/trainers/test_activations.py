"""The bytes that activations are said to take, against what autograd keeps of small models: exact but for constants."""

import weakref
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, set_seed

from trainers.activations import Step, copied_weights, passing, stored, tiled_logits
from trainers.parameters import Shape, shape

pytestmark = pytest.mark.slow

SEQUENCES, TOKENS, RANK = 3, 100, 4
SIZES = {
    "mistral": {"hidden_size": 128, "intermediate_size": 320, "num_attention_heads": 4, "num_key_value_heads": 2},
    "opt": {"hidden_size": 128, "ffn_dim": 512, "num_attention_heads": 4, "word_embed_proj_dim": 128, "dropout": 0.0},
}


def architecture(kind: str, layers: int, attention: str) -> Any:
    return AutoConfig.for_model(
        kind, **SIZES[kind], num_hidden_layers=layers, vocab_size=200, pad_token_id=0, attn_implementation=attention
    )


def bytes_kept(config: Any, *, adapter: dict[str, Any] | None, dtype: torch.dtype, cast: torch.dtype | None) -> int:
    """Bytes of what is alive for the backward pass after a forward pass through the layers, weights left out."""
    set_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    base = model
    if adapter is not None:
        model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=8, task_type="CAUSAL_LM", **adapter))
        base = model.get_base_model()
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    alive: list[weakref.ref[Kept]] = []

    def keep(tensor: torch.Tensor) -> "Kept":
        held = Kept(tensor)
        alive.append(weakref.ref(held))
        return held

    mask = torch.ones(SEQUENCES, TOKENS, dtype=torch.long)
    mask[0, TOKENS // 2 :] = 0
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor), autocast(cast):
        out = base.base_model(input_ids=torch.randint(1, 200, mask.shape), attention_mask=mask, use_cache=False)
    storages = {}
    for held in filter(None, (reference() for reference in alive)):
        storage = held.tensor.untyped_storage()
        if storage._cdata not in weights:
            storages[storage._cdata] = storage.nbytes()
    del out
    return sum(storages.values())


class Kept:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def autocast(dtype: torch.dtype | None) -> Any:
    return torch.autocast("cpu", dtype) if dtype else torch.autocast("cpu", enabled=False)


ALL = {"target_modules": "all-linear"}
BF16, FP32 = torch.bfloat16, torch.float32
CASES: dict[str, tuple[str, dict[str, Any] | None, torch.dtype, torch.dtype | None, str]] = {
    "lora in bf16": ("mistral", ALL, BF16, BF16, "sdpa"),
    "lora in fp32": ("mistral", ALL, FP32, None, "sdpa"),
    "lora on queries and values": ("mistral", {"target_modules": ["q_proj", "v_proj"]}, BF16, BF16, "sdpa"),
    "dora in bf16": ("mistral", {**ALL, "use_dora": True}, BF16, BF16, "sdpa"),
    "all scores of attention": ("mistral", ALL, BF16, BF16, "eager"),
    "all scores of attention in fp32": ("mistral", ALL, FP32, None, "eager"),
    "full in bf16": ("mistral", None, FP32, BF16, "sdpa"),
    "full in fp32": ("mistral", None, FP32, None, "sdpa"),
    "opt: lora in bf16": ("opt", ALL, BF16, BF16, "sdpa"),
    "opt: full in bf16": ("opt", None, FP32, BF16, "sdpa"),
    "opt: full in fp32": ("opt", None, FP32, None, "sdpa"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_layer_keeps_what_the_formula_says(case: str) -> None:
    """The difference between four layers and two: what stands before and after them falls out."""
    kind, adapter, dtype, cast, attention = CASES[case]
    measured = [
        bytes_kept(architecture(kind, layers, attention), adapter=adapter, dtype=dtype, cast=cast) for layers in (2, 4)
    ]
    found, step = described(case)
    shapes = [_layers(found, layers) for layers in (2, 4)]
    estimated = [stored(one, step) + copied_weights(one, step, head=False) for one in shapes]
    assert estimated[1] - estimated[0] == pytest.approx(measured[1] - measured[0], rel=0.01)


@pytest.mark.parametrize("case", ["lora in bf16", "lora in fp32", "full in fp32"])
def test_checkpointing_keeps_each_layers_input_alone(case: str) -> None:
    found, step = described(case)
    step = Step(**{**vars(step), "checkpointing": True})
    more = stored(_layers(found, 4), step) - stored(_layers(found, 2), step)
    assert more == 2 * SEQUENCES * TOKENS * found.hidden * step.stream
    # What one layer keeps is computed again, one layer at a time.
    whole = Step(**{**vars(step), "checkpointing": False})
    one_layer = (stored(_layers(found, 4), whole) - stored(_layers(found, 2), whole)) / 2
    copies = copied_weights(_layers(found, 1), step, head=False)
    assert passing(found, step) - passing(found, whole) == pytest.approx(one_layer + copies, rel=1e-6)


def described(case: str) -> tuple[Shape, Step]:
    kind, adapter, dtype, cast, attention = CASES[case]
    found = shape(architecture(kind, 2, attention).to_dict())
    assert found is not None
    targets = (adapter or {}).get("target_modules", [])
    names = [linear.name for linear in found.linears]
    step = Step(
        sequences=SEQUENCES, tokens=TOKENS, compute=2 if cast else 4, stream=dtype.itemsize, gpu=False,
        attention=attention, adapted=frozenset(names if targets == "all-linear" else targets), rank=RANK,
        dora=bool((adapter or {}).get("use_dora")), mixed=cast is not None,
    )  # fmt: skip
    return found, step


def _layers(found: Shape, layers: int) -> Shape:
    return Shape(**{**vars(found), "layers": layers})


def test_trls_head_never_makes_all_logits_on_a_gpu() -> None:
    """32768 tokens of a vocabulary of 128000 are 8 GB of logits in bf16; a tile is 0.27 GB whatever their number."""
    found, step = described("lora in bf16")
    large = Shape(**{**vars(found), "vocab": 128_000, "hidden": 8})
    on_gpu = Step(**{**vars(step), "sequences": 16, "tokens": 2048, "gpu": True})
    assert tiled_logits(large, on_gpu.all_tokens, on_gpu) < 0.3e9
