"""The comparison table: a row a trial, with its swept values, state and metrics over seeds, for people and programs.

trials dpo 0.1 (seeds 0, 1: 0.60, 0.64) -> | dpo | 0.1 | 2/2 | **0.620 ± 0.028** | … |
"""

import csv
import dataclasses
import io
import math
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table as RichTable

from orchestrator import lineage
from orchestrator.objective import Objective
from orchestrator.published import NOTHING, Published, measured, setting
from orchestrator.store import StudyFolder
from orchestrator.wording import one_line
from sweeps.types import Scalar
from trainers.files import write_whole
from trainers.spec import RunResult, RunSpec

# Metric, heading, decimals; None for published numbers, which stand as they were printed.
Column = tuple[str, str, int | None]
# What a reader wants to know of every run, column or not.
_TOLD = ("method", "beta", "model", "reference", "data")
# Of a swept key that a trial has not, as of a metric that no run of it has.
NOT_THERE = "-"
# What is comparable across methods and strengths. The rest is in each run's folder.
COLUMNS: tuple[Column, ...] = (
    ("eval/reward_accuracy", "reward acc", 3),
    ("eval/policy_accuracy", "policy acc", 3),
    ("eval/margin_nats", "margin (nats)", 2),
    ("eval/chosen_logratio", "chosen Δ", 2),
    ("eval/rejected_logratio", "rejected Δ", 2),
)


@dataclass(frozen=True)
class Row:
    """One trial: `cells` maps each metric to its values over the seeds that completed."""

    number: int
    params: Mapping[str, Scalar]
    state: str
    cells: Mapping[str, Sequence[float]]
    seconds: Sequence[float]
    # What it is compared by, a number for each metric of the objective.
    objective: Sequence[float] | None
    note: str = ""
    # Numbers of others, by column, as they were printed.
    published: Mapping[str, str] = field(default_factory=dict)
    # Whether the policy of some seed is degenerate; such a trial has no objective, and so is never best.
    degenerate: bool = False


