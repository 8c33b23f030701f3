"""What training takes of memory, part by part, told from a run's config alone: no torch, no download.

A 7.24B model with peft=none in fp32 on a machine of 16 GB without GPU -> ["model=mistral7b needs about 121 GB to train
(weights 29 GB, ...), but this machine has 16 GB of memory ..."]; the same with peft=qlora -> [].
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from trainers import activations, reference_kinds, start_kinds
from trainers.activations import Step
from trainers.at_hand import missing
from trainers.config import NF4, LoRA, RunConfig
from trainers.errors import InvalidInput
from trainers.machine import Machine
from trainers.methods import METHODS
from trainers.parameters import Shape, config_at, shape, typical
from trainers.reference_config import RunReference

__all__ = ["Estimate", "Machine", "check_model", "estimate", "missing", "shape_of", "step_of", "too_large"]

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# NF4 stores 4 bits a weight and a scale for each block of 64: 32 bits, or 8 where the scales are quantised in turn, in
# blocks of 256.
NF4_BYTES = 0.5 + 4 / 64
NF4_DOUBLE_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# The libraries' own code and buffers; on a GPU, what CUDA and cuBLAS take beside the allocator.
BASE_BYTES = int(0.7e9)
# What the allocator cannot use.
MARGIN = 1.05
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

Phase = Literal["the backward pass", "the optimiser's step", "scoring", "the reference"]


@dataclass(frozen=True)
class Estimate:
    """Bytes that training takes, by part, and at its peak: not all parts are there at once.

    `weights` of the base, `adapter` beside it, `gradients` and `optimizer` of what is trained, `activations` of one
    micro-batch, with copies of weights that mixed precision makes, `logits` with what becomes of them, `reference` of a
    model that is loaded to be scored, `overhead` of libraries and the GPU's context.
    """

    parameters: float
    trained: float
    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    reference: int
    overhead: int
    # What the optimiser's step, and what scoring pairs without gradients takes for a while.
    stepping: int
    scoring: int
    # Gradients stay while the next micro-batch goes through.
    accumulates: bool
    # The optimiser's state may move to main memory where the GPU is full.
    paged: bool = False
    # Of a reference that moves: its own copy of the weights that are trained.
    moving: int = 0

    @property
    def phases(self) -> dict[Phase, int]:
        """Bytes at the peak of each part of a run."""
        held = self.overhead + self.weights + self.adapter + self.moving
        passing = self.activations + self.logits
        # Without accumulation gradients come as activations go.
        backward = self.gradients + passing if self.accumulates else max(passing, self.gradients)
        return {
            "the backward pass": held + self.optimizer + backward,
            "the optimiser's step": held + self.optimizer + self.gradients + self.stepping,
            "scoring": held + self.optimizer + self.scoring,
            # Before the optimiser has any state.
            "the reference": held + self.reference + self.scoring,
        }

    @property
    def total(self) -> int:
        """Bytes at the run's peak."""
        return max(self.phases.values())

    @property
    def peak(self) -> Phase:
        """When that is."""
        phases = self.phases
        return max(phases, key=lambda phase: phases[phase])

    def __str__(self) -> str:
        parts = ("weights", "adapter", "gradients", "optimizer", "activations", "logits", "reference")
        shown = ", ".join(f"{part} {gb(getattr(self, part))}" for part in parts if getattr(self, part) >= 0.05e9)
        return f"{gb(self.total)} ({shown})" if shown else gb(self.total)


def check_model(config: RunConfig, machine: Machine, cache_dir: Path) -> list[str]:
    """Faults of the run's model on this machine, a sentence each: it cannot be had, or does not fit.

    Asks the hub at most once a process about a model that is not here, for at most 5 s; HF_HUB_OFFLINE is respected.
    """
    return [*missing(config, cache_dir), *too_large(config, machine)]


def too_large(config: RunConfig, machine: Machine, longest: int | None = None) -> list[str]:
    """A sentence where the run does not fit, with what would. `longest` is as in `estimate`."""
    needed = estimate(config, machine, longest)
    if needed is None or fits(needed, machine):
        return []
    return [
        f"model={config.model.name} needs about {needed} to train with {how(config)}, but {machine}: "
        f"{_advice(config, machine, longest)}"
    ]


def fits(needed: Estimate, machine: Machine) -> bool:
    """Whether a run that takes so much has room."""
    return needed.total * MARGIN <= machine.training_bytes


