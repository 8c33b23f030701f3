"""What lies in memory as long as a run goes on: weights, an adapter, gradients, the optimiser's state; of what shape.

Mistral 7B in 4 bits with LoRA of rank 16 -> 3.9 GiB of weights, 42 million trained parameters of 4 bytes each
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from trainers.config import LoRA, RunConfig
from trainers.methods import METHODS
from trainers.parameters import Shape, config_at, shape, typical

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# NF4 stores 4 bits a weight and a scale for each block of 64: 32 bits, or 8 where the scales are quantised in turn, in
# blocks of 256.
NF4_BYTES = 0.5 + 4 / 64
NF4_DOUBLE_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# Bytes of an optimiser's state for one trained parameter that is held in 32 bits.
STATES: dict[str, float] = {
    "sgd": 0, "lomo": 0, "adagrad": 4, "rmsprop": 4, "rmsprop_bnb": 4, "rmsprop_bnb_32bit": 4, "lion_32bit": 4,
    "paged_lion_32bit": 4, "schedule_free_sgd": 4, "paged_ademamix_32bit": 12, "ademamix": 12,
}  # fmt: skip
# Optimisers in 8 bits: numbers a parameter, a byte each, and a scale in 32 bits for each block of 256.
NUMBERS_8BIT = {
    "lion_8bit": 1,
    "paged_lion_8bit": 1,
    "rmsprop_bnb_8bit": 1,
    "ademamix_8bit": 3,
    "paged_ademamix_8bit": 3,
}
SCALE_8BIT = 4 / 256
# bitsandbytes keeps the states of smaller tensors in 32 bits.
SMALLEST_8BIT = 4096
# torch's own optimisers go over all weights at once on a GPU, and make the update's denominator for all of them.
FOREACH = {"adamw_torch", "rmsprop", "adagrad"}
ADAM_BYTES = 8


def shape_of(config: RunConfig) -> tuple[Shape, float] | None:
    """The sizes of the run's model and how many parameters it has; None where nothing is known of it.

    Sizes are from the model's config.json where that is on this machine, else of a Llama of so many parameters. A
    reward model has no head.
    """
    found = sizes(config.model.path, config.model.revision, config.model.parameters_b)
    if found is None or METHODS[config.method.name].data_format != "comparisons":
        return found
    return found[0], found[1] - found[0].head_weights


def sizes(path: str, revision: str | None, billions: float | None) -> tuple[Shape, float] | None:
    """The same of the model at `path`, which has so many parameters where that is known otherwise."""
    known = config_at(path, revision)
    found = None if known is None else _cached_shape(json.dumps(known, sort_keys=True))
    if found is not None:
        return found, found.parameters if billions is None else billions * 1e9
    return None if billions is None else (typical(billions * 1e9), billions * 1e9)


@lru_cache(maxsize=64)
def _cached_shape(known: str) -> Shape | None:
    try:
        return shape(json.loads(known))
    except ValueError:
        return None


def stored_in_4_bits(path: str, revision: str | None) -> bool:
    """Whether a checkpoint says of itself that it is, as far as it is on this machine."""
    found = (config_at(path, revision) or {}).get("quantization_config")
    return isinstance(found, Mapping) and bool(_any(found, "load_in_4bit", "_load_in_4bit"))


def _any(found: Mapping[str, Any], *names: str) -> bool:
    return any(found.get(name) for name in names)


def quantised(config: RunConfig) -> bool:
    """Whether the base is in 4 bits."""
    return config.quantization.kind == "nf4" or config.model.prequantized


def stream_bytes(config: RunConfig, *, gpu: bool) -> int:
    """Of a weight that is not quantised; auto follows the precision under an adapter, and is fp32 for trained ones."""
    if config.model.dtype != "auto":
        return BYTES[config.model.dtype]
    return (compute_bytes(config, gpu=gpu) or 4) if isinstance(config.peft, LoRA) else 4


def compute_bytes(config: RunConfig, *, gpu: bool) -> int | None:
    """Of what autocast multiplies in, None where there is none and matrices are multiplied as they are."""
    asked = config.training.precision
    return 2 if asked in ("bf16", "fp16") or (asked == "auto" and gpu) else None


def weight_bytes(config: RunConfig, model: Shape, parameters: float, *, gpu: bool) -> float:
    """Of a model that is loaded as the config says. Embeddings, head and norms are never quantised."""
    full = stream_bytes(config, gpu=gpu)
    if not quantised(config):
        return parameters * full
    double = config.quantization.kind != "nf4" or config.quantization.double_quant
    packed = NF4_DOUBLE_BYTES if double else NF4_BYTES
    share = model.layers * model.linear / model.parameters
    return parameters * (share * packed + (1 - share) * full)


def adapted(config: RunConfig, model: Shape) -> frozenset[str]:
    """The linear layers of a layer that get an adapter, as peft finds them by `target_modules`; none without one."""
    peft = config.peft
    if not isinstance(peft, LoRA):
        return frozenset()
    names = [linear.name for linear in model.linears]
    if peft.target_modules == "all-linear":
        return frozenset(names)
    if isinstance(peft.target_modules, str):
        try:
            pattern = re.compile(peft.target_modules)
        except re.error:  # peft will tell
            return frozenset(names)
        # What stands before the name differs between kinds of model.
        inside = ("model.layers.0.self_attn", "model.layers.0.mlp", "model.decoder.layers.0.self_attn")
        return frozenset(n for n in names if any(pattern.fullmatch(f"{part}.{n}") for part in inside))
    return frozenset(n for n in names if any(n == end or end.endswith(f".{n}") for end in peft.target_modules))


def trained(config: RunConfig, model: Shape, parameters: float) -> float:
    """Parameters that are trained: of an adapter two matrices, and with DoRA a length for each output."""
    return float(sum(_tensors(config, model))) if isinstance(config.peft, LoRA) else parameters


def _tensors(config: RunConfig, model: Shape) -> list[int]:
    """The sizes of an adapter's tensors, in all layers."""
    assert isinstance(config.peft, LoRA)
    found = []
    for linear in model.linears:
        if linear.name in adapted(config, model):
            found += [config.peft.r * linear.inputs, config.peft.r * linear.outputs]
            found += [linear.outputs] if config.peft.use_dora else []
    return found * model.layers


