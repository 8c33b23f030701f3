"""Which files and folders of this machine a run's config reads, and digests of what they hold.

{"data": {"path": "pairs.jsonl"}} -> {"data.path": "sha256:9f86d0…"}; a hub id has none. A run is what it computes: the
same config over other data is another run, and a run that was planned on some data must not go on with others.
"""

import functools
import hashlib
import stat
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from trainers import reference_kinds, start_kinds
from trainers.config import RunConfig
from trainers.data_config import HubPairs, Orca
from trainers.data_sets import local_files
from trainers.evaluation import opponent
from trainers.evaluation_config import START
from trainers.paths import local_path

_KEYS = (
    ("data", "path"),
    ("data", "eval_path"),
    ("data", "eval_split"),
    ("model", "path"),
    ("model", "tokenizer"),
    ("model", "chat_template"),
    ("method", "reward_model"),
    ("evaluation", "reward_model"),
    ("evaluation.lm_eval", "include_path"),
    ("evaluation.alpaca_eval", "prompts"),
    ("evaluation.alpaca_eval", "reference"),
    ("evaluation.alpaca_eval", "annotators_config"),
)
# Larger files are told apart by size and time: weights are too large to be read for each command.
_READ_BYTES = 256 << 20
_READ_IN_FOLDERS_BYTES = 1 << 20


def digests(config: RunConfig) -> dict[str, str]:
    """A digest for each key whose value names a file or folder of this machine."""
    return {key: _digest(path, _read_in(config, key, path)) for key, path in _local(config)}


def resolved(config: RunConfig) -> dict[str, Any]:
    """The config as plain values, its local paths absolute: a run must not depend on where it is started from."""
    values = config.model_dump(by_alias=True)
    for key, path in _local(config):
        section, name = _within(values, key)
        if name in section:
            section[name] = str(path)
    return values


def identity(config: RunConfig) -> dict[str, Any]:
    """What makes the run the run it is: its config without tracking and labels, its local inputs by their content."""
    values = config.model_dump(by_alias=True, exclude={"tracking": True, "model": {"name", "parameters_b"}})
    values["reference"] = reference_kinds.used(config)
    values["evaluation"] = _evaluated(values["evaluation"])
    # Left out where it is the model's own weights: runs of studies older than this are what they were.
    start = start_kinds.used(config)
    values = {key: value for key, value in values.items() if key != "start"} | ({"start": start} if start else {})
    for key, digest in digests(config).items():
        section, name = _within(values, key)
        section[name] = digest
    return _without_what_is_off(config, values)


def _without_what_is_off(config: RunConfig, values: dict[str, Any]) -> dict[str, Any]:
    """Other harnesses that are not asked for: runs of studies that knew nothing of them are what they were."""
    off = set() if config.evaluation.lm_eval.tasks else {"lm_eval"}
    off |= set() if config.evaluation.alpaca_eval.on else {"alpaca_eval"}
    return values | {"evaluation": {key: value for key, value in values["evaluation"].items() if key not in off}}


def _within(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The section that holds a dotted key, and what the key is called there."""
    *sections, name = key.split(".")
    for section in sections:
        values = values[section]
    return values, name


def _evaluated(section: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation's keys that decide what it finds.

    Who rates is left out where nobody was named, so that runs of studies older than this are what they were.
    """
    judge = section["judge"]
    named = {
        "reward_model": section["reward_model"],
        "opponent": None if section["opponent"] == START else section["opponent"],
        "judge": {key: judge[key] for key in ("base_url", "model")} if judge["base_url"] else None,
    }
    kept = {key: value for key, value in section.items() if key not in named}
    return kept | {key: value for key, value in named.items() if value is not None}


def changed(config: RunConfig, known: Mapping[str, str]) -> list[str]:
    """Faults where a local input no longer holds what it did when the run was planned."""
    now = digests(config)
    return [
        f"{key}={_configured(config, key)} "
        f"{'has changed' if key in now else 'is gone'} since the study was made: "
        "put it back, or start another study on what is there now"
        for key, digest in known.items()
        if now.get(key) != digest
    ]


def _configured(config: RunConfig, key: str) -> Any:
    section, name = key.rsplit(".", 1)
    # Of an adapter, what it is put on is read too; no key names it.
    values = attrgetter(section)(config)
    return getattr(values, name, None) or getattr(values, name.removesuffix("_base"), None)


def _local(config: RunConfig) -> Iterator[tuple[str, Path]]:
    for section, name in _KEYS:
        value = getattr(attrgetter(section)(config), name, None)
        path = _here(value) if isinstance(value, str) else None
        if path is not None:
            yield f"{section}.{name}", path
    yield from start_kinds.folders(config).items()
    yield from reference_kinds.folders(config).items()
    yield from opponent.folders(config).items()


def _here(value: str) -> Path | None:
    """The absolute path, where there is one; what cannot even be looked at is for the data's own checks to tell."""
    try:
        path = local_path(value)
        return path.absolute() if path.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _read_in(config: RunConfig, key: str, folder: Path) -> tuple[Path, ...]:
    """The files of a folder that a run reads: outputs may lie in the same folder, and change while it is used."""
    if not folder.is_dir():
        return ()
    data = config.data
    if key == "data.path" and isinstance(data, HubPairs | Orca):
        names = [name for name in (data.train_split, data.eval_split) if name]
        return tuple(file for name in names for file in local_files(data, name))
    deep = key == "evaluation.lm_eval.include_path"
    try:
        return tuple(sorted(path for path in (folder.rglob("*") if deep else folder.iterdir()) if not path.is_dir()))
    except OSError:
        return ()


@functools.cache
def _digest(path: Path, files: tuple[Path, ...]) -> str:
    try:
        if not path.is_dir():
            return _of_file(path, _READ_BYTES)
        parts = [f"{file.name} {_of_file(file, _READ_IN_FOLDERS_BYTES)}" for file in files]
        return f"sha256:{hashlib.sha256(chr(10).join(parts).encode('utf-8', 'replace')).hexdigest()}"
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _of_file(path: Path, read_bytes: int) -> str:
    try:
        status = path.stat()
    except OSError:  # a link to nowhere, or to itself
        return "broken link"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if status.st_size > read_bytes:
        return f"{status.st_size} bytes of {status.st_mtime_ns}"
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
