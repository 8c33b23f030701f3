"""Curves through what was measured at each strength: the score over log-strength, and reward over sqrt(KL)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.by_prompt import ByPrompt, by_prompt
from analysis.errors import AnalysisError, BadQuestion
from analysis.ranking.measured import Measured
from analysis.ranking.rank import RankedGroup, Ranking, measure_all
from analysis.ranking.verdict import place
from analysis.runs import Runs
from analysis.statistics.crossed import Floats
from analysis.statistics.curve import Curve, fit_curve
from analysis.statistics.overoptimisation import Form, OverOptimisation, fit_overoptimisation

STRENGTH = "beta"
REWARD, START, KL = "eval/reward", "eval/start_reward", "eval/kl"
_GAIN = "eval/reward_gain"
# References that are the policy's own start, where KL is 0 and the gain in reward is 0 too.
_STARTS = ("self", "none", "moving")


@dataclass(frozen=True)
class Fits:
    """Of one group: the curve of the ranked metric, those of reward over KL; `told` says what could not be fitted."""

    setting: Mapping[str, Any]
    curve: Curve | None
    overoptimisation: Sequence[OverOptimisation]
    told: Sequence[str]


def fit_all(runs: Runs, ranking: Ranking) -> list[Fits]:
    """The curves of each group of a ranking by strength. Raises BadQuestion for a ranking by anything else."""
    if tuple(ranking.by) != (STRENGTH,):
        raise BadQuestion(f"--fit: a curve goes over strengths; rank --by {STRENGTH} alone")
    gains = _gains(runs, ranking)
    found = []
    for at, group in enumerate(ranking.groups):
        told: list[str] = []
        curve = _curve(ranking, group, told)
        over = [] if gains is None else _over(gains[0][at], gains[1][at], told)
        found.append(Fits(group.setting, curve, over, told))
    return found


def _curve(ranking: Ranking, group: RankedGroup, told: list[str]) -> Curve | None:
    cells = [cell for cell in group.measured.cells if cell.estimate and not cell.degenerate and cell.values[0]]
    try:
        return fit_curve(
            np.array([_number(cell.values[0]) for cell in cells]),
            _means(cells),
            np.stack([cell.draws for cell in cells]) if cells else np.zeros((0, 1)),
            smallest=ranking.direction == "minimize",
            level=ranking.question.level,
        )
    except AnalysisError as error:
        told.append(f"no curve{place(group.setting)}: {error}")
        return None


Both = tuple[list[list[Measured]], list[list[Measured]]]


def _gains(runs: Runs, ranking: Ranking) -> Both | None:
    """Reward over the start's, and KL, of all cells of all groups; None where the runs lack one of them."""
    frame = runs.frame
    if any(name not in frame.columns for name in (REWARD, START, KL)):
        return None
    if not set(frame["reference"].dropna()) <= set(_STARTS) or _other_opponents(frame):
        return None
    with_gain = Runs(frame.assign(**{_GAIN: frame[REWARD] - frame[START]}), runs.told)
    first, second = by_prompt(frame, REWARD), by_prompt(frame, START)
    same = first.values.keys() & second.values.keys() if list(first.names) == list(second.names) else set()
    values = ByPrompt(first.names, {row: first.values[row] - second.values[row] for row in same}, first.counts)
    gains = measure_all(with_gain, ranking.sorted, _GAIN, values, ranking.question)
    kl = measure_all(runs, ranking.sorted, KL, by_prompt(frame, KL), ranking.question)
    return [list(group.cells) for group in gains], [list(group.cells) for group in kl]


def _other_opponents(frame: pd.DataFrame) -> bool:
    if "answers.opponent" not in frame.columns:
        return False
    return any(name != "start" for cell in frame["answers.opponent"] if _is_list(cell) for name in cell)


def _is_list(cell: object) -> bool:
    return isinstance(cell, list | np.ndarray)


def _over(gains: Sequence[Measured], kl: Sequence[Measured], told: list[str]) -> list[OverOptimisation]:
    both = [(one, two) for one, two in zip(gains, kl, strict=True) if one.estimate and two.estimate]
    sound = [(one, two) for one, two in both if not one.degenerate]
    forms: tuple[Form, ...] = ("bon", "rl")
    try:
        return [
            fit_overoptimisation(
                _means([two for _, two in sound]),
                _means([one for one, _ in sound]),
                np.stack([two.draws for _, two in sound]) if sound else np.zeros((0, 1)),
                np.stack([one.draws for one, _ in sound]) if sound else np.zeros((0, 1)),
                form,
            )
            for form in forms
        ]
    except BadQuestion as error:
        told.append(str(error))
        return []


def _means(cells: Sequence[Measured]) -> Floats:
    return np.array([cell.estimate.mean for cell in cells if cell.estimate is not None], dtype=float)


def _number(value: object) -> float:
    return float(str(value))