def estimate(config: RunConfig, machine: Machine | None = None, longest: int | None = None) -> Estimate | None:
    """Bytes the run takes on `machine` (this one), or None where the model's size is not known.

    `longest` is how many tokens the longest sequence has, where that is known; else it is training.max_length.
    """
    sizes = shape_of(config)
    if sizes is None:
        return None
    model, parameters = sizes
    gpu = bool((machine or Machine.here()).gpu_bytes)
    step = step_of(config, model, gpu=gpu, longest=longest)
    trained, each = _trained(config, model, parameters), _trained_bytes(config, gpu=gpu)
    scored = Step(**{**vars(step), "sequences": 2 * config.evaluation.batch_size})
    adapter = trained * each if isinstance(config.peft, LoRA) else 0
    frozen = start_kinds.adapter_bytes(config)
    # Of a run that is yet to come, it is taken to be like this one's; merged, it is gone before training begins.
    adapter += (adapter if frozen is None else frozen) if isinstance(config.peft, LoRA) else 0
    return Estimate(
        parameters=parameters,
        trained=trained,
        weights=int(_weight_bytes(config, model, parameters, gpu=gpu)),
        adapter=int(adapter),
        gradients=int(trained * each),
        optimizer=int(_optimizer_bytes(config, model, trained, each)),
        activations=activations.kept(model, step) + activations.copied_weights(model, step),
        logits=_tiled(model, step),
        reference=_reference_bytes(config, model, parameters, gpu=gpu),
        overhead=BASE_BYTES,
        stepping=int(trained * each) if gpu and config.training.optimizer in FOREACH else 0,
        scoring=activations.scoring(model, scored),
        accumulates=config.training.gradient_accumulation > 1,
        paged=config.training.optimizer.startswith("paged"),
        moving=int(trained * each) if config.reference.kind == "moving" else 0,
    )


def _tiled(model: Shape, step: Step) -> int:
    # How much of a sequence is an answer is not known: all of it at most.
    return activations.tiled_logits(model, step.all_tokens, step)


def shape_of(config: RunConfig) -> tuple[Shape, float] | None:
    """The sizes of the run's model and how many parameters it has; None where nothing is known of it.

    Sizes are from the model's config.json where that is on this machine, else of a Llama of so many parameters.
    """
    return _sizes(config.model.path, config.model.revision, config.model.parameters_b)


def step_of(config: RunConfig, model: Shape, *, gpu: bool, longest: int | None = None) -> Step:
    """One micro-batch of the run: both answers of each pair in one pass, all as long as the longest."""
    training, peft = config.training, config.peft
    both = 1 if METHODS[config.method.name].data_format == "demonstrations" else 2
    stream, compute = _dtype_bytes(config, gpu=gpu), _compute_bytes(config, gpu=gpu)
    return Step(
        sequences=both * training.batch_size,
        tokens=min(training.max_length, longest or training.max_length),
        compute=compute or stream,
        stream=stream,
        gpu=gpu,
        attention=config.model.attention,
        adapted=_adapted(peft, model) if isinstance(peft, LoRA) else frozenset(),
        rank=peft.r if isinstance(peft, LoRA) else 0,
        dora=isinstance(peft, LoRA) and peft.use_dora,
        quantised=quantised(config),
        checkpointing=training.gradient_checkpointing,
        mixed=compute is not None,
    )


def how(config: RunConfig) -> str:
    """How the run trains its model: "LoRA r=16 over 4-bit weights"."""
    bits = "over 4-bit weights" if quantised(config) else f"and model.dtype={config.model.dtype}"
    return f"{adapters(config)} {bits}"


def adapters(config: RunConfig) -> str:
    """ "LoRA r=16", "DoRA r=8", or full fine-tuning."""
    peft = config.peft
    if not isinstance(peft, LoRA):
        return "full fine-tuning (peft=none)"
    return f"{'DoRA' if peft.use_dora else 'rsLoRA' if peft.use_rslora else 'LoRA'} r={peft.r}"


def quantised(config: RunConfig) -> bool:
    """Whether the base is in 4 bits."""
    return config.quantization.kind == "nf4" or config.model.prequantized


def gb(size: float) -> str:
    """Bytes for people: 7200000000 -> "7.2 GB"."""
    return f"{size / 1e9:.0f} GB" if size >= 10e9 else f"{size / 1e9:.1f} GB"


def _advice(config: RunConfig, machine: Machine, longest: int | None) -> str:
    """What would fit, the least change first."""
    smaller = config.training.model_copy(update={"batch_size": 1, "gradient_checkpointing": True})
    changes = {
        "training.gradient_checkpointing=true": config.model_copy(
            update={"training": config.training.model_copy(update={"gradient_checkpointing": True})}
        ),
        "training.batch_size=1 training.gradient_checkpointing=true": config.model_copy(update={"training": smaller}),
        "peft=lora": _lora(config),
        "peft=qlora": _qlora(config),
        "peft=qlora training.batch_size=1 training.gradient_checkpointing=true": _qlora(config).model_copy(
            update={"training": smaller}
        ),
    }
    for change, changed in changes.items():
        needed = estimate(changed, machine, longest)
        if changed != config and needed is not None and fits(needed, machine):
            return f"{change} would fit, with about {gb(needed.total)}"
    return "use a smaller model, a shorter training.max_length, or a machine with more memory"


