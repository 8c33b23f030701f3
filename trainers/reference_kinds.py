"""Which models a run's reference is made of, and where their weights are; told from the config, without torch.

reference=checkpoint reference.path=outputs/s/runs/t0000-s0-1a2b3c4d -> [Part(path="/models/opt", adapter="…/adapter")]
reference=mixture reference.first=self reference.second=/models/other reference.weight=0.3 -> [Part(..., weight=0.3),
Part(path="/models/other", weight=0.7)]
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers import checkpoints
from trainers.config import NF4, NoQuantization, RunConfig
from trainers.errors import InvalidInput
from trainers.files import read_json
from trainers.paths import local_path
from trainers.reference_config import (
    AdapterReference,
    CheckpointReference,
    MixtureReference,
    ModelReference,
    MovingReference,
    NoReference,
    Quantised,
    RunReference,
)
from trainers.spec import RunFolder, RunResult, RunSpec

_ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_MODEL_CONFIG = "config.json"
# How a mixture names the policy's own start.
SELF = "self"


@dataclass(frozen=True)
class Part:
    """A model, and its share of the reference.

    `key` is where the config names it, `path` a hub id, a folder or builtin:tiny with the base weights, `own` whether
    these are the run's own model's.
    """

    key: str
    weight: float
    path: str
    revision: str | None
    adapter: Path | None
    quantization: Quantised
    own: bool

    def __str__(self) -> str:
        bits = "" if self.quantization == "same" else f" (quantization={self.quantization})"
        return f"{self.path}{f' with {self.adapter}' if self.adapter else ''}{bits}"


def parts(config: RunConfig) -> list[Part]:
    """The models of the reference, whose weights sum up to 1. Raises InvalidInput with every fault found."""
    found: list[Part] = []
    faults: list[str] = []
    for key, name, weight in _named(config):
        try:
            found.append(_part(config, key, name, weight))
        except InvalidInput as error:
            faults += error.faults
    if faults:
        raise InvalidInput(faults)
    return found


def faults(config: RunConfig) -> list[str]:
    """What is wrong with the reference that can be told without asking for its base weights."""
    try:
        found = parts(config)
    except InvalidInput as error:
        return list(error.faults)
    if config.model.prequantized and any(part.own and part.quantization == "none" for part in found):
        return [
            f"reference.quantization=none: the weights of model={config.model.name} are stored in 4 bits: "
            "use reference.quantization=same"
        ]
    return []


def settled(config: RunConfig, spec: RunSpec) -> RunConfig:
    """The config with the folder of the run that is its reference, where it is another run of the study.

    Raises InvalidInput where that run has left no weights.
    """
    if not isinstance(config.reference, RunReference):
        return config
    if not spec.needs:
        raise InvalidInput(["reference=run: no run of the study was found for it when it was planned"])
    folder = RunFolder(spec.run_dir.parent / spec.needs[0])
    result = RunResult.read(folder)
    if result is not None and result.same_as is not None:
        folder = RunFolder(spec.run_dir.parent / result.same_as)
    reference = config.reference.model_dump(include={"quantization"})
    found = CheckpointReference(kind="checkpoint", path=str(folder.root), **reference)
    there = config.model_copy(update={"reference": found})
    parts(there)
    return there


def as_loaded(config: RunConfig, part: Part) -> RunConfig:
    """The run's config with the quantisation of the part in place of the policy's."""
    quantization = config.quantization
    if part.quantization == "none":
        quantization = NoQuantization(kind="none")
    elif part.quantization == "nf4" and not isinstance(quantization, NF4):
        quantization = NF4(kind="nf4", double_quant=True)
    return config.model_copy(update={"quantization": quantization})


def serves(config: RunConfig, part: Part) -> bool:
    """Whether the policy before its first step, without its adapter, is that model."""
    same_bits = config.model.prequantized or as_loaded(config, part).quantization == config.quantization
    return part.own and part.adapter is None and same_bits


def used(config: RunConfig) -> dict[str, Any]:
    """The keys of the reference that decide what it computes, its kind among them."""
    reference = config.reference
    keys = {
        ModelReference: {"path", "revision"},
        AdapterReference: {"path"},
        CheckpointReference: {"path"},
        MixtureReference: {"first", "second", "weight"},
        MovingReference: {"mixup", "sync_steps"},
        # Whichever way it was named.
        RunReference: {"of"},
    }.get(type(reference), set())
    values = reference.model_dump(include={"kind", *keys})
    quantized = not isinstance(reference, NoReference) and reference.quantization != "same"
    return values | ({"quantization": reference.quantization} if quantized else {})


def folders(config: RunConfig) -> dict[str, Path]:
    """The local folders that the reference reads, by key; that of an adapter's base model where it is not the run's.

    {"reference.path": .../runs/t0000-s0-1a2b3c4d/adapter, "reference.path_base": /models/other}
    """
    found: dict[str, Path] = {}
    for key, name, weight in _named(config):
        try:
            part = _part(config, key, name, weight)
        except InvalidInput:
            continue
        if part.adapter is not None:
            found[key] = part.adapter
        if not part.own and (base := _existing(part.path)) is not None:
            found[f"{key}_base" if part.adapter else key] = base
        elif name != SELF and part.adapter is None and (own := _existing(name)) is not None:
            found[key] = own
    return found


def _named(config: RunConfig) -> Iterator[tuple[str, str, float]]:
    """Key, name and weight of each model."""
    reference = config.reference
    if isinstance(reference, ModelReference | AdapterReference | CheckpointReference):
        yield "reference.path", reference.path, 1.0
    elif isinstance(reference, MixtureReference):
        yield "reference.first", reference.first, reference.weight
        yield "reference.second", reference.second, 1.0 - reference.weight
    else:
        yield "reference", SELF, 1.0


def _part(config: RunConfig, key: str, name: str, weight: float) -> Part:
    reference = config.reference
    quantization: Quantised = "same" if isinstance(reference, NoReference) else reference.quantization
    if name == SELF:
        return Part(key, weight, config.model.path, config.model.revision, None, quantization, own=True)
    folder = None if isinstance(reference, ModelReference) else _leaf(key, name, config)
    if folder is not None and _is_adapter(folder):
        path, revision = _base(folder, config)
        return Part(key, weight, path, revision, folder, quantization, own=_is_own(path, revision, config))
    path = name if folder is None else str(folder)
    revision = reference.revision if isinstance(reference, ModelReference) else None
    return Part(key, weight, path, revision, None, quantization, own=_is_own(path, revision, config))


def _leaf(key: str, name: str, config: RunConfig) -> Path | None:
    """The folder with the weights; None for what may be a model's hub id, which a mixture may name too."""
    folder = _existing(name)
    kind = config.reference.kind
    if folder is None:
        if kind == "mixture":
            return None
        raise InvalidInput([f"{key}={name}: there is no such folder; reference={kind} wants {_WANTED[kind]}"])
    if kind == "adapter":
        if not _is_adapter(folder):
            raise InvalidInput(
                [f"{key}={name}: no {_ADAPTER_CONFIG} with {_ADAPTER_WEIGHTS} there; {_hint(folder) or _OTHER_KIND}"]
            )
        return folder
    found = _weights_in(folder)
    if found is None and kind == "mixture":
        return folder
    if found is None:
        raise InvalidInput([f"{key}={name}: there is {_NO_WEIGHTS}"])
    return found


