"""Fetches runs from sources into one file, and at a later time only what has changed since.

outputs/STUDY wandb:entity/project  ->  runs.parquet, which every command takes as a SOURCE
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import parquet
from analysis.errors import AnalysisError, BadQuestion, NoRuns
from analysis.filters import Filters
from analysis.frame import Row, make_frame
from analysis.gather import Asked, Progress, Unwatched
from analysis.runs import PARTS, Runs
from analysis.sources import PARQUET, gather
from analysis.told import Told
from orchestrator.wording import count


@dataclass(frozen=True)
class Pulled:
    """What a pull came to: how many runs were as the file had them, are gone from the sources, or lack something."""

    runs: Runs
    unchanged: int
    gone: int
    missed: int

    def sentences(self, path: Path) -> list[str]:
        """What to tell of it."""
        told = [f"{path}: {count(len(self.runs), 'run')}, {self.unchanged} of them as before"]
        if self.gone:
            told.append(f"gone from the sources, and so from the file: {count(self.gone, 'run')}")
        if self.missed:
            told.append(f"not wholly fetched: {count(self.missed, 'run')}; pull again for the rest")
        return told


def pull(sources: Sequence[str], path: Path, filters: Sequence[str] = (), progress: Progress | None = None) -> Pulled:
    """Write the runs of the sources, with all parts, to `path`, whole or not at all.

    Raises AnalysisError where a source cannot be read, or `path` is a file that no pull has made.
    """
    if not path.name.endswith(PARQUET):
        raise BadQuestion(f"-o {path}: the name of a file that other commands are to know as runs ends in {PARQUET}")
    kept = _known(path)
    told, chosen = Told(), Filters.parse(filters)
    asked = Asked(PARTS, chosen.wanted, kept, progress or Unwatched())
    gathered = gather(sources, asked, told, chosen)
    runs = Runs(make_frame(gathered.rows, PARTS), told.sentences())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnalysisError(f"{path.parent} cannot be made: {error.strerror or error}") from None
    parquet.write(path, runs, gathered.marks, sources)
    there = {row["source"] for row in gathered.rows}
    unchanged = sum(
        mark != "" and kept.get(row["source"], ("",))[0] == mark
        for row, mark in zip(gathered.rows, gathered.marks, strict=True)
    )
    return Pulled(runs, unchanged, len(kept.keys() - there), gathered.missed)


def _known(path: Path) -> Mapping[str, tuple[str, Row]]:
    """What the file has from an earlier pull, by source."""
    if not path.exists():
        return {}
    try:
        before = parquet.gather_parquet(path, Asked(PARTS), Told())
    except NoRuns as error:
        raise AnalysisError(f"{error}: it is left as it is; delete it, or name another file with -o") from None
    return {row["source"]: (mark, row) for row, mark in zip(before.rows, before.marks, strict=True)}
