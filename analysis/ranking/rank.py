"""Ranks what was swept by a metric: which is best, by how much, and from which it cannot be told.

rank_runs(runs, Question(by=("beta",), metric="eval/win_rate")) -> a group for each method, model, ..., in it the cells
beta=0.1 (best), beta=0.05 (tied), beta=0.5 (behind by 0.08, p 0.003).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analysis.by_prompt import ByPrompt, by_prompt
from analysis.cells import Sorted, shown, sort_runs
from analysis.comparable import metric_row, objections_within, refusal
from analysis.errors import BadQuestion, Incomparable
from analysis.ranking.choice import choose_metric
from analysis.ranking.measured import Columns, Measured, MeasuredGroup, measure
from analysis.runs import Runs
from analysis.statistics.bootstrap import DRAWS
from analysis.statistics.crossed import Estimate, half_width, p_value
from analysis.statistics.holm import holm
from analysis.statistics.samples import difference
from analysis.statistics.spread import LENT
from analysis.under_way import under_way
from trainers.metrics_table import Direction

# Of seeds: from so many degrees of freedom on a cell's own runs tell most of how far seeds spread.
_ENOUGH = 2 * LENT
# tied: no test tells it from the best; degenerate: ranked last, whatever its mean; none: no run has the metric.
Standing = Literal["best", "tied", "behind", "degenerate", "none"]


@dataclass(frozen=True)
class Question:
    """What is to be ranked, and how. Without a metric one is chosen; see `analysis.ranking.choice`."""

    by: Sequence[str]
    within: Sequence[str] | None = None
    metric: str | None = None
    direction: Direction | None = None
    allow_incomparable: bool = False
    # Seeds are taken to make the same difference in all cells of a group.
    pool_seeds: bool = False
    level: float = 0.95
    draws: int = DRAWS
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One setting in its place. `difference` is its mean less the best one's, on the prompts and seeds of both.

    `difference` with its ends, `p` and `p_holm` are None for the best, and for what is degenerate or without result;
    `p` is None as well where one run each, without prompts, allows no test. `measured` has runs, draws and what is
    missing. `rank` is None where there is no result.
    """

    keys: Mapping[str, Any]
    rank: int | None
    standing: Standing
    measured: Measured
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def mean(self) -> float | None:
        """The metric's mean over seeds and prompts."""
        return None if self.measured.estimate is None else self.measured.estimate.mean

    @property
    def seeds(self) -> int:
        """Runs that the mean is over."""
        return len(self.measured.rows)


@dataclass(frozen=True)
class RankedGroup:
    """Cells from best to worst. `measured` is in the order of values.

    `keys` are those within which is ranked; `setting` has method and model besides, where all runs have the same.
    """

    keys: Mapping[str, Any]
    setting: Mapping[str, Any]
    cells: Sequence[Cell]
    measured: MeasuredGroup

    @property
    def best(self) -> Cell | None:
        """The cell of the best mean among those that are sound."""
        return next((cell for cell in self.cells if cell.standing == "best"), None)


@dataclass(frozen=True)
class Ranking:
    """The answer. `told`: what a reader should know of it, a sentence each."""

    question: Question
    metric: str
    direction: Direction
    by: Sequence[str]
    within: Sequence[str]
    groups: Sequence[RankedGroup]
    told: Sequence[str]
    # What the cells were made of, for other questions of the same runs.
    sorted: Sorted

    @property
    def compares(self) -> bool:
        """Whether there is anything to set side by side: of several groups, one with more than one cell."""
        return len(self.groups) == 1 or any(len(group.cells) > 1 for group in self.groups)


def rank_runs(runs: Runs, question: Question) -> Ranking:
    """Groups of cells, ranked. `runs` should have the parts `pairs` and `answers`, so that prompts can be paired.

    Raises BadQuestion for a key or metric that no run has, or a metric without a better side; Incomparable for one
    that means another thing in each cell, unless the question allows that.
    """
    return rank_cells(runs, sort_runs(runs, question.by, question.within), question)


