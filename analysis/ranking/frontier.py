"""Which settings give the most of one metric for the least of another: the frontier of reward and KL.

Cells (reward 1.0 at KL 5), (1.2 at 9), (0.9 at 8) -> the first two are on the frontier, the third is behind the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.by_prompt import by_prompt
from analysis.comparable import metric_row, objections_within, refusal
from analysis.errors import BadQuestion, Incomparable
from analysis.ranking.choice import choose_metric
from analysis.ranking.measured import Measured
from analysis.ranking.rank import Ranking, measure_all
from analysis.ranking.verdict import label
from analysis.runs import Runs
from analysis.statistics.crossed import Floats
from trainers.metrics_table import Direction

# Pairs of cells are compared in each of so many draws.
_DRAWS = 1000


@dataclass(frozen=True)
class Point:
    """One cell: its mean of the ranked metric and of the other one, each with the ends of its interval.

    `share` is in how many of the draws of both it is on the frontier: how sure it is that it belongs there.
    """

    keys: Mapping[str, Any]
    on_frontier: bool
    share: float
    mean: float
    mean_interval: tuple[float, float]
    other: float
    other_interval: tuple[float, float]


@dataclass(frozen=True)
class Frontier:
    """The points of one group, by the other metric; `left_out` says which cells are none, and why."""

    metric: str
    other: str
    other_direction: Direction
    setting: Mapping[str, Any]
    points: Sequence[Point]
    left_out: Sequence[str]


def frontiers(runs: Runs, ranking: Ranking, other: str) -> list[Frontier]:
    """The frontier of each group of a ranking: its metric against `other`.

    Raises BadQuestion where no run has the other metric or it has no better side, Incomparable as `rank_runs` does.
    """
    choose_metric(runs, ranking.sorted, other)
    if other == ranking.metric:
        raise BadQuestion(f"--pareto {other}: that is what is ranked; name another metric")
    row = metric_row(other)
    direction = row.frontier or row.better
    if direction is None:
        raise BadQuestion(f"--pareto {other}: neither large nor small of it is better")
    values = by_prompt(runs.frame, other)
    found = objections_within(runs.frame, ranking.sorted, other, values)
    if found and not ranking.question.allow_incomparable:
        raise Incomparable(refusal(other, found, []))
    groups = measure_all(runs, ranking.sorted, other, values, ranking.question)
    return [_frontier(ranking, place, group.cells, other, direction) for place, group in enumerate(groups)]


def _frontier(ranking: Ranking, place: int, others: Sequence[Measured], other: str, direction: Direction) -> Frontier:
    group = ranking.groups[place]
    both = list(zip(group.measured.cells, others, strict=True))
    sound = [(one, two) for one, two in both if one.estimate and two.estimate and not one.degenerate]
    left_out = [_reason(ranking, one) for one, two in both if (one, two) not in sound]
    points: list[Point] = []
    if sound:
        signs = np.array([1.0 if way == "maximize" else -1.0 for way in (ranking.direction, direction)])
        means = np.array([[_mean(one), _mean(two)] for one, two in sound])
        draws = np.stack([[one.draws[:_DRAWS], two.draws[:_DRAWS]] for one, two in sound])
        on = undominated((means * signs)[:, :, None])[:, 0]
        shares = undominated(draws * signs[None, :, None]).mean(axis=1)
        points = [
            Point(
                dict(zip(ranking.by, one.values, strict=True)), bool(on[at]), float(shares[at]),
                float(means[at, 0]), (one.low, one.high), float(means[at, 1]), (two.low, two.high),
            )
            for at, (one, two) in enumerate(sound)
        ]  # fmt: skip
    points.sort(key=lambda point: point.other)
    return Frontier(ranking.metric, other, direction, group.setting, points, left_out)


def undominated(points: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each point is on the frontier, of shape (cells, draws).

    `points` of shape (cells, metrics, draws), large ones are good. A point is not on it where another is as
    good in all metrics and better in one.
    """
    on = np.ones((points.shape[0], points.shape[2]), dtype=bool)
    for at, point in enumerate(points):
        as_good = (points >= point[None]).all(axis=1)
        better = (points > point[None]).any(axis=1)
        on[at] = ~(as_good & better).any(axis=0)
    return on


def _mean(cell: Measured) -> float:
    assert cell.estimate is not None
    return cell.estimate.mean


def _reason(ranking: Ranking, one: Measured) -> str:
    name = label(dict(zip(ranking.by, one.values, strict=True)), ranking.by)
    if one.degenerate:
        return f"{name} is degenerate"
    return f"{name} has no {ranking.metric}" if one.estimate is None else f"{name} lacks the other metric"
