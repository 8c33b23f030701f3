"""Where in a folder the weights are: an adapter that peft saved, a whole model, or what a run has trained so far.

trained_at("reference.path", "outputs/s/runs/t0000-s0-1a2b3c4d", ...) -> .../t0000-s0-1a2b3c4d/adapter
base_of(.../t0000-s0-1a2b3c4d/adapter) -> ("/models/opt", None)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers import checkpoints
from trainers.errors import InvalidInput
from trainers.files import read_json
from trainers.paths import local_path
from trainers.spec import RunFolder, RunResult

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Beside an adapter that was trained over weights in 4 bits: how these were packed, as transformers has it.
BASE_QUANTIZATION = "base_quantization.json"
_MODEL_CONFIG = "config.json"
# From the weights up to the run's folder: RUN/checkpoints/stage-2/checkpoint-50.
_DEPTH = 3
_WANTED = {
    "adapter": "the folder of an adapter that peft saved",
    "checkpoint": "the folder of a run (outputs/STUDY/runs/RUN), or an adapter, model or checkpoint-N folder in it",
}
_NO_WEIGHTS = (
    "neither an adapter/ or model/ nor a whole checkpoint: has the run completed, and with training.save_final=true?"
)


def folder_at(key: str, name: str, group: str, kind: str) -> Path:
    """The folder that `key=name` of `group=kind` names. Raises InvalidInput where there is none."""
    folder = existing(name)
    if folder is None:
        raise InvalidInput([f"{key}={name}: there is no such folder; {group}={kind} wants {_WANTED[kind]}"])
    return folder


def adapter_at(key: str, name: str, folder: Path, other_kind: str) -> Path:
    """The folder, which must hold an adapter; else InvalidInput, with the one that may be meant, or `other_kind`."""
    if is_adapter(folder):
        return folder
    found = weights_in(folder)
    hint = f"did you mean {found}?" if found is not None and is_adapter(found) else other_kind
    raise InvalidInput([f"{key}={name}: no {ADAPTER_CONFIG} with {ADAPTER_WEIGHTS} there; {hint}"])


def trained_at(key: str, name: str, folder: Path) -> Path:
    """The adapter or model in the folder, as `weights_in` finds it; else InvalidInput."""
    found = weights_in(folder)
    if found is None:
        raise InvalidInput([f"{key}={name}: there is {_NO_WEIGHTS}"])
    return found


def weights_in(folder: Path) -> Path | None:
    """The adapter or model itself, or that of the run whose folder it is, or else the newest of its checkpoints."""
    run = RunFolder(folder)
    candidates = [folder, run.adapter, run.model, checkpoints.newest(run.checkpoints), checkpoints.newest(folder)]
    return next((at for at in candidates if at is not None and (is_adapter(at) or is_model(at))), None)


def is_adapter(folder: Path) -> bool:
    """Whether peft saved one there; not as adapter_model.bin, which is a pickle."""
    return (folder / ADAPTER_CONFIG).is_file() and (folder / ADAPTER_WEIGHTS).is_file()


def is_model(folder: Path) -> bool:
    """Whether a whole model lies there."""
    return (folder / _MODEL_CONFIG).is_file()


def adapter_config(adapter: Path) -> Mapping[str, Any]:
    """What peft noted of an adapter; nothing where that is damaged."""
    return _mapping(read_json(adapter / ADAPTER_CONFIG))


def base_of(adapter: Path) -> tuple[str, str | None] | None:
    """Path and revision of what an adapter is put on; None where nobody says."""
    below = whole_below(adapter)
    return model_of(adapter) if below is None else (str(below), None)


def model_of(adapter: Path) -> tuple[str, str | None] | None:
    """Path and revision of the model of the run that trained an adapter, as its spec says, or else peft."""
    _, config, _ = _run_of(adapter)
    model = _mapping(config.get("model"))
    if isinstance(model.get("path"), str):
        return model["path"], model.get("revision")
    said = adapter_config(adapter)
    path = said.get("base_model_name_or_path")
    return (path, said.get("revision")) if isinstance(path, str) else None


def whole_below(adapter: Path) -> Path | None:
    """The whole weights that the run of an adapter, or the one at which that began, began at; None for its model's.

    What is put on an adapter is saved together with it, so that it is for what was under both. The folder may be gone.
    """
    run, config, needs = _run_of(adapter)
    start = _start_of(run, _mapping(config.get("start")), needs)
    if start is None:
        return None
    found = weights_in(start)
    if found is None:
        said = Path(str(adapter_config(adapter).get("base_model_name_or_path")))
        return said if start in (said, *said.parents) else None
    return whole_below(found) if is_adapter(found) else found


def _run_of(adapter: Path) -> tuple[Path, Mapping[str, Any], list[str]]:
    """The folder, config and needs of the run that trained an adapter; empty ones where that is not known."""
    for near in adapter.parents[:_DEPTH]:
        spec = _mapping(read_json(RunFolder(near).spec))
        if spec:
            return near, _mapping(spec.get("config")), [str(name) for name in spec.get("needs") or []]
    return adapter, {}, []


def _start_of(run: Path, start: Mapping[str, Any], needs: Sequence[str]) -> Path | None:
    """The folder with the weights that a run began at; None where these are its model's."""
    if isinstance(start.get("path"), str) and start.get("kind") in ("adapter", "checkpoint"):
        return Path(start["path"])
    return needed_run(run, needs, start.get("of")) if start.get("kind") == "run" else None


def needed_run(run: Path, needs: Sequence[str], fingerprint: str | None) -> Path | None:
    """The folder of the run of that fingerprint among those of the same study that a run needs.

    Where another trial computes the same, the folder is that of the run that was trained.
    """
    run_id = needed_id(needs, fingerprint)
    if run_id is None:
        return None
    result = RunResult.read(RunFolder(run.parent / run_id))
    return run.parent / (run_id if result is None or result.same_as is None else result.same_as)


def needed_id(needs: Sequence[str], fingerprint: str | None) -> str | None:
    """The id of the run of that fingerprint, whose first digits it ends with, among those that a run needs."""
    if len(needs) == 1:
        return needs[0]
    return next((name for name in needs if fingerprint and name.endswith(f"-{fingerprint[:8]}")), None)


def existing(name: str) -> Path | None:
    """The absolute path of a folder of this machine, where there is one of that name."""
    try:
        path = local_path(name)
        return path.absolute() if path.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        return None


def same_model(one: tuple[str, str | None], other: tuple[str, str | None]) -> bool:
    """Whether two pairs of path and revision are one model: the same folder, or the same commit of the hub."""
    here, there = existing(one[0]), existing(other[0])
    if here is not None or there is not None:
        return here is not None and there is not None and here.resolve() == there.resolve()
    return one == other


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