@dataclass(frozen=True)
class Table:
    """All trials of a study, in order."""

    swept: Sequence[str]
    rows: Sequence[Row]
    objective: Objective
    columns: Sequence[Column]
    # The numbers of the best trials; of several metrics, of those that no other beats in all.
    best: frozenset[int]
    # Where published numbers stand.
    sources: Sequence[str] = ()
    # What the runs are measured beside, where that is not the same for all.
    references: Sequence[str] = ()
    # What all runs have in common, as "method=dpo".
    common: Sequence[str] = ()
    # Which trials begin at what another one has trained, by their numbers.
    starts: Mapping[int, int] = field(default_factory=dict)

    def is_best(self, row: Row) -> bool:
        """Whether the row is of the best; several may be."""
        return row.number in self.best

    def _is_marked(self, row: Row) -> bool:
        """For people: that one row alone is the best says nothing."""
        return len(self.rows) > 1 and self.is_best(row)

    def write(self, folder: StudyFolder) -> None:
        """table.csv and table.md, each whole."""
        write_whole(folder.table_csv, self.csv())
        write_whole(folder.table_md, self.markdown())

    def csv(self) -> str:
        """Mean, sample standard deviation and number of seeds for each metric, in full precision."""
        metrics = [metric for metric, _, decimals in self.columns if decimals is not None]
        head = ["trial", *self.swept, "state"]
        head += [f"{metric}{suffix}" for metric in metrics for suffix in ("", "_sd", "_n")]
        series = [name for name, _, decimals in self.columns if decimals is None]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*head, *series, "seconds", "best", "note"])
        for row in self.rows:
            values = [row.params.get(key) for key in self.swept]
            stats = [stat for metric in metrics for stat in _stats(row.cells.get(metric, ()))]
            printed = [row.published.get(name, "") for name in series]
            seconds = round(statistics.fmean(row.seconds), 2) if row.seconds else ""
            best = "best" if self.is_best(row) else ""
            writer.writerow([row.number, *values, row.state, *stats, *printed, seconds, best, row.note])
        return out.getvalue()

    def markdown(self) -> str:
        """The table as people read it, the best row's objective in bold, with what the numbers are below."""
        head = ["trial", *self.swept, "state", *(heading for _, heading, _ in self.columns), "time"]
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for row in self.rows:
            cells = [_markdown_safe(cell) for cell in self._cells(row)]
            for part in self.objective.parts if self._is_marked(row) else ():
                at = 2 + len(self.swept) + [metric for metric, _, _ in self.columns].index(part.metric)
                cells[at] = f"**{cells[at]}**"
            lines.append("| " + " | ".join(cells) + " |")
        below = [*self.captions(), *map(_markdown_safe, self._notes())]
        return "\n".join([*lines, "", "\n\n".join(below)]) + "\n"

    def rich(self, width: int) -> tuple[RichTable, list[str]]:
        """The table for a terminal of so many columns; and what is left to table.md where it is too narrow."""
        cells = [self._cells(row) for row in self.rows]
        shown = self._fitting(cells, width)
        hidden = [metric for metric, _, _ in self.columns[shown:]]
        left_out = [f"not shown for want of width: {', '.join(hidden)} (see table.md)"] if hidden else []
        return self._rich(cells, shown), left_out

    def _fitting(self, cells: Sequence[Sequence[str]], width: int) -> int:
        """How many metrics fit; each column has two blanks of padding and one between it and the next."""
        first = 2 + len(self.swept)
        heads = ["trial *", *self.swept, "state", *(_narrow(heading) for _, heading, _ in self.columns), "time"]
        widths = [max(cell_len(text) for text in column) + 3 for column in zip(heads, *cells, strict=True)]
        shown = len(self.columns)
        while shown > 1 and 1 + sum(widths[: first + shown]) + widths[-1] > width:
            shown -= 1
        return shown

    def _rich(self, rows: Sequence[Sequence[str]], shown: int) -> RichTable:
        table = RichTable(box=box.SIMPLE_HEAD)
        for heading in ["trial", *self.swept, "state"]:
            table.add_column(heading, no_wrap=True)
        for _, heading, _ in self.columns[:shown]:
            table.add_column(_broken(heading), justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        for row, texts in zip(self.rows, rows, strict=True):
            best = self._is_marked(row)
            cells = [escape(text) for text in texts]
            cells[0] = f"{cells[0]} *" if best else cells[0]
            del cells[2 + len(self.swept) + shown : -1]
            table.add_row(*cells, style="bold green" if best else "red" if row.note else "")
        return table

    def _cells(self, row: Row) -> list[str]:
        metrics = [
            row.published.get(name, "") if decimals is None else _told(row.cells.get(name, ()), decimals)
            for name, _, decimals in self.columns
        ]
        seconds = f"{statistics.fmean(row.seconds):.1f} s" if row.seconds else ""
        values = (_scalar(row.params[key]) if key in row.params else NOT_THERE for key in self.swept)
        return [str(row.number), *values, row.state, *metrics, seconds]

    def captions(self) -> list[str]:
        """What the numbers are, a line each."""
        seeds = max((len(values) for row in self.rows for values in row.cells.values()), default=0)
        pairs = sorted({int(n) for row in self.rows for n in row.cells.get("eval/pairs", ()) if n > 0})
        spread = f"mean ± standard deviation over {seeds} seeds; " if seeds > 1 else ""
        held = f"{_counted(pairs)}; " if pairs else ""
        return [
            *([f"all: {', '.join(self.common)}"] if self.common else []),
            f"{spread}{held}".rstrip("; ") or "nothing measured yet",
            *([f"* best: {self.objective.told()}"] if len(self.rows) > 1 else []),
            "Δ: mean log-ratio to the reference in nats; margin: chosen Δ - rejected Δ, not times beta",
            *(_mixed(self.references) if self.references else []),
            *(f"{_trials(own)} from trial {first}" for first, own in _by_start(self.starts).items()),
            *([_DEGENERATE] if any(row.degenerate for row in self.rows) else []),
            *([f"published, not measured here: {'; '.join(self.sources)}"] if self.sources else []),
        ]

    def _notes(self) -> list[str]:
        return [f"trial {row.number}: {row.note}" for row in self.rows if row.note]


_DEGENERATE = (
    "degenerate: beyond a bound of evaluation.degenerate, and never best; each run's evaluation/ has its answers"
)


def _mixed(references: Sequence[str]) -> list[str]:
    return [
        f"references differ ({', '.join(references)}): Δ, margin and reward acc are each run's beside its own; "
        "compare by policy acc"
    ]


def _by_start(starts: Mapping[int, int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for number, first in starts.items():
        found.setdefault(first, []).append(number)
    return found


def _trials(numbers: Sequence[int]) -> str:
    return f"trial {numbers[0]} starts" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))} start"


