"""Which weights a run begins at, and what is wrong with them; told from the config, without torch.

start=checkpoint start.path=outputs/s/runs/t0000-s0-1a2b3c4d -> Weights("/models/opt", None, adapter=".../adapter")

What an adapter begins at stays as it is, and is saved together with it (`trainers.stacked`): only plain LoRA can be.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.config import LoRA, RunConfig
from trainers.errors import InvalidInput
from trainers.parameters import Shape, config_at, shape
from trainers.start_config import AdapterStart, CheckpointStart, RunStart
from trainers.weights_folders import (
    ADAPTER_WEIGHTS,
    adapter_at,
    adapter_config,
    existing,
    folder_at,
    is_adapter,
    is_model,
    model_of,
    same_model,
    trained_at,
    whole_below,
)

KEY = "start.path"
_OTHER_KIND = "use start=checkpoint for the folder of a run, or model.path for a whole model"
# What a config of peft's may say of a LoRA adapter that is more than two matrices a layer.
_MORE_THAN_PLAIN = (
    "use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication",
    "alora_invocation_tokens", "use_qalora", "velora_config", "arrow_config", "monteclora_config", "kasa_config",
    "use_bdlora",
)  # fmt: skip
# Starts of an adapter that leave its base as it is; the others move a part of the base's weights into it.
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal")
_HEADS = ("lm_head", "embed_out")


@dataclass(frozen=True)
class Weights:
    """Those of a model at `path` (a hub id, a folder or builtin:tiny), and of an adapter on it."""

    path: str
    revision: str | None
    adapter: Path | None = None


def weights(config: RunConfig) -> Weights:
    """Those that the run begins at. Raises InvalidInput where they are not there.

    Of a run of the study that is yet to be trained nothing is known but its model.
    """
    start, own = config.start, Weights(config.model.path, config.model.revision)
    if not isinstance(start, AdapterStart | CheckpointStart):
        return own
    folder = folder_at(KEY, start.path, "start", start.kind)
    if isinstance(start, AdapterStart):
        leaf = adapter_at(KEY, start.path, folder, _OTHER_KIND)
    else:
        leaf = trained_at(KEY, start.path, folder)
    if not is_adapter(leaf):
        return Weights(str(leaf), None)
    below = whole_below(leaf)
    return Weights(own.path, own.revision, leaf) if below is None else Weights(str(below), None, leaf)


def merged(config: RunConfig, begins: Weights) -> bool:
    """Whether the adapter that the run begins at becomes a part of the weights, which are all trained."""
    return begins.adapter is not None and config.peft.kind == "none"


def faults(config: RunConfig) -> list[str]:
    """What is wrong with where the run begins, as far as that is known before it does."""
    try:
        begins = weights(config)
    except InvalidInput as error:
        return list(error.faults)
    if begins.adapter is not None:
        return list(_of_adapter(config, begins.path, begins.adapter))
    return list(_of_model(config, Path(begins.path))) if config.start.kind == "checkpoint" else []


def of_runs(config: RunConfig, needed: RunConfig) -> Iterator[str]:
    """Faults of beginning at what another run of the study will have trained."""
    if needed.method.name == "reward":
        yield "it trains a reward model, which is no policy"
    if needed.model.path != config.model.path or needed.model.revision != config.model.revision:
        yield f"its model is {needed.model.path}, and this run's is {config.model.path}: there must be one under both"
    if not needed.training.save_final:
        yield "it keeps no weights: training.save_final=false"
    if isinstance(needed.peft, LoRA) and isinstance(config.peft, LoRA):
        if needed.peft.use_dora:
            yield f"it trains with DoRA: {_NO_DORA_BELOW}"
        elif config.peft.use_dora:
            yield _NO_DORA_ABOVE
    elif needed.peft.kind == "none" and config.model.prequantized:
        yield _NOT_PREQUANTIZED


_NO_DORA_BELOW = (
    "no adapter can be put on such a one and kept together with it: train this run with peft=none, or that one with "
    "peft=lora"
)
_NO_DORA_ABOVE = "DoRA cannot be put on an adapter and kept together with it: use peft=lora, peft=rslora or peft=none"
_NOT_PREQUANTIZED = "model.prequantized=true: whole weights are not stored in 4 bits: leave start=base"


def _of_adapter(config: RunConfig, below: str, adapter: Path) -> Iterator[str]:
    said, here = adapter_config(adapter), f"{KEY}={adapter}"
    if said.get("peft_type") != "LORA":
        yield f"{here}: peft says it is {said.get('peft_type')}, and a policy begins at a LORA adapter or a whole model"
        return
    if said.get("task_type") not in ("CAUSAL_LM", None):
        yield f"{here}: an adapter of a model that rates ({said['task_type']}), not of one that writes"
        return
    model = model_of(adapter)
    if below != config.model.path and not is_model(Path(below)):
        yield f"{here}: the weights that it was put on are gone: {below}"
    elif model is not None and not _may_be_own(model, config):
        yield f"{here}: an adapter of {model[0]}, but model.path={config.model.path}: use model.path={model[0]}"
    if isinstance(config.peft, LoRA):
        yield from (f"{here}: {fault}" for fault in _unstackable(config.peft, said, adapter))


def _may_be_own(model: tuple[str, str | None], config: RunConfig) -> bool:
    """False where an adapter's model is surely another one than the run's.

    A folder may be a copy of what the hub has, or of another folder that is gone; what is built in lies in a cache.
    """
    own = (config.model.path, config.model.revision)
    if model[0] == own[0]:
        return model[1] is None or model[1] == own[1]
    if own[0].startswith("builtin:") or model[0].startswith("builtin:"):
        return model[0].startswith("/")
    here, own_here = existing(model[0]) is not None, existing(own[0]) is not None
    of_hub = not here and not model[0].startswith("/")
    return same_model(model, own) if (here and own_here) or (of_hub and not own_here) else True


def _unstackable(peft: LoRA, said: Mapping[str, Any], adapter: Path) -> Iterator[str]:
    """Why an adapter cannot be kept together with one in training on top of it."""
    more = [name for name in _MORE_THAN_PLAIN if said.get(name)]
    if said.get("bias", "none") != "none":
        more.append(f"bias={said['bias']}")
    if said.get("init_lora_weights") not in _PLAIN_STARTS:
        more.append(f"init_lora_weights={said['init_lora_weights']}")
    if more == ["use_dora"]:
        yield f"a DoRA adapter: {_NO_DORA_BELOW}"
    elif more:
        yield f"more than plain LoRA ({', '.join(more)}): train this run with peft=none, or begin at a plain adapter"
    elif peft.use_dora:
        yield _NO_DORA_ABOVE
    elif (names := _tensors(adapter)) is None:
        yield f"{ADAPTER_WEIGHTS} is damaged"
    elif any(head in name.split(".") for name in names for head in _HEADS):
        yield "it changes the model's head, which no trainer heeds below an adapter: train this run with peft=none"
    elif any(".lora_" not in name for name in names):
        yield "it holds more than LoRA's two matrices a layer: train this run with peft=none"


def _of_model(config: RunConfig, folder: Path) -> Iterator[str]:
    here, known = f"{KEY}={folder}", config_at(str(folder), None)
    if known is None:
        yield f"{here}: its config.json is damaged"
        return
    if any(str(name).endswith("ForSequenceClassification") for name in known.get("architectures") or []):
        yield f"{here}: a model that rates, not one that writes"
    if config.model.prequantized or known.get("quantization_config") is not None:
        yield f"{here}: {_NOT_PREQUANTIZED}"
    own = config_at(config.model.path, config.model.revision)
    if own is not None and _make(own) != _make(known):
        yield f"{here}: a model of another make than model.path={config.model.path}: give the path of its base model"


def _make(known: Mapping[str, Any]) -> tuple[Any, Shape | None]:
    try:
        return known.get("model_type"), shape(known)
    except ValueError:
        return known.get("model_type"), None


def used(config: RunConfig) -> dict[str, Any] | None:
    """The keys of the start that decide what the run computes; None for the model's own weights."""
    start = config.start
    if isinstance(start, RunStart):
        # Whichever way it was named.
        return start.model_dump(include={"kind", "of"})
    return start.model_dump(include={"path"}) if isinstance(start, AdapterStart | CheckpointStart) else None


def folders(config: RunConfig) -> dict[str, Path]:
    """The local folder that the run begins at, by its key, and what is under it where that is not the run's model."""
    try:
        begins = weights(config)
    except InvalidInput:
        return {}
    if not isinstance(config.start, AdapterStart | CheckpointStart):
        return {}
    if begins.adapter is None:
        return {KEY: Path(begins.path)}
    below = existing(begins.path) if begins.path != config.model.path else None
    return {KEY: begins.adapter} | ({f"{KEY}_base": below} if below is not None else {})


def adapter_bytes(config: RunConfig) -> int | None:
    """What the adapter that a run begins at takes in 32 bits; 0 where there is none, None where it is yet to come."""
    if isinstance(config.start, RunStart):
        return None
    try:
        begins = weights(config)
    except InvalidInput:
        return 0
    tensors = _tensors(begins.adapter) if begins.adapter is not None else None
    return sum(4 * count for count in (tensors or {}).values())


def _tensors(adapter: Path) -> Mapping[str, int] | None:
    """How many numbers each tensor of an adapter has, from the file's head; None where that is damaged."""
    try:
        with (adapter / ADAPTER_WEIGHTS).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(min(length, 100 << 20)))
        return {name: math.prod(told["shape"]) for name, told in head.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
