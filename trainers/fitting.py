"""Whether a run has room on a machine, and if it has not, what would give it room: each change estimated anew.

7B, peft=none, on 24 GiB -> "model=mistral7b needs 84.3 GiB ...; it would fit with peft=lora (18.5 GiB) or peft=qlora
(8.47 GiB), and as it is on gpu=h200 (140 GiB)"
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from trainers.config import NF4, LoRA, RunConfig
from trainers.footprint import Estimate, Phase, estimate, estimate_step
from trainers.gpus import GPUS, GPUName
from trainers.holdings import NUMBERS_8BIT, STATES, quantised
from trainers.machine import Machine
from trainers.method_config import Sampled
from trainers.methods import METHODS
from trainers.units import gib, number
from trainers.workload import asked_for

# Shorter sequences than these are another experiment.
_SHORTEST = 128
_SPELT = {
    "optimizer": "optimiser", "update": "its step", "cast": "16-bit copy of weights", "cache": "keys and values",
    "copy": "copy of what is trained", "other": "libraries", "lost": "lost to gaps (5 %)",
}  # fmt: skip
_PLAIN = LoRA(kind="lora", r=16, alpha=16, dropout=0.0, target_modules="all-linear")


def too_large(
    config: RunConfig, machine: Machine, longest: int | None = None, *, scored_before: bool = False
) -> list[str]:
    """A sentence where the run does not fit, with what would. The arguments are those of `footprint.estimate`."""

    def needed(changed: RunConfig, on: Machine) -> Estimate | None:
        return estimate(changed, on, longest, scored_before=scored_before)

    found = needed(config, machine)
    if found is None or fits(found, machine):
        return []
    return [
        f"model={config.model.name} needs {gib(found.total)} to train with {how(config)}, but {machine}: in "
        f"{found.peak.name}, at its peak, {added_up(found.peak)}; {_advice(config, machine, needed)}"
    ]


def step_too_large(config: RunConfig, machine: Machine, longest: int | None = None) -> list[str]:
    """The same of the step that has a reference score pairs before the runs."""
    found = estimate_step(config, machine, longest)
    if found is None or fits(found, machine):
        return []

    def needed(changed: RunConfig, on: Machine) -> Estimate | None:
        return estimate_step(changed, on, longest)

    return [
        f"reference={config.reference.kind} needs {gib(found.total)} to score pairs before the runs, but {machine}: "
        f"{added_up(found.peak)}; {_advice(config, machine, needed)}"
    ]


def fits(needed: Estimate, machine: Machine) -> bool:
    """Whether a run that takes so much has room."""
    return needed.total <= machine.training_bytes


def added_up(phase: Phase) -> str:
    """What a phase's bytes are made of: "weights 27.0 + gradients 27.0 + lost to gaps (5 %) 2.70 GiB"."""
    return " + ".join(f"{_SPELT.get(part, part)} {number(size)}" for part, size in phase.parts) + " GiB"


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


# What a run takes, as changed, on a machine.
_Needed = Callable[[RunConfig, Machine], Estimate | None]


@dataclass(frozen=True)
class _Change:
    """How it is said on the command line, and what it makes of a config."""

    told: str
    made: Callable[[RunConfig], RunConfig]


def _advice(config: RunConfig, machine: Machine, needed: _Needed) -> str:
    told = []
    alone = machine.shared_by(1)
    if machine.runs_per_gpu > 1 and _fitting(config, alone, needed):
        told.append(f"launcher.runs_per_gpu=1 leaves it {gib(alone.training_bytes)}, where it fits")
    changes = list(_fitting_changes(config, machine, needed))
    if changes:
        told.append(f"it would fit with {_listed([f'{text} ({gib(size)})' for text, size in changes])}")
    else:
        told.append("nothing that could be changed here makes it fit: use a smaller model, or more memory")
    return f"{', '.join(told)}; {_gpus(config, machine, needed)}"


def _fitting_changes(config: RunConfig, machine: Machine, needed: _Needed) -> Iterator[tuple[str, int]]:
    """Single changes that suffice, else the fewest that do together, with what the run then takes."""
    kinds = [levels for levels in _kinds(config) if levels]
    single = [found for levels in kinds if (found := _mildest(config, [levels], machine, needed))]
    if single:
        yield from single
        return
    for count in range(2, len(kinds) + 1):
        for together in combinations(kinds, count):
            found = _mildest(config, together, machine, needed)
            if found is not None:
                yield found
                return


def _mildest(
    config: RunConfig, kinds: Sequence[Sequence[_Change]], machine: Machine, needed: _Needed
) -> tuple[str, int] | None:
    """Changes of these kinds together, each as mild as suffices; None where their strongest do not."""
    chosen = [levels[-1] for levels in kinds]
    if _fitting(_made(config, chosen), machine, needed) is None:
        return None
    for place, levels in enumerate(kinds):
        for milder in levels[:-1]:
            instead = [*chosen[:place], milder, *chosen[place + 1 :]]
            if _fitting(_made(config, instead), machine, needed) is not None:
                chosen = instead
                break
    found = _fitting(_made(config, chosen), machine, needed)
    assert found is not None
    return _as_one(" ".join(change.told for change in chosen)), found.total


