"""Measures a metric of each cell of a group: its mean over seeds and prompts, how far off it may be, what is missing.

a group of runs -> [Measured(mean 0.62, from 0.58 to 0.66, 3 seeds, 256 prompts), Measured(no result, {"failed": 3})]
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.by_prompt import ByPrompt, is_share
from analysis.cells import CellRuns, Group
from analysis.comparable import metric_row
from analysis.statistics.bootstrap import DRAWS, draw_means, interval
from analysis.statistics.crossed import Estimate, Floats, half_width
from analysis.statistics.samples import Sample, Spreads, spreads
from orchestrator.wording import one_line

# Of the metric's size: a mean by prompt that is further from what the run says of itself is told.
_AGREES = 1e-3


@dataclass(frozen=True)
class Measured:
    """One cell. `sample` and `estimate` are None where no run of it has the metric; then `low`, `high` are NaN.

    `draws` of shape (draws,) go around the mean; `states` count runs that do not count, by what became of them;
    `degenerate` those that do count, by the reason.
    """

    values: tuple[Hashable, ...]
    sample: Sample | None
    estimate: Estimate | None
    low: float
    high: float
    draws: Floats
    rows: Sequence[int]
    # The same rows by their names.
    runs: Sequence[str]
    states: Mapping[str, int]
    degenerate: Mapping[str, int]

    @property
    def prompts(self) -> int:
        """Prompts that the mean is over; 0 where only whole runs are known."""
        return 0 if self.estimate is None else self.estimate.prompts


@dataclass(frozen=True)
class MeasuredGroup:
    """The cells of a group, in its order; `spreads` is what its sound cells together show of how far seeds spread."""

    values: tuple[Hashable, ...]
    common: Mapping[str, Hashable]
    cells: Sequence[Measured]
    spreads: Spreads
    # Runs whose values by prompt do not make up what they say of themselves.
    strange: int


class Columns:
    """What is needed of a frame to measure a metric, as plain lists: looking cells up one by one is slow."""

    def __init__(self, frame: pd.DataFrame, metric: str, values: ByPrompt) -> None:
        nothing = [math.nan] * len(frame)
        self.metric, self.values = metric, values
        self.told: list[float] = frame[metric].tolist() if metric in frame.columns else nothing
        self.status = [one_line(str(status), 40) for status in frame["status"]]
        self.run = [str(run) for run in frame["run_id"]]
        flags = frame["eval/degenerate"].tolist() if "eval/degenerate" in frame.columns else nothing
        self.degenerate = list(map(_degenerate, frame["degenerate"], flags))


def measure(
    columns: Columns,
    group: Group,
    *,
    pool_seeds: bool = False,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> MeasuredGroup:
    """The metric of a group's cells. Draws of all cells, and of another metric with the same `seed`, go together."""
    read = [_read(columns, cell) for cell in group.cells]
    known = [(at, found.sample) for at, found in enumerate(read) if found.sample is not None]
    estimates = [sample.estimate() for _, sample in known]
    # What a degenerate policy does with a seed says nothing of the others, nor they of it.
    sound = [not read[at].degenerate for at, _ in known]
    table = spreads([sample for (_, sample), is_sound in zip(known, sound, strict=True) if is_sound], alone=pool_seeds)
    estimates = [table.mean(own) if is_sound else own for own, is_sound in zip(estimates, sound, strict=True)]
    drawn = draw_means([sample for _, sample in known], estimates, draws=draws, seed=seed)
    low, high = _ends(estimates, drawn, level, columns.metric) if known else (np.zeros(0), np.zeros(0))
    places = {at: place for place, (at, _) in enumerate(known)}
    cells = []
    for at, (cell, found) in enumerate(zip(group.cells, read, strict=True)):
        place = places.get(at)
        cells.append(
            Measured(
                values=cell.values,
                sample=found.sample,
                estimate=None if place is None else estimates[place],
                low=math.nan if place is None else float(low[place]),
                high=math.nan if place is None else float(high[place]),
                draws=np.full(draws, math.nan) if place is None else drawn[place],
                rows=found.rows,
                runs=[columns.run[row] for row in found.rows],
                states=found.states,
                degenerate=found.degenerate,
            )
        )
    return MeasuredGroup(group.values, group.common, cells, table, sum(found.strange for found in read))


@dataclass(frozen=True)
class _Read:
    sample: Sample | None
    rows: Sequence[int]
    states: Mapping[str, int]
    degenerate: Mapping[str, int]
    strange: int


def _read(columns: Columns, cell: CellRuns) -> _Read:
    states: Counter[str] = Counter()
    degenerate: Counter[str] = Counter()
    rows: list[int] = []
    names: list[Hashable] = []
    runs: list[float] = []
    strange, values = 0, columns.values
    for row, name in zip(cell.rows, cell.repetitions, strict=True):
        told = columns.told[row]
        by_prompt = _mean(values, row) if row in values.values else math.nan
        if columns.status[row] != "completed":
            states[columns.status[row]] += 1
        elif math.isnan(told) and math.isnan(by_prompt):
            states[f"without {columns.metric}"] += 1
        else:
            rows.append(row)
            names.append(name)
            runs.append(by_prompt if math.isnan(told) else told)
            strange += abs(told - by_prompt) > _AGREES * max(1.0, abs(told))
            reason = columns.degenerate[row]
            degenerate.update([reason] if reason else [])
    sample = _sample(names, np.array(runs), rows, values, columns.metric) if rows else None
    return _Read(sample, rows, states, degenerate, strange)


def _sample(names: Sequence[Hashable], runs: Floats, rows: Sequence[int], values: ByPrompt, metric: str) -> Sample:
    share = 1.0 if is_share(metric) else 0.0
    if not all(row in values.values for row in rows):
        return Sample(tuple(names), runs, share=share)
    each = np.stack([values.values[row] for row in rows])
    asked = ~np.isnan(each).all(axis=0)
    return Sample(tuple(names), runs, each[:, asked], values.numbers[asked], values.counts[asked], share)


def _mean(values: ByPrompt, row: int) -> float:
    """Over the rows of the data, as the run itself takes it."""
    known = ~np.isnan(values.values[row])
    return float(np.average(values.values[row][known], weights=values.counts[known]))


def _degenerate(reason: object, flag: float) -> str | None:
    if isinstance(reason, str) and reason:
        return one_line(reason, 120)
    return "no reason given" if flag == 1 else None


def _ends(estimates: Sequence[Estimate], drawn: Floats, level: float, metric: str) -> tuple[Floats, Floats]:
    """Ends of the intervals: of the draws where there are prompts, of the t distribution where there are only runs."""
    low, high = interval(drawn, level)
    for at, estimate in enumerate(estimates):
        if estimate.prompts == 0:
            width = half_width(estimate, level)
            low[at], high[at] = estimate.mean - width, estimate.mean + width
    bounds = metric_row(metric).bounds
    return (np.clip(low, *bounds), np.clip(high, *bounds)) if bounds else (low, high)
