"""Whether a run's model can be had and fits the machine, told from its config alone: no torch, no download.

A 7.24B model with peft=none in fp32 on a machine of 16 GB without GPU -> ["model=mistral7b needs about 113 GB to train
(weights 29 GB, ...), but this machine has 16 GB of memory ..."]; the same with peft=qlora -> [].
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from trainers import hub, reference_kinds
from trainers.chat_templates import TEMPLATES
from trainers.config import LoRA, RunConfig
from trainers.errors import InvalidInput
from trainers.machine import Machine
from trainers.parameters import from_config
from trainers.paths import local_path

__all__ = ["Estimate", "Machine", "check_model", "estimate"]

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# NF4 stores 4 bits a weight and a scale for each block of 64: 32 bits, or 8 where the scales are quantised in turn.
NF4_BYTES = 0.5 + 4 / 64
NF4_DOUBLE_BYTES = 0.5 + 1.1 / 64
# Of a quantised model, embeddings and head stay in 16 bits; this share is theirs where only the total is known.
UNQUANTISED_SHARE = 0.05
# Share of a model's parameters that LoRA of rank 1 adds, on every linear layer: 2.6M of 7.24B a rank on Mistral 7B.
LORA_SHARE_PER_RANK = 3.6e-4
# The built-in model.
TINY_PARAMETERS = 0.12e6
# The libraries' own code and buffers.
BASE_BYTES = int(0.7e9)
# Of a GPU, the CUDA context and what the allocator cannot use.
MARGIN = 1.05


@dataclass(frozen=True)
class Estimate:
    """Bytes that training takes at its peak, by part. Activations are for one step's batch, roughly."""

    parameters: float
    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    overhead: int

    @property
    def total(self) -> int:
        """Bytes at the peak: another reference model is gone when training begins."""
        training = self.gradients + self.optimizer + self.activations
        return self.weights + max(self.reference, training) + self.overhead

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "reference", "activations")
        shown = ", ".join(f"{part} {_gb(getattr(self, part))}" for part in parts if getattr(self, part))
        return f"{_gb(self.total)} ({shown})"


def check_model(config: RunConfig, machine: Machine, cache_dir: Path) -> list[str]:  # noqa: ARG001
    """Faults of the run's model on this machine, a sentence each: it cannot be had, or does not fit.

    Asks the hub at most once a process about a model that is not here, for at most 5 s; HF_HUB_OFFLINE is respected.
    """
    model = config.model
    faults = [*_missing_file("model.chat_template", model.chat_template)]
    faults += _missing("model.path", model.path, model.revision)
    if model.tokenizer is not None:
        faults += _missing("model.tokenizer", model.tokenizer, None, file="tokenizer_config.json")
    faults += _missing_references(config)
    return faults + _too_large(config, machine)


def estimate(config: RunConfig, machine: Machine | None = None) -> Estimate | None:
    """Bytes the run takes at its peak on `machine` (this one), or None where the model's size is not known."""
    parameters = _parameters(config.model.path, config.model.revision, config.model.parameters_b)
    if parameters is None:
        return None
    gpu = bool((machine or Machine.here()).gpu_bytes)
    trained = _trained(config, parameters)
    return Estimate(
        parameters=parameters,
        weights=int(parameters * _weight_bytes(config, gpu=gpu)),
        gradients=int(trained * _trained_bytes(config, gpu=gpu)),
        optimizer=int(trained * _optimizer_bytes(config.training.optimizer)),
        reference=_reference_bytes(config, parameters, gpu=gpu),
        activations=_activation_bytes(config, parameters, gpu=gpu),
        overhead=BASE_BYTES,
    )


def _missing_file(setting: str, path: str | None) -> list[str]:
    if path is None or path in TEMPLATES or local_path(path).is_file():
        return []
    return [f"{setting}={path}: there is no such file (from {Path.cwd()}), nor is it one of {', '.join(TEMPLATES)}"]


def _missing_references(config: RunConfig) -> list[str]:
    faults = reference_kinds.faults(config)
    for part in [] if faults else reference_kinds.parts(config):
        missing = [] if part.own else _missing(part.key, part.path, part.revision)
        if part.adapter is not None:
            missing = [f"the base model of the adapter {part.adapter} is not at hand: {fault}" for fault in missing]
        faults += missing
    return faults


def _missing(setting: str, path: str, revision: str | None, file: str = "config.json") -> list[str]:
    if path.startswith("builtin:"):
        return [] if path == "builtin:tiny" else [f"{setting}={path}: the only built-in model is builtin:tiny"]
    folder = local_path(path)
    if folder.exists():
        whole = (folder / file).is_file() or (folder / "config.json").is_file()
        return [] if whole else [f"{setting}={path}: that is no folder with a {file}"]
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        return [f"{setting}={path}: there is no such folder, and it is no hub id (owner/name)"]
    reason = hub.missing("model", path, revision)
    if reason is None:
        return []
    return [
        f"{setting}={path}: neither a local folder nor in the hub's cache, and {reason}: "
        f"download it where the hub can be reached (hf download {path}), and set HF_HOME to that cache "
        f"or {setting}=FOLDER; model=tiny needs no download"
    ]


def _too_large(config: RunConfig, machine: Machine) -> list[str]:
    needed = estimate(config, machine)
    if needed is None or needed.total * MARGIN <= machine.training_bytes:
        return []
    return [
        f"model={config.model.name} needs about {needed} to train with {_how(config)}, but {machine}: "
        f"{_advice(config, machine)}"
    ]


def _how(config: RunConfig) -> str:
    adapters = "LoRA" if isinstance(config.peft, LoRA) else "full fine-tuning (peft=none)"
    bits = " over 4-bit weights" if _quantised(config) else f" and model.dtype={config.model.dtype}"
    return adapters + bits


