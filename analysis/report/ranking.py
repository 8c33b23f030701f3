"""What the report says of who is best: the answer of `analysis.ranking`, in the report's own settings.

Where runs cannot be compared by the metric, nothing is ranked, and the verdict says why.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.errors import AnalysisError, BadQuestion
from analysis.ranking import rank
from analysis.ranking.rank import Question, rank_runs
from analysis.ranking.rows import captions
from analysis.ranking.verdict import verdict
from analysis.report import numbers
from analysis.report.cells import SPREAD
from analysis.report.content import Cell, Estimate, Metric, Ranking, RankRow
from analysis.runs import Runs
from trainers.metrics_table import Direction

INTERVAL = "mean and 95 % interval over seeds and prompts; differences to the best by a paired test on the same prompts"
_DIRECTIONS: Mapping[str, Direction] = {"higher": "maximize", "lower": "minimize"}
_NAMED = ("method", "reference", "model", "data", "beta")


def make_ranking(runs: Runs, cells: Sequence[Cell], metric: Metric) -> Ranking:
    """Cells from best to worst by `metric`; those without a value, and degenerate ones, last and without a rank.

    `cells` stand for rows of `runs.frame` by their places. The estimates of the rows go into the charts as well.
    `runs` should have the parts `pairs` and `answers`, so that prompts can be paired.
    """
    direction: Direction | None = None if metric.better is None else _DIRECTIONS[metric.better]
    try:
        if not any(metric.name in cell.scores for cell in cells):
            raise BadQuestion("no setting has a sound run with a score.")
        ranking = rank_runs(runs, Question(by=_by(cells), within=(), metric=metric.name, direction=direction))
    except AnalysisError as error:
        unranked = [RankRow(place, None, cell.scores.get(metric.name)) for place, cell in enumerate(cells)]
        rows = [_with_note(row, cells, runs) for row in unranked]
        return Ranking(metric.name, f"Nothing can be ranked: {error}", rows, SPREAD)
    cell_of = {row: place for place, cell in enumerate(cells) for row in cell.runs}
    (group,), (sorted_runs,) = ranking.groups, ranking.sorted.groups
    rows_of = {each.values: each.rows for each in sorted_runs.cells}
    placed = [(cell_of[rows_of[cell.measured.values][0]], cell) for cell in group.cells]
    rows = [_with_note(_row(place, cell), cells, runs) for place, cell in placed]
    tested = any(cell.p_holm is not None for cell in group.cells)
    return Ranking(metric.name, verdict(ranking, group), rows, INTERVAL, tested, captions(ranking))


def _by(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Keys in which the cells differ; of a single cell its method."""
    settings = [
        {"method": cell.method, "reference": cell.reference, "model": cell.model, "data": cell.data,
         "beta": cell.strength, **cell.others}
        for cell in cells
    ]  # fmt: skip
    keys = dict.fromkeys((*_NAMED, *(key for setting in settings for key in setting)))
    return tuple(key for key in keys if len({setting.get(key) for setting in settings}) > 1) or ("method",)


def _row(place: int, cell: rank.Cell) -> RankRow:
    measured, sound = cell.measured, cell.standing in ("best", "tied", "behind")
    return RankRow(
        place,
        cell.rank if sound else None,
        _estimate(cell.mean, measured.low, measured.high, cell.seeds),
        _estimate(cell.difference, cell.difference_low, cell.difference_high, cell.seeds),
        cell.p_holm,
        best=cell.standing == "best",
        tied=cell.standing == "tied",
    )


def _estimate(mean: float | None, low: float | None, high: float | None, seeds: int) -> Estimate | None:
    if mean is None or not math.isfinite(mean):
        return None
    known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    return Estimate(mean, low, high, seeds) if known else Estimate(mean, None, None, seeds)


def _with_note(row: RankRow, cells: Sequence[Cell], runs: Runs) -> RankRow:
    return replace(row, note=_note(cells[row.cell], runs))


def _note(cell: Cell, runs: Runs) -> str:
    """What is wrong with a cell, in a few words."""
    statuses = runs.frame["status"].iloc[list(cell.runs)]
    bad = statuses[statuses != "completed"].value_counts()
    notes = [f"{count} of {len(cell.runs)} {status}" for status, count in bad.items()]
    return "; ".join([*notes, *([f"degenerate: {cell.degenerate}"] if cell.degenerate else [])])


def spread(estimate: Estimate, metric: Metric) -> str:
    """A mean with its band: 0.641 ± 0.036, or 0.641 (0.600 to 0.690) where the band is lopsided."""
    return "".join(spread_parts(estimate, metric)) + (f" {metric.unit}" if metric.unit else "")


def spread_parts(estimate: Estimate, metric: Metric) -> tuple[str, str]:
    """The mean and the band of it, without the unit; no band where there is none."""
    mean = numbers.fixed(estimate.mean, metric.decimals)
    if estimate.low is None or estimate.high is None:
        return mean, ""
    up, down = estimate.high - estimate.mean, estimate.mean - estimate.low
    if abs(up - down) <= 0.02 * max(up, down):
        return mean, f"\u00a0±\u00a0{numbers.fixed(up, metric.decimals)}"
    low, high = (numbers.fixed(end, metric.decimals) for end in (estimate.low, estimate.high))
    return mean, f" ({low} to {high})"
