"""The studies that runs belong to, as far as their folders are at hand: a study's command is in no run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.report.content import Study
from analysis.runs import Runs
from orchestrator.errors import NoStudy
from orchestrator.store import open_study


def make_studies(runs: Runs) -> tuple[list[Study], list[int]]:
    """The studies in the order of their runs, and for each run the place of its study."""
    found: dict[tuple[str, str], int] = {}
    places = []
    for name, source in zip(runs.frame["study"], runs.frame["source"], strict=True):
        places.append(found.setdefault((_name(name), _folder(source)), len(found)))
    return [_study(name, folder) for name, folder in found], places


def _name(name: object) -> str:
    return name if isinstance(name, str) else ""


def _folder(source: object) -> str:
    """outputs/STUDY of outputs/STUDY/runs/RUN; "" of a run that lies in no folder."""
    if not isinstance(source, str) or source.startswith("wandb:"):
        return ""
    path = Path(source)
    return str(path.parent.parent) if path.parent.name == "runs" else ""


def _study(name: str, folder: str) -> Study:
    try:
        record = open_study(Path(folder))[1] if folder else None
    except (NoStudy, OSError, ValueError):
        record = None
    if record is None:
        return Study(name)
    return Study(name, record.command, record.created, folder)


def title(studies: Sequence[Study]) -> str:
    """Names of the studies, or how many there are."""
    names: Mapping[str, None] = dict.fromkeys(study.name for study in studies if study.name)
    return ", ".join(names) if 0 < len(names) <= 3 else f"{len(studies)} studies"