def _advice(config: RunConfig, machine: Machine) -> str:
    """What would fit, largest first."""
    if not _quantised(config) and _fits(_qlora(config), machine):
        return f"peft=qlora would fit, with about {_gb((estimate(_qlora(config), machine) or NOTHING).total)}"
    if not isinstance(config.peft, LoRA) and _fits(_lora(config), machine):
        return f"peft=lora would fit, with about {_gb((estimate(_lora(config), machine) or NOTHING).total)}"
    smaller = config.training.model_copy(update={"batch_size": 1, "gradient_checkpointing": True})
    if _fits(config.model_copy(update={"training": smaller}), machine):
        return "training.batch_size=1 training.gradient_checkpointing=true would fit"
    return "use a smaller model, or a machine with more memory"


def _lora(config: RunConfig) -> RunConfig:
    peft = LoRA(kind="lora", r=16, alpha=16, dropout=0.0, target_modules="all-linear")
    return config if isinstance(config.peft, LoRA) else config.model_copy(update={"peft": peft})


def _qlora(config: RunConfig) -> RunConfig:
    from trainers.config import NF4

    return _lora(config).model_copy(update={"quantization": NF4(kind="nf4", double_quant=True)})


def _fits(config: RunConfig, machine: Machine) -> bool:
    needed = estimate(config, machine)
    return needed is not None and needed.total * MARGIN <= machine.training_bytes


def _parameters(path: str, revision: str | None, billions: float | None) -> float | None:
    """How many parameters: as configured, else from the model's config where that is on this machine."""
    if billions is not None:
        return billions * 1e9
    if path.startswith("builtin:"):
        return TINY_PARAMETERS
    file = local_path(path) / "config.json"
    found = file if file.is_file() else hub.cached_file(path, revision, "config.json")
    try:
        return None if found is None else from_config(json.loads(found.read_bytes()))
    except (OSError, ValueError):
        return None


def _quantised(config: RunConfig) -> bool:
    return config.quantization.kind == "nf4" or config.model.prequantized


def _dtype_bytes(config: RunConfig, *, gpu: bool) -> int:
    """Of a weight that is not quantised; auto means fp32 on a CPU, and for weights that are trained themselves."""
    dtype = config.model.dtype
    return (2 if gpu and isinstance(config.peft, LoRA) else 4) if dtype == "auto" else BYTES[dtype]


def _weight_bytes(config: RunConfig, *, gpu: bool) -> float:
    full = _dtype_bytes(config, gpu=gpu)
    if not _quantised(config):
        return full
    double = config.quantization.kind != "nf4" or config.quantization.double_quant
    packed: float = NF4_DOUBLE_BYTES if double else NF4_BYTES
    return (1.0 - UNQUANTISED_SHARE) * packed + UNQUANTISED_SHARE * full


def _trained(config: RunConfig, parameters: float) -> float:
    """Parameters that are trained."""
    if not isinstance(config.peft, LoRA):
        return parameters
    # Adapters grow with a layer's sides, weights with their product: small models have relatively larger adapters.
    return float(config.peft.r * LORA_SHARE_PER_RANK * parameters * (7.24e9 / max(parameters, 1e6)) ** 0.4)


def _trained_bytes(config: RunConfig, *, gpu: bool) -> int:
    """Of a gradient, and of an adapter's own weight, which is kept in fp32."""
    return 8 if isinstance(config.peft, LoRA) else _dtype_bytes(config, gpu=gpu)


def _optimizer_bytes(name: str) -> float:
    """Of the optimiser's state for one trained parameter."""
    if name.endswith("8bit"):
        return 2
    if "adafactor" in name:
        return 0.1
    if name in ("sgd", "lion_32bit", "paged_lion_32bit", "rmsprop"):
        return 4
    return 8


def _reference_bytes(config: RunConfig, parameters: float, *, gpu: bool) -> int:
    """Of the largest other model; the starting policy is the policy itself without its adapter, which takes none."""
    try:
        others = [part for part in reference_kinds.parts(config) if not reference_kinds.serves(config, part)]
    except InvalidInput:  # told by check_model
        return 0
    return max((_part_bytes(config, part, parameters, gpu=gpu) for part in others), default=0)


def _part_bytes(config: RunConfig, part: reference_kinds.Part, parameters: float, *, gpu: bool) -> int:
    size = parameters if part.own else _parameters(part.path, part.revision, None) or parameters
    return int(size * _weight_bytes(reference_kinds.as_loaded(config, part), gpu=gpu))


def _activation_bytes(config: RunConfig, parameters: float, *, gpu: bool) -> int:
    """Of one batch of pairs, both answers in one pass: a rough figure, from layer widths that suit the parameter count.

    About 34 bytes a token, layer and hidden unit in 16 bits (arXiv:2205.05198, eq. 2, without the attention scores),
    or 2 with gradient checkpointing, and the logits in fp32 with their gradients.
    """
    training = config.training
    tokens = 2 * training.batch_size * min(training.max_length, 2048)
    # 12 layers hidden^2 parameters, and about 128 hidden units a layer (Llama: 32 of 4096).
    hidden = (parameters * 128 / 12) ** (1 / 3)
    width = hidden * hidden / 128
    each = (2 if training.gradient_checkpointing else 34) * (_dtype_bytes(config, gpu=gpu) / 2)
    vocabulary = 258 if parameters <= TINY_PARAMETERS else 32000
    return int(tokens * (each * width + 8 * vocabulary))


def _gb(size: float) -> str:
    return f"{size / 1e9:.0f} GB" if size >= 10e9 else f"{size / 1e9:.1f} GB"


NOTHING = Estimate(0, 0, 0, 0, 0, 0, 0)