def rank_cells(runs: Runs, cells: Sorted, question: Question) -> Ranking:
    """The same of runs that are sorted already; `by` and `within` are then those of `cells`."""
    metric, said = choose_metric(runs, cells, question.metric)
    direction = _direction(metric, question.direction)
    values = by_prompt(runs.frame, metric)
    state = under_way(runs)
    told = [*cells.told, *([state] if state else []), *_nothing_to_rank(cells), *said]
    told += _refused(runs, cells, metric, values, question)
    groups = [
        _ranked(measure_group, cells, direction, question)
        for measure_group in measure_all(runs, cells, metric, values, question)
    ]
    told += _remarks(groups, metric)
    return Ranking(question, metric, direction, cells.by, cells.within, groups, [*told, *runs.told], cells)


def measure_all(runs: Runs, cells: Sorted, metric: str, values: ByPrompt, question: Question) -> list[MeasuredGroup]:
    """A metric of all groups, as the question wants them measured."""
    columns = Columns(runs.frame, metric, values)
    return [
        measure(
            columns, group,
            pool_seeds=question.pool_seeds, level=question.level, draws=question.draws, seed=question.seed,
        )
        for group in cells.groups
    ]  # fmt: skip


def _nothing_to_rank(cells: Sorted) -> list[str]:
    """Where a key has one value in each group, it is the groups that differ."""
    if len(cells.groups) > 1 and all(len(group.cells) == 1 for group in cells.groups):
        hint = f"--by {','.join(cells.within)} compares what they differ in"
        found = {cell.values for group in cells.groups for cell in group.cells}
        if len(found) == 1:
            (values,) = found
            same = " and ".join(f"{key}={shown(value)}" for key, value in zip(cells.by, values, strict=True))
            return [f"nothing is compared: all runs have {same}; {hint}"]
        return [f"nothing is compared: {', '.join(cells.by)} is the same in all runs that are else alike; {hint}"]
    return []


def _direction(metric: str, asked: Direction | None) -> Direction:
    better = asked or metric_row(metric).better
    if better is None:
        row = metric_row(metric)
        raise BadQuestion(
            f"{metric}{f' ({row.title})' if row.title else ''}: neither large nor small is better by itself; "
            "say --direction maximize or minimize, or weigh it with --pareto"
        )
    return better


def _refused(runs: Runs, cells: Sorted, metric: str, values: ByPrompt, question: Question) -> list[str]:
    """What the user has chosen to overlook. Raises Incomparable where they have not."""
    found = objections_within(runs.frame, cells, metric, values)
    if not found:
        return []
    if question.allow_incomparable:
        return [f"incomparable, and compared all the same: {metric} depends on {' and on '.join(found)}"]
    better = [name for name in metric_row(metric).instead if name in runs.metrics and _is_sound(runs, cells, name)]
    raise Incomparable(refusal(metric, found, better))


def _is_sound(runs: Runs, cells: Sorted, metric: str) -> bool:
    return not objections_within(runs.frame, cells, metric, by_prompt(runs.frame, metric))


def _ranked(group: MeasuredGroup, cells: Sorted, direction: Direction, question: Question) -> RankedGroup:
    keys = dict(zip(cells.within, group.values, strict=True))
    sign = -1.0 if direction == "maximize" else 1.0
    known = [cell for cell in group.cells if cell.estimate is not None]
    sound = sorted((cell for cell in known if not cell.degenerate), key=lambda cell: sign * _mean(cell))
    broken = sorted((cell for cell in known if cell.degenerate), key=lambda cell: sign * _mean(cell))
    ranked = _compared(sound, group, cells, question)
    for place, cell in enumerate(broken, start=len(ranked) + 1):
        ranked.append(Cell(_keys(cells, cell), place, "degenerate", cell))
    ranked += [Cell(_keys(cells, cell), None, "none", cell) for cell in group.cells if cell.estimate is None]
    return RankedGroup(keys, {**group.common, **keys}, ranked, group)