def trained_bytes(config: RunConfig, *, gpu: bool) -> int:
    """Of a trained weight and of its gradient; an adapter is kept in fp32."""
    return 4 if isinstance(config.peft, LoRA) else stream_bytes(config, gpu=gpu)


def optimizer_bytes(config: RunConfig, model: Shape, parameters: float, each: int) -> float:
    """Of the optimiser's state for so many trained parameters of `each` bytes.

    For torch's own in the weights' dtype, for bitsandbytes' in 32 or in 8 bits.
    """
    name = config.training.optimizer
    if name == "adafactor":
        # A number for each row and each column.
        return 4 * model.layers * sum(linear.inputs + linear.outputs for linear in model.linears) * parameters / (
            model.layers * model.linear
        ) if not isinstance(config.peft, LoRA) else 4 * parameters / config.peft.r  # fmt: skip
    if not name.endswith("8bit"):
        return parameters * STATES.get(name, ADAM_BYTES) * (1 if name.endswith("32bit") else each / 4)
    numbers = NUMBERS_8BIT.get(name, 2)
    if not isinstance(config.peft, LoRA):
        # transformers keeps the states of embeddings in 32 bits.
        embedding = parameters * model.embedding / model.parameters
        return numbers * ((parameters - embedding) * (1 + SCALE_8BIT) + 4 * embedding)
    tensors = _tensors(config, model)
    small = sum(size for size in tensors if size < SMALLEST_8BIT)
    return numbers * (4 * small + (sum(tensors) - small) * (1 + SCALE_8BIT))


def update_bytes(config: RunConfig, model: Shape, parameters: float, each: int, *, gpu: bool) -> float:
    """What the optimiser's step takes for a while: the update's denominator, of all weights at once or one by one.

    bitsandbytes' steps take nothing.
    """
    name = config.training.optimizer
    if name not in FOREACH:
        return 0
    if gpu:
        return parameters * each
    largest = _tensors(config, model) if isinstance(config.peft, LoRA) else [model.embedding]
    return 2 * max(largest, default=0) * each
