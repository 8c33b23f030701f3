"""Is what a run is read from at hand: its model, where it begins, its references, who rates, other harnesses?

{"model": {"path": "owner/name"}} -> ["model.path=owner/name: neither a local folder nor in the hub's cache, and ..."]
"""

import json
import re
from pathlib import Path

from trainers import hub, reference_kinds, start_kinds, toys
from trainers.chat_templates import TEMPLATES
from trainers.config import RunConfig
from trainers.errors import InvalidInput, NotAtHand
from trainers.evaluation import harness_faults, opponent
from trainers.parameters import config_at
from trainers.paths import local_path
from trainers.spec import RunFolder


def missing(config: RunConfig) -> list[str]:
    """Faults of what the run's model, start, reference, reward models and opponent are read from, a sentence each.

    Asks the hub at most once a process about what is not here, for at most 5 s; HF_HUB_OFFLINE is respected.
    """
    model = config.model
    faults = [*_missing_file("model.chat_template", model.chat_template)]
    faults += _missing("model.path", model.path, model.revision)
    if model.tokenizer is not None:
        faults += _missing("model.tokenizer", model.tokenizer, None, file="tokenizer_config.json")
    for section in ("method", "evaluation"):
        reward_model = getattr(getattr(config, section), "reward_model", None)
        if reward_model is not None and not reward_model.startswith("builtin:"):
            faults += _no_reward_model(f"{section}.reward_model", reward_model)
    faults += _missing_opponent(config)
    faults += harness_faults.faults(config)
    unfit = start_kinds.faults(config)
    # A reference may be what the run begins at, and would say the same again.
    return faults + (unfit or _missing_references(config))


def _no_reward_model(setting: str, path: str) -> list[str]:
    """Faults of a path that holds none, with the one beside it that may be meant."""
    folder = local_path(path)
    try:
        adapter = json.loads((folder / "adapter_config.json").read_bytes())
    except (OSError, ValueError):
        run = RunFolder(folder)
        within = next((at for at in (run.adapter, run.model) if at.is_dir()), None)
        if within is not None and run.spec.is_file():
            return [f"{setting}={path}: that is a run's folder: give what it trained, {within}"]
        return _missing(setting, path, None) or _of_other_labels(setting, path)
    if adapter.get("task_type") == "SEQ_CLS":
        return []
    return [
        f"{setting}={path}: an adapter of a model that writes ({adapter.get('task_type')}), not of one that "
        "rates: give a sequence-classification model, as method=reward trains"
    ]


def _of_other_labels(setting: str, path: str) -> list[str]:
    """Faults of a model that does not give one number for a text, where that is known without a download."""
    known = config_at(path, None)
    if known is None:
        return []
    names = known.get("id2label")
    labels = len(names) if isinstance(names, dict) else known.get("num_labels", 2)  # as transformers has it
    if labels == 1:
        return []
    return [
        f"{setting}={path}: it gives {labels} numbers for a text, and a reward is one: give a sequence-classification "
        "model of one label, as method=reward trains"
    ]


def _missing_opponent(config: RunConfig) -> list[str]:
    try:
        found = opponent.opponent(config)
    except InvalidInput as error:
        return list(error.faults)
    if found is None or found.part.own:
        return []
    part = found.part
    told = f"the base model of the adapter {part.adapter} is not at hand: " if part.adapter else ""
    return [type(fault)(f"{told}{fault}") for fault in _missing(part.key, part.path, part.revision)]


def _missing_file(setting: str, path: str | None) -> list[str]:
    if path is None or path in TEMPLATES or local_path(path).is_file():
        return []
    return [f"{setting}={path}: there is no such file (from {Path.cwd()}), nor is it one of {', '.join(TEMPLATES)}"]


def _missing_references(config: RunConfig) -> list[str]:
    faults = reference_kinds.faults(config)
    for part in [] if faults else reference_kinds.parts(config):
        missing = [] if part.own else _missing(part.key, part.path, part.revision)
        if part.adapter is not None:
            told = f"the base model of the adapter {part.adapter} is not at hand: "
            missing = [type(fault)(f"{told}{fault}") for fault in missing]
        faults += missing
    return faults


def _missing(setting: str, path: str, revision: str | None, file: str = "config.json") -> list[str]:
    if path.startswith("builtin:"):
        return _not_built_in(setting, path)
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
        NotAtHand(
            f"{setting}={path}: neither a local folder nor in the hub's cache, and {reason}: "
            f"download it where the hub can be reached (hf download {path}), and set HF_HOME to that cache "
            f"or {setting}=FOLDER; model=tiny needs no download"
        )
    ]


def _not_built_in(setting: str, path: str) -> list[str]:
    if toys.is_toy(path):
        try:
            toys.actions(path)
        except InvalidInput as error:
            return list(error.faults)
        return []
    return [] if path == "builtin:tiny" else [f"{setting}={path}: not built in; there is builtin:tiny, {toys.FORMS}"]
