"""What every reader of runs takes and gives: which runs are wanted, what is known of them already, and their rows."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from analysis.frame import Row, number
from analysis.runs import Part, is_metric
from analysis.told import Told

_INFINITE = (math.inf, -math.inf, "Infinity", "-Infinity")


class Progress(Protocol):
    """Somebody who watches."""

    def expect(self, runs: int) -> None:
        """So many more runs will be read."""

    def done(self) -> None:
        """One of them is. Called from several threads."""

    def note(self, what: str) -> None:
        """Why it takes so long."""


class Unwatched:
    """Nobody does."""

    def expect(self, runs: int) -> None:
        """Nothing."""

    def done(self) -> None:
        """Nothing."""

    def note(self, what: str) -> None:
        """Nothing."""


class Wanted(Protocol):
    """Which runs are asked for."""

    def __call__(self, rows: Sequence[Row]) -> Sequence[bool]:
        """Whether each run is, by its row without parts."""
        ...


def everything(rows: Sequence[Row]) -> Sequence[bool]:
    """All are."""
    return [True] * len(rows)


@dataclass(frozen=True)
class Asked:
    """What is asked of a reader.

    `kept` has by a run's `source` the mark of what was read of it before, and its row: its parts are taken from there
    where the mark is still the same.
    """

    parts: Collection[Part] = ()
    wanted: Wanted = everything
    kept: Mapping[str, tuple[str, Row]] = field(default_factory=dict)
    progress: Progress = field(default_factory=Unwatched)


@dataclass
class Gathered:
    """Rows, and the mark of what each was read from: the same mark, the same parts.

    An empty mark is like no other: the run may still change, or something about its parts was told, and is told again.
    `missed` counts runs whose parts could not be fetched, now.
    """

    rows: list[Row] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    missed: int = 0

    def __add__(self, other: "Gathered") -> "Gathered":
        return Gathered(self.rows + other.rows, self.marks + other.marks, self.missed + other.missed)

    def without_doubles(self, told: Told) -> "Gathered":
        """Each run once, where it was given twice or lies in two places."""
        kept, seen = Gathered(missed=self.missed), set[tuple[str, ...]]()
        for row, mark in zip(self.rows, self.marks, strict=True):
            names = {("source", row["source"]), ("run", row["study"], row["run_id"])}
            if names & seen:
                told.add("run", "given twice, and counted once", row["run_id"])
                continue
            seen |= names
            kept.rows.append(row)
            kept.marks.append(mark)
        return kept


def together(each: Iterable[tuple[Gathered, Told]], told: Told) -> Gathered:
    """What was gathered of each run, in one; what was told of it goes to `told`, in the order of the runs."""
    gathered = Gathered()
    for one, of_this in each:
        gathered.rows += one.rows
        gathered.marks += one.marks
        gathered.missed += one.missed
        told.merge(of_this)
    return gathered


def metrics(values: Mapping[str, object], run: str, told: Told) -> Row:
    """Of last values, those that are metrics and finite numbers."""
    found: Row = {}
    for name, value in values.items():
        if not is_metric(name) or value is None or isinstance(value, bool | list | dict):
            continue
        found[name] = number(value)
        if value in _INFINITE:
            told.add("run", f"{name} is infinite, and counts as none", run)
        elif isinstance(value, str) and math.isnan(found[name]) and value != "NaN":
            told.add("run", f"{name} is no number, and counts as none", run)
    return found