def _compared(sound: Sequence[Measured], group: MeasuredGroup, cells: Sorted, question: Question) -> list[Cell]:
    """The best, then the others with their differences to it."""
    if not sound:
        return []
    best, others = sound[0], sound[1:]
    assert best.sample is not None
    estimates = [difference(other.sample, best.sample, group.spreads) for other in others if other.sample is not None]
    raw = [p_value(estimate) for estimate in estimates]
    adjusted = holm(raw)
    found = [Cell(_keys(cells, best), 1, "best", best)]
    for place, (other, estimate, p, p_holm) in enumerate(zip(others, estimates, raw, adjusted, strict=True), start=2):
        behind = p_holm < 1 - question.level  # not of NaN
        width = half_width(estimate, question.level)
        found.append(
            Cell(
                _keys(cells, other),
                place,
                "behind" if behind else "tied",
                other,
                estimate.mean,
                _or_none(estimate.mean - width),
                _or_none(estimate.mean + width),
                _or_none(p),
                _or_none(p_holm),
            )
        )
    return found


def _keys(cells: Sorted, cell: Measured) -> dict[str, Any]:
    return dict(zip(cells.by, cell.values, strict=True))


def _mean(cell: Measured) -> float:
    assert cell.estimate is not None
    return cell.estimate.mean


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _remarks(groups: Sequence[RankedGroup], metric: str) -> list[str]:
    """What of the runs bears on how much of the answer to believe."""
    every = [cell.measured for group in groups for cell in group.cells]
    estimates = [cell.estimate for cell in every if cell.estimate is not None]
    found = [*_of_seeds(estimates, groups), *_of_prompts(estimates, metric)]
    dropped = max(map(_dropped, every), default=0)
    if dropped:
        found.append(f"up to {dropped} prompts of a cell are left out, as not all of its runs have a value there")
    strange = sum(group.measured.strange for group in groups)
    if strange:
        found.append(f"{metric} of {strange} runs is not what their values by prompt come to; the latter are compared")
    return found


def _dropped(cell: Measured) -> int:
    """Prompts that some of a cell's runs lack, where others make up its mean."""
    if not cell.prompts or cell.sample is None or cell.sample.prompts is None:
        return 0
    return len(cell.sample.prompts) - cell.prompts


def _of_seeds(estimates: Sequence[Estimate], groups: Sequence[RankedGroup]) -> list[str]:
    single = sum(estimate.seeds == 1 for estimate in estimates)
    if single and single == len(estimates):
        covered = " the prompts alone" if any(estimate.prompts for estimate in estimates) else " nothing"
        return [f"one seed: how far seeds spread is unknown, and intervals and tests cover{covered}"]
    tables = [group.measured.spreads for group in groups if group.measured.spreads.runs]
    if any(table.alone for table in tables):
        return ["seeds are taken to spread alike in all cells of a group (--pool-seeds)"]
    unknown = sum(not estimate.knows_seeds for estimate in estimates)
    found = []
    if unknown:
        found.append(
            f"{unknown} of {len(estimates)} cells have one seed: their intervals leave out how far seeds spread"
        )
    elif single:
        found.append(
            f"{single} of {len(estimates)} cells have one seed, which is taken to spread as those of the others"
        )
    compared = [cell.measured.estimate for group in groups if len(group.cells) > 1 for cell in group.cells]
    least = min((each.seed_df for each in compared if each and each.knows_seeds), default=_ENOUGH)
    if least <= 2:
        found.append("so few seeds say little of how far they spread, and intervals are wide: add some")
    elif least < _ENOUGH:
        found.append("seeds are few, so how far they spread is judged from all cells of a table together")
    return found


def _of_prompts(estimates: Sequence[Estimate], metric: str) -> list[str]:
    whole = sum(estimate.prompts == 0 for estimate in estimates)
    if whole and whole == len(estimates):
        return [
            f"{metric} is known of whole runs, not by prompt: intervals and tests are over seeds alone and say nothing "
            "of other prompts"
        ]
    if whole:
        return [f"{whole} of {len(estimates)} cells have no values by prompt: they are compared over seeds alone"]
    return []