def _made(config: RunConfig, changes: Sequence[_Change]) -> RunConfig:
    for change in changes:
        config = change.made(config)
    return config


def _fitting(config: RunConfig, machine: Machine, needed: _Needed) -> Estimate | None:
    found = needed(config, machine)
    return found if found is not None and fits(found, machine) else None


def _as_one(told: str) -> str:
    """Peft's preset of both says it shorter."""
    return told.replace("peft=lora quantization=nf4", "peft=qlora")


def _kinds(config: RunConfig) -> Iterator[list[_Change]]:
    """Changes by kind, each from mild to strong; first those that leave what is learnt as it is."""
    yield _checkpointing(config)
    yield _optimizer(config)
    yield _micro_batches(config)
    yield _batches("evaluation", "batch_size", config.evaluation.batch_size)
    if asked_for(config):
        yield _batches("evaluation", "sampling_batch", config.evaluation.sampling_batch)
    if isinstance(config.method, Sampled):
        yield _batches("method", "sampling_batch", config.method.sampling_batch)
    yield _lengths(config)
    if config.reference.kind in ("model", "checkpoint", "adapter", "mixture", "run"):
        yield _reference_in_4_bits(config)
    if not isinstance(config.peft, LoRA):
        yield [_Change("peft=lora", lambda given: given.model_copy(update={"peft": _PLAIN}))]
    if not quantised(config):
        yield [_Change("quantization=nf4", _in_4_bits)]


def _checkpointing(config: RunConfig) -> list[_Change]:
    if config.training.gradient_checkpointing:
        return []
    return [_Change("training.gradient_checkpointing=true", _with("training", gradient_checkpointing=True))]


def _optimizer(config: RunConfig) -> list[_Change]:
    """The same Adam without its step's copy of all weights; Adam in 8 bits, for an optimiser that takes more."""
    name = config.training.optimizer
    small = name in NUMBERS_8BIT or name.endswith("8bit") or STATES.get(name, 8) < 2 or name == "adafactor"
    smaller = [*(["adamw_torch_fused"] if name == "adamw_torch" else []), *([] if small else ["paged_adamw_8bit"])]
    return [_Change(f"training.optimizer={other}", _with("training", optimizer=other)) for other in smaller]


def _micro_batches(config: RunConfig) -> list[_Change]:
    """Fewer pairs at a time, more times: the same steps, but for methods that compare within a micro-batch."""
    batch, accumulation = config.training.batch_size, config.training.gradient_accumulation
    if METHODS[config.method.name].data_format == "unpaired":
        return []
    return [
        _Change(
            f"training.batch_size={size} training.gradient_accumulation={accumulation * (batch // size)}",
            _with("training", batch_size=size, gradient_accumulation=accumulation * (batch // size)),
        )
        for size in range(batch - 1, 0, -1)
        if batch % size == 0
    ]


def _batches(section: str, key: str, given: int) -> list[_Change]:
    """Halved, down to one."""
    sizes = [given >> times for times in range(1, given.bit_length())]
    return [_Change(f"{section}.{key}={size}", _with(section, **{key: size})) for size in sizes]


def _lengths(config: RunConfig) -> list[_Change]:
    given = config.training.max_length
    lengths = [given >> times for times in range(1, given.bit_length()) if given >> times >= _SHORTEST]
    return [_Change(f"training.max_length={length}", _with("training", max_length=length)) for length in lengths]


def _reference_in_4_bits(config: RunConfig) -> list[_Change]:
    if getattr(config.reference, "quantization", "nf4") == "nf4":
        return []
    return [_Change("reference.quantization=nf4", _with("reference", quantization="nf4"))]


def _in_4_bits(config: RunConfig) -> RunConfig:
    """Weights that are all trained cannot be."""
    if not isinstance(config.peft, LoRA):
        return config
    return config.model_copy(update={"quantization": NF4(kind="nf4", double_quant=True)})


def _with(section: str, **values: Any) -> Callable[[RunConfig], RunConfig]:
    def made(config: RunConfig) -> RunConfig:
        return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})

    return made


def _gpus(config: RunConfig, machine: Machine, needed: _Needed) -> str:
    """The smallest GPU on which the run fits as it is."""
    by_size: list[GPUName] = sorted(GPUS, key=lambda name: GPUS[name].bytes)
    for name in by_size:
        knows = GPUS[name].bf16 or config.training.precision != "bf16"
        if name != machine.gpu_model and knows and _fitting(config, machine.with_gpu(name), needed):
            shared = f" for launcher.runs_per_gpu={machine.runs_per_gpu}" if machine.runs_per_gpu > 1 else ""
            return f"as it is, it would fit gpu={name} ({gib(GPUS[name].bytes)}{shared})"
    return f"as it is, it fits none of the GPUs known here (the largest has {gib(max(g.bytes for g in GPUS.values()))})"


def _listed(texts: Sequence[str]) -> str:
    *others, last = texts
    return f"{', '.join(others)} or {last}" if others else last