def make_table(
    specs: Mapping[int, Sequence[RunSpec]],
    results: Mapping[str, RunResult],
    swept: Sequence[str],
    objective: Objective,
    running: Collection[str] = (),
    *,
    metrics: Sequence[str] = (),
    beside: Published = NOTHING,
) -> Table:
    """The table of a study; `results` has what has ended so far, by run_id, `running` the ids of what has not.

    `metrics` are shown before the usual ones, and so are those that `beside` has published numbers of.
    """
    rows = [
        dataclasses.replace(
            _row(number, runs, [results[run.run_id] for run in runs if run.run_id in results], objective, running),
            published=beside.beside(runs[0].config) if beside.numbers else {},
        )
        for number, runs in specs.items()
    ]
    columns = _columns([*metrics, *measured(beside.series.values())], objective, beside.series)
    best = objective.leaders({row.number: row.objective for row in rows})
    references = {_reference(runs[0].config) for runs in specs.values() if "reference" in runs[0].config}
    told = sorted({kind for kind, _ in references}) if len(references) > 1 else []
    begun = lineage.named_by([run for runs in specs.values() for run in runs], "start")
    starts = {number: begun[runs[0].run_id].trial for number, runs in specs.items() if runs[0].run_id in begun}
    common = in_common([run.config for runs in specs.values() for run in runs], swept)
    return Table(swept, rows, objective, columns, best, beside.sources, told, common, starts)


def in_common(configs: Sequence[Mapping[str, Any]], swept: Collection[str]) -> list[str]:
    """What all runs are alike in and no column says, as "method=dpo"."""
    told = []
    for key in _TOLD:
        found = {str(setting(config, key)) for config in configs if ("method" if key == "beta" else key) in config}
        if len(found) == 1 and key not in swept and found != {"None"}:
            told.append(f"{key}={one_line(found.pop())}")
    return told


def _reference(config: Mapping[str, Any]) -> tuple[str, str]:
    """What a run is measured beside, in words, and what tells it from another of the same words."""
    kind, start = config["reference"]["kind"], config.get("start", {"kind": "base"})
    if start["kind"] == "base" or kind not in ("self", "none", "moving"):
        return kind, ""
    return f"{kind} after start={start['kind']}", str(start.get("of") or start.get("path"))


def _columns(first: Sequence[str], objective: Objective, series: Mapping[str, str]) -> list[Column]:
    """Each metric once, its published numbers right behind it; what nobody measures comes last."""
    usual = {column[0]: column for column in COLUMNS}
    own = [part.metric for part in objective.parts if part.metric not in usual]
    shown = [usual.get(metric, (metric, _heading(metric), 4 if metric in first else 3))
             for metric in dict.fromkeys([*first, *own, *usual])]  # fmt: skip
    columns: list[Column] = []
    for column in shown:
        columns.append(column)
        columns += [(name, name, None) for name, metric in series.items() if metric == column[0]]
    known = {name for name, _, _ in columns}
    return columns + [(name, name, None) for name in series if name not in known]


