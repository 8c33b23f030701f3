"""Which checkpoints of a run are whole, which one to go on from, and which may go.

checkpoints/checkpoint-50/   model, optimizer, scheduler, random states, then WHOLE as the last file
checkpoints/checkpoint-100/  no WHOLE: the run was killed while writing it; deleted at the next start
"""

import contextlib
import os
import shutil
from pathlib import Path

_MARKER = "WHOLE"


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
