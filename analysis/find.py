"""Finds runs on disk: in the folder of a study, in one that holds studies, or in the folder of a single run.

outputs/ -> outputs/first/runs/t0000-s0-1a2b3c4d, ..., outputs/second/runs/...
"""

import os
from collections.abc import Iterator
from pathlib import Path

from analysis.errors import NoRuns
from analysis.told import Told
from orchestrator.errors import NoStudy
from orchestrator.store import StudyFolder
from trainers.spec import RunFolder

# How far below a folder studies are looked for, and where none is.
_DEPTH = 3
_NO_STUDIES = ("runs", "wandb", "jobs", "code", "node_modules")


def find_runs(root: Path, told: Told) -> list[Path]:
    """Folders of runs below `root`, in the order of their studies. Raises NoRuns where it is none, or has none."""
    if not root.is_dir():
        why = "not a folder, nor a .parquet of pull" if root.exists() else "there is no such folder"
        raise NoRuns(f"{root}: {why}")
    root = root.resolve()
    if RunFolder(root).spec.exists():
        return [root]
    if _is_study(root):
        return _of_study(root, told)
    if lying := _lying(root):
        return lying
    found = [run for study in _studies(root, _DEPTH) for run in _of_study(study, told)]
    if not found:
        raise NoRuns(f"{root} is not the folder of a study, nor holds any: there is no study.yaml")
    return found


def _is_study(folder: Path) -> bool:
    return StudyFolder(folder).yaml.exists() or (folder / "runs").is_dir()


def _studies(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inside = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir() and entry.name[:1] != ".")
    except OSError:
        return
    for path in map(Path, inside):
        if _is_study(path):
            yield path
        elif depth > 1 and path.name not in _NO_STUDIES:
            yield from _studies(path, depth - 1)


def _of_study(root: Path, told: Told) -> list[Path]:
    folder = StudyFolder(root)
    try:
        record = folder.record()
    except NoStudy:
        record = None
    if record is not None:
        return [folder.run(run_id) for run_id in record.runs]
    what = "study.yaml is damaged" if folder.yaml.exists() else "study.yaml is missing"
    told.add("study", f"{what}, and so all runs that lie there are read", str(root))
    return _lying(root / "runs")


def _lying(runs: Path) -> list[Path]:
    """Runs that no record lists; what is done once for several has a folder there too, and is no run."""
    return sorted(path.parent for path in runs.glob("t*/spec.json"))