_WANTED = {
    "adapter": "the folder of an adapter that peft saved",
    "checkpoint": "the folder of a run (outputs/STUDY/runs/RUN), or an adapter, model or checkpoint-N folder in it",
}
_OTHER_KIND = "use reference=model for a whole model, reference=checkpoint for the folder of a run"
_NO_WEIGHTS = (
    "neither an adapter/ or model/ nor a whole checkpoint: has the run completed, and with training.save_final=true?"
)


def _hint(folder: Path) -> str:
    found = _weights_in(folder)
    return f"did you mean {found}?" if found is not None and _is_adapter(found) else ""


def _weights_in(folder: Path) -> Path | None:
    """The adapter or model itself, or that of the run whose folder it is."""
    run = RunFolder(folder)
    candidates = [folder, run.adapter, run.model, checkpoints.newest_whole(run.checkpoints)]
    return next((at for at in candidates if at is not None and (_is_adapter(at) or _is_model(at))), None)


def _is_adapter(folder: Path) -> bool:
    # Not adapter_model.bin, which is a pickle.
    return (folder / _ADAPTER_CONFIG).is_file() and (folder / _ADAPTER_WEIGHTS).is_file()


def _is_model(folder: Path) -> bool:
    return (folder / _MODEL_CONFIG).is_file()


def _base(adapter: Path, config: RunConfig) -> tuple[str, str | None]:
    """The model under an adapter, as the run that trained it says, or else peft."""
    for near in (adapter.parent, adapter.parent.parent):
        spec = read_json(RunFolder(near).spec)
        model = _mapping(_mapping(_mapping(spec).get("config")).get("model"))
        if isinstance(model.get("path"), str):
            return model["path"], model.get("revision")
    said = _mapping(read_json(adapter / _ADAPTER_CONFIG))
    path = said.get("base_model_name_or_path")
    return (path, said.get("revision")) if isinstance(path, str) else (config.model.path, config.model.revision)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_own(path: str, revision: str | None, config: RunConfig) -> bool:
    here, own = _existing(path), _existing(config.model.path)
    if here is not None or own is not None:
        return here is not None and own is not None and here.resolve() == own.resolve()
    return (path, revision) == (config.model.path, config.model.revision)


def _existing(name: str) -> Path | None:
    try:
        path = local_path(name)
        return path.absolute() if path.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        return None