def _heading(metric: str) -> str:
    return metric.removeprefix("eval/")


def _row(
    number: int,
    runs: Sequence[RunSpec],
    results: Sequence[RunResult],
    objective: Objective,
    running: Collection[str],
) -> Row:
    completed = [result for result in results if result.status == "completed"]
    # What a run that was pruned had come to is shown, and compared with nothing.
    measured = completed or [result for result in results if result.status == "pruned"]
    cells: dict[str, list[float]] = {}
    for result in measured:
        for metric, value in result.metrics.items():
            if value is not None:
                cells.setdefault(metric, []).append(value)
    reasons = [result.degenerate for result in completed if result.degenerate]
    values = objective.values(results) if len(results) == len(runs) and not reasons else None
    note = next((result.error for result in results if result.status == "failed" and result.error), "")
    return Row(
        number,
        runs[0].params,
        _state(runs, results, running) + _degenerate(reasons, len(runs)),
        cells,
        [result.seconds for result in measured if result.same_as is None],
        values,
        one_line(note),
        degenerate=bool(reasons),
    )


def _degenerate(reasons: Sequence[str], runs: int) -> str:
    """ " (degenerate: length)"; where only some seeds are, how many."""
    if not reasons:
        return ""
    why = ", ".join(dict.fromkeys(part for reason in reasons for part in reason.split(", ")))
    few = "" if len(reasons) == runs else f"{len(reasons)} "
    return f" ({few}degenerate: {one_line(why)})"


def _state(runs: Sequence[RunSpec], results: Sequence[RunResult], running: Collection[str]) -> str:
    """ "complete" where all seeds are, else what became of how many."""
    counts: Counter[str] = Counter(result.status for result in results)
    active = sum(run.run_id in running for run in runs)
    counts.update({"running": active, "waiting": len(runs) - len(results) - active})
    told = {"completed": "complete"}
    present = [(told.get(status, status), n) for status, n in counts.items() if n]
    if len(present) == 1:
        return present[0][0]
    return ", ".join(f"{n} {status}" for status, n in present)


def _narrow(heading: str) -> str:
    """The longest line of a heading that is broken for a terminal."""
    return max(_broken(heading).split("\n"), key=len)


def _broken(heading: str) -> str:
    """A heading at two words at most a line: at its first blank, and before what a published number is of."""
    return heading.replace(" (", "\n(", 1).replace(" ", "\n", 1)


def _counted(pairs: Sequence[int]) -> str:
    """What an accuracy on so few pairs is worth: sqrt(0.25 / n) is the largest standard error of a share of n."""
    counts = " or ".join(map(str, pairs))
    return f"{counts} held-out pairs, which leave an accuracy a standard error of {math.sqrt(0.25 / pairs[0]):.2f}"


def _stats(values: Sequence[float]) -> tuple[float | str, float | str, int]:
    if not values:
        return "", "", 0
    spread = statistics.stdev(values) if len(values) > 1 else ""
    return statistics.fmean(values), spread, len(values)


def _told(values: Sequence[float], decimals: int) -> str:
    if not values:
        return NOT_THERE
    mean = statistics.fmean(values)
    # Of what is shown to four places, a probability that has collapsed is worth more than zeros.
    form = ".1e" if decimals >= 4 and 0 < abs(mean) < 10**-decimals else f".{decimals}f"
    spread = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
    return f"{mean:{form}}{spread}"


def _scalar(value: Scalar) -> str:
    if not isinstance(value, float):
        return one_line(str(value))
    return f"{value:g}" if len(f"{value:g}") < 9 else f"{value:.4g}"


def _markdown_safe(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
