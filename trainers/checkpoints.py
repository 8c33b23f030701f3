"""Which checkpoints of a run are whole, which one to go on from, and which may go.

checkpoints/checkpoint-50/   model, optimizer, scheduler, random states, then WHOLE as the last file
checkpoints/checkpoint-100/  no WHOLE: the run was killed while writing it; deleted at the next start
checkpoints/stage-2/         those of the third of several stages, and ENDED once the stage is over
"""

import contextlib
import os
import shutil
from pathlib import Path

from trainers.files import read_json, write_json

_MARKER = "WHOLE"
_ENDED = "ENDED"


def mark_whole(checkpoint: Path) -> None:
    """Declare a checkpoint whole, once all its files are on disk. Raises OSError where they cannot be."""
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file():
            _sync(path)
    (checkpoint / _MARKER).touch()
    _sync(checkpoint)


def newest_whole(root: Path) -> Path | None:
    """The whole checkpoint of the most steps, None where there is none."""
    return max(_whole(root), key=step, default=None)


def newest(root: Path) -> Path | None:
    """The whole checkpoint that training came furthest with: of several stages, one of the last that has some."""
    by_stage = sorted(root.glob("stage-*"), key=_number, reverse=True)
    found = (newest_whole(folder) for folder in [*by_stage, root])
    return next((checkpoint for checkpoint in found if checkpoint is not None), None)


def whole(root: Path) -> list[Path]:
    """All whole checkpoints, in the order of training; of several stages, those of each under its folder."""
    by_stage = sorted(root.glob("stage-*"), key=_number)
    return [checkpoint for folder in [root, *by_stage] for checkpoint in sorted(_whole(folder), key=step)]


def step(checkpoint: Path) -> int:
    """Optimiser steps done in it."""
    return int(checkpoint.name.rpartition("-")[2])


def drop_halves(root: Path) -> None:
    """Delete what a killed run left half-written."""
    for checkpoint in _all(root):
        if not (checkpoint / _MARKER).exists():
            drop(checkpoint)


def drop_oldest(root: Path, keep: int) -> None:
    """Delete all but the newest `keep` whole checkpoints."""
    for checkpoint in sorted(_whole(root), key=step)[:-keep]:
        drop(checkpoint)


def drop(checkpoint: Path) -> None:
    """Delete one, its marker first, so that a deletion cut short leaves a half and not a damaged whole."""
    with contextlib.suppress(OSError):
        (checkpoint / _MARKER).unlink()
    shutil.rmtree(checkpoint, ignore_errors=True)


def stage(root: Path, number: int) -> Path:
    """The folder of one of several stages."""
    return root / f"stage-{number}"


def end_stage(root: Path, number: int, before: int) -> None:
    """Note that a stage is over, `before` being the steps of all before it; the stages before it are deleted.

    Does nothing where its last checkpoint could not be written: an attempt that goes on then does so from an older one.
    """
    if newest_whole(stage(root, number)) is None:
        return
    with contextlib.suppress(OSError):
        write_json(stage(root, number) / _ENDED, {"before": before})
        for earlier in range(number):
            shutil.rmtree(stage(root, earlier), ignore_errors=True)


def newest_ended(root: Path, stages: int) -> tuple[int, int]:
    """The last stage that is over, and the steps before it; (0, 0) where none is."""
    for number in range(stages - 1, -1, -1):
        noted = read_json(stage(root, number) / _ENDED)
        if isinstance(noted, dict) and isinstance(noted.get("before"), int):
            return number, noted["before"]
    return 0, 0


def _number(stage: Path) -> int:
    number = stage.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _all(root: Path) -> list[Path]:
    return [path for path in root.glob("checkpoint-*") if path.is_dir()] if root.is_dir() else []


def _whole(root: Path) -> list[Path]:
    return [path for path in _all(root) if (path / _MARKER).exists()]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