def _lora(config: RunConfig) -> RunConfig:
    peft = LoRA(kind="lora", r=16, alpha=16, dropout=0.0, target_modules="all-linear")
    return config if isinstance(config.peft, LoRA) else config.model_copy(update={"peft": peft})


def _qlora(config: RunConfig) -> RunConfig:
    if quantised(config):
        return config
    return _lora(config).model_copy(update={"quantization": NF4(kind="nf4", double_quant=True)})


def _sizes(path: str, revision: str | None, billions: float | None) -> tuple[Shape, float] | None:
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


def _dtype_bytes(config: RunConfig, *, gpu: bool) -> int:
    """Of a weight that is not quantised; auto follows the precision under an adapter, and is fp32 for trained ones."""
    if config.model.dtype != "auto":
        return BYTES[config.model.dtype]
    return (_compute_bytes(config, gpu=gpu) or 4) if isinstance(config.peft, LoRA) else 4


def _compute_bytes(config: RunConfig, *, gpu: bool) -> int | None:
    """Of what autocast multiplies in, None where there is none and matrices are multiplied as they are."""
    asked = config.training.precision
    return 2 if asked in ("bf16", "fp16") or (asked == "auto" and gpu) else None


def _weight_bytes(config: RunConfig, model: Shape, parameters: float, *, gpu: bool) -> float:
    """Embeddings, head and norms are never quantised."""
    full = _dtype_bytes(config, gpu=gpu)
    if not quantised(config):
        return parameters * full
    double = config.quantization.kind != "nf4" or config.quantization.double_quant
    packed = NF4_DOUBLE_BYTES if double else NF4_BYTES
    share = model.layers * model.linear / model.parameters
    return parameters * (share * packed + (1 - share) * full)


def _adapted(peft: LoRA, model: Shape) -> frozenset[str]:
    """The linear layers of a layer that get an adapter, as peft finds them by `target_modules`."""
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


def _trained(config: RunConfig, model: Shape, parameters: float) -> float:
    """Parameters that are trained: of an adapter two matrices, and with DoRA a length for each output."""
    return float(sum(_tensors(config, model))) if isinstance(config.peft, LoRA) else parameters


def _tensors(config: RunConfig, model: Shape) -> list[int]:
    """The sizes of an adapter's tensors, in all layers."""
    assert isinstance(config.peft, LoRA)
    found = []
    for linear in model.linears:
        if linear.name in _adapted(config.peft, model):
            found += [config.peft.r * linear.inputs, config.peft.r * linear.outputs]
            found += [linear.outputs] if config.peft.use_dora else []
    return found * model.layers


def _trained_bytes(config: RunConfig, *, gpu: bool) -> int:
    """Of a trained weight and of its gradient; an adapter is kept in fp32."""
    return 4 if isinstance(config.peft, LoRA) else _dtype_bytes(config, gpu=gpu)


def _optimizer_bytes(config: RunConfig, model: Shape, trained: float, each: int) -> float:
    """Of the optimiser's state: for torch's own in the weights' dtype, for bitsandbytes' in 32 or in 8 bits."""
    name = config.training.optimizer
    if name == "adafactor":
        # A number for each row and each column.
        return 4 * model.layers * sum(linear.inputs + linear.outputs for linear in model.linears) * trained / (
            model.layers * model.linear
        ) if not isinstance(config.peft, LoRA) else 4 * trained / config.peft.r  # fmt: skip
    if not name.endswith("8bit"):
        return trained * STATES.get(name, ADAM_BYTES) * (1 if name.endswith("32bit") else each / 4)
    numbers = NUMBERS_8BIT.get(name, 2)
    if not isinstance(config.peft, LoRA):
        # transformers keeps the states of embeddings in 32 bits.
        embedding = trained * model.embedding / model.parameters
        return numbers * ((trained - embedding) * (1 + SCALE_8BIT) + 4 * embedding)
    tensors = _tensors(config, model)
    small = sum(size for size in tensors if size < SMALLEST_8BIT)
    return numbers * (4 * small + (sum(tensors) - small) * (1 + SCALE_8BIT))


def _reference_bytes(config: RunConfig, model: Shape, parameters: float, *, gpu: bool) -> int:
    """Of the largest other model; the starting policy is scored before training, or is the policy without adapters."""
    if isinstance(config.reference, RunReference) and config.reference.of != getattr(config.start, "of", None):
        return int(_weight_bytes(config, model, parameters, gpu=gpu))
    try:
        others = [part for part in reference_kinds.parts(config) if not reference_kinds.serves(config, part)]
    except InvalidInput:  # told by `missing`
        return 0
    return max((_part_bytes(config, part, model, parameters, gpu=gpu) for part in others), default=0)


def _part_bytes(config: RunConfig, part: reference_kinds.Part, model: Shape, parameters: float, *, gpu: bool) -> int:
    other, size = (None if part.own else _sizes(part.path, part.revision, None)) or (model, parameters)
    return int(_weight_bytes(reference_kinds.as_loaded(config, part), other, size, gpu=gpu))
