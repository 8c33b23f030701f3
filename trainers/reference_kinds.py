"""Which models a run's reference is made of, and where their weights are; told from the config, without torch.

reference=checkpoint reference.path=outputs/s/runs/t0000-s0-1a2b3c4d -> [Part(path="/models/opt", adapter="…/adapter")]
reference=mixture reference.first=self reference.second=/models/other reference.weight=0.3 -> [Part(..., weight=0.3),
Part(path="/models/other", weight=0.7)]
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers import start_kinds
from trainers.config import NF4, NoQuantization, RunConfig
from trainers.errors import InvalidInput
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
from trainers.start_config import RunStart
from trainers.weights_folders import (
    adapter_at,
    base_of,
    existing,
    folder_at,
    is_adapter,
    same_model,
    trained_at,
    weights_in,
)

# How a mixture names the policy's own start.
SELF = "self"


@dataclass(frozen=True)
class Part:
    """A model, and its share of the reference.

    `key` is where the config names it, `path` a hub id, a folder or builtin:tiny with the base weights, `own` whether
    these are the run's own model's, and `start` whether it is what the policy begins at. `merged`: the adapter is a
    part of the weights, as in a policy that trains all of them.
    """

    key: str
    weight: float
    path: str
    revision: str | None
    adapter: Path | None
    quantization: Quantised
    own: bool
    start: bool = False
    merged: bool = False

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


def as_loaded(config: RunConfig, part: Part) -> RunConfig:
    """The run's config with the quantisation of the part in place of the policy's."""
    quantization = config.quantization
    if part.quantization == "none":
        quantization = NoQuantization(kind="none")
    elif part.quantization == "nf4" and not isinstance(quantization, NF4):
        quantization = NF4(kind="nf4", double_quant=True)
    return config.model_copy(update={"quantization": quantization})


def serves(config: RunConfig, part: Part) -> bool:
    """Whether the policy before its first step, without the adapter that it trains, is that model."""
    same_bits = config.model.prequantized or as_loaded(config, part).quantization == config.quantization
    return part.start and same_bits


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
        if name == SELF:  # whose folders are the start's
            continue
        if part.adapter is not None:
            found[key] = part.adapter
        if not part.own and (base := existing(part.path)) is not None:
            found[f"{key}_base" if part.adapter else key] = base
        elif part.adapter is None and (own := existing(name)) is not None:
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
    begins = start_kinds.weights(config)
    if name == SELF:
        joined = start_kinds.merged(config, begins)
        return Part(
            key, weight, begins.path, begins.revision, begins.adapter, quantization, own=True, start=True, merged=joined
        )
    folder = None if isinstance(reference, ModelReference) else _leaf(key, name, config)
    adapter = folder if folder is not None and is_adapter(folder) else None
    if adapter is not None:
        path, revision = base_of(adapter) or (config.model.path, config.model.revision)
    else:
        path = name if folder is None else str(folder)
        revision = reference.revision if isinstance(reference, ModelReference) else None
    of_start = same_model((path, revision), (begins.path, begins.revision))
    return Part(
        key, weight, path, revision, adapter, quantization,
        own=of_start or same_model((path, revision), (config.model.path, config.model.revision)),
        start=of_start and not isinstance(config.start, RunStart) and _same_adapter(adapter, begins)
        and not start_kinds.merged(config, begins),
    )  # fmt: skip


def _same_adapter(adapter: Path | None, begins: start_kinds.Weights) -> bool:
    if adapter is None or begins.adapter is None:
        return adapter is None and begins.adapter is None
    return adapter.resolve() == begins.adapter.resolve()


def _leaf(key: str, name: str, config: RunConfig) -> Path | None:
    """The folder with the weights; None for what may be a model's hub id, which a mixture may name too."""
    kind = config.reference.kind
    if kind == "mixture":
        folder = existing(name)
        return folder if folder is None else weights_in(folder) or folder
    folder = folder_at(key, name, "reference", kind)
    return adapter_at(key, name, folder, _OTHER_KIND) if kind == "adapter" else trained_at(key, name, folder)


_OTHER_KIND = "use reference=model for a whole model, reference=checkpoint for the folder of a run"
