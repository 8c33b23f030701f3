"""Whose answers a policy's are beside, where it is not what it started from: the final policy of a finished run.

evaluation.opponent=outputs/s/runs/t0001-s0-1a2b3c4d -> its adapter/ or model/, named "t0001-s0-1a2b3c4d"; no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainers import reference_kinds
from trainers.config import RunConfig
from trainers.errors import InvalidInput
from trainers.evaluation_config import START
from trainers.files import read_json
from trainers.parameters import config_at
from trainers.reference_config import CheckpointReference, Quantised
from trainers.reference_kinds import Part
from trainers.spec import RunFolder, RunResult
from trainers.weights_folders import adapter_config, existing, is_adapter, is_model

KEY = "evaluation.opponent"
_WANTED = f"give {START}, or the folder of a finished run (outputs/STUDY/runs/RUN)"
# From the weights up to the run's folder: RUN/checkpoints/stage-2/checkpoint-50.
_DEPTH = 3


@dataclass(frozen=True)
class Opponent:
    """A trained policy: its weights, the config of its run as far as that is known, and what it is called."""

    part: Part
    config: Mapping[str, Any]
    name: str

    @property
    def tokenizer(self) -> tuple[str, str | None]:
        """Path and revision of what it reads with."""
        model = _section(self.config, "model")
        if isinstance(model.get("tokenizer"), str):
            return model["tokenizer"], None
        own = self.part.adapter or Path(self.part.path)
        return (str(own), None) if (own / "tokenizer_config.json").is_file() else (self.part.path, self.part.revision)

    @property
    def chat_template(self) -> str | None:
        """What its run was told to format messages with."""
        found = _section(self.config, "model").get("chat_template")
        return found if isinstance(found, str) else None


def opponent(config: RunConfig) -> Opponent | None:
    """None where it is what the policy started from. Raises InvalidInput where it is not there, or no policy."""
    given = config.evaluation.opponent
    if given == START:
        return None
    folder = existing(given)
    if folder is None:
        raise InvalidInput([f"{KEY}={given}: there is no such folder (from {Path.cwd()}): {_WANTED}"])
    leaf = _leaf(given, folder)
    if _rates(leaf):
        raise InvalidInput([f"{KEY}={given}: a model that rates, not one that writes: {_WANTED}"])
    run, trained = _run_of(leaf)
    section = CheckpointReference(kind="checkpoint", path=str(leaf), quantization=_bits(config, trained))
    (part,) = reference_kinds.parts(config.model_copy(update={"reference": section}))
    return Opponent(replace(part, key=KEY), trained, _name(leaf, run))


def faults(config: RunConfig) -> list[str]:
    """What is wrong with it, as far as that can be told without asking for its base weights."""
    try:
        opponent(config)
    except InvalidInput as error:
        return list(error.faults)
    return []


def folders(config: RunConfig) -> dict[str, Path]:
    """The local folders that it is read from, by key; that of an adapter's base where it is not the run's model."""
    try:
        found = opponent(config)
    except InvalidInput:
        return {}
    if found is None:
        return {}
    part = found.part
    if part.adapter is None:
        return {KEY: Path(part.path)}
    base = None if part.own else existing(part.path)
    return {KEY: part.adapter} | ({} if base is None else {f"{KEY}_base": base})


def _leaf(given: str, folder: Path) -> Path:
    """The folder with the weights."""
    if is_adapter(folder) or is_model(folder):
        return folder
    run = RunFolder(folder)
    result = RunResult.read(run)
    if result is not None and result.same_as is not None:  # another trial has computed the same
        run = RunFolder(folder.parent / result.same_as)
        result = RunResult.read(run)
    if result is None or result.status != "completed":
        what = "has not completed" if run.spec.is_file() else "holds neither a run nor a model"
        raise InvalidInput([f"{KEY}={given}: that folder {what}: {_WANTED}"])
    found = next((at for at in (run.adapter, run.model) if is_adapter(at) or is_model(at)), None)
    if found is None:
        raise InvalidInput([f"{KEY}={given}: that run kept no weights: training.save_final=false"])
    return found


def _rates(leaf: Path) -> bool:
    if is_adapter(leaf):
        return adapter_config(leaf).get("task_type") == "SEQ_CLS"
    known = config_at(str(leaf), None) or {}
    return any(str(name).endswith("ForSequenceClassification") for name in known.get("architectures") or [])


def _run_of(leaf: Path) -> tuple[Path | None, Mapping[str, Any]]:
    """The folder and the config of the run that trained it, where there is one."""
    for near in (leaf, *leaf.parents[:_DEPTH]):
        spec = read_json(RunFolder(near).spec)
        if isinstance(spec, Mapping):
            return near, _section(spec, "config")
    return None, {}


def _name(leaf: Path, run: Path | None) -> str:
    """A run's id; of a checkpoint with its place in the run."""
    if run is None:
        return str(leaf)
    final = leaf in (RunFolder(run).adapter, RunFolder(run).model)
    return run.name if final else f"{run.name}/{leaf.relative_to(run)}"


def _bits(config: RunConfig, trained: Mapping[str, Any]) -> Quantised:
    """As it was trained, where it may be loaded otherwise."""
    if config.model.prequantized:
        return "same"
    kind = _section(trained, "quantization").get("kind")
    return "nf4" if kind == "nf4" else "none" if kind == "none" else "same"


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
