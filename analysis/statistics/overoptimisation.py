"""Reward against the way that a policy has gone from its start: the curves of the papers on over-optimisation.

With d = sqrt(KL to the start) and R the gain in reward over it, Gao, Schulman & Hilton (arXiv:2210.10760, section 3.1):

    bon   R = d (alpha - beta d)       of best-of-n sampling
    rl    R = d (alpha - beta log d)   of reinforcement learning, and of direct alignment (arXiv:2406.02900, section 3)

Both are linear in alpha and beta: least squares finds them. The peak is at d = alpha/(2 beta), exp(alpha/beta - 1).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.errors import BadQuestion
from analysis.statistics.crossed import Floats

LEAST_POINTS = 4
Form = Literal["bon", "rl"]
FORMULAS: dict[Form, str] = {"bon": "R = d (alpha - beta d)", "rl": "R = d (alpha - beta log d)"}


@dataclass(frozen=True)
class OverOptimisation:
    """alpha, beta (reward a sqrt(nat), and less that a unit of d); each with the ends of its interval.

    `explained` is the share of the squared gains that the curve explains (R^2 about zero, as the curve begins there).
    `peak_kl` in nats, None where the curve has no peak within the KL that was measured, with its interval where the
    draws agree that there is one.
    """

    form: Form
    alpha: tuple[float, float, float]
    beta: tuple[float, float, float]
    explained: float
    peak_kl: tuple[float, float, float] | None

    def gain(self, kl: Floats) -> Floats:
        """R at KLs (nats) of any shape."""
        gains: Floats = _columns(np.sqrt(kl), self.form) @ np.array([self.alpha[0], self.beta[0]])
        return gains


def fit_overoptimisation(
    kl: Floats, gains: Floats, kl_draws: Floats, gain_draws: Floats, form: Form, level: float = 0.95
) -> OverOptimisation:
    """The curve through `kl` and `gains` of shape (policies,), with draws of both of shape (policies, draws).

    Raises BadQuestion where fewer than four policies have moved at all, or all of them equally far.
    """
    moved = kl > 0
    if moved.sum() < LEAST_POINTS or np.ptp(kl[moved]) < 1e-9:
        raise BadQuestion(
            f"reward over sqrt(KL) needs {LEAST_POINTS} policies at different KL above 0; there are {int(moved.sum())}"
        )
    kl, gains, kl_draws, gain_draws = kl[moved], gains[moved], kl_draws[moved], gain_draws[moved]
    columns = _columns(np.sqrt(kl), form)
    found: Floats = np.linalg.lstsq(columns, gains, rcond=None)[0].astype(float)
    left = gains - columns @ found
    drawn = _solved(_columns(np.sqrt(np.maximum(kl_draws, 1e-12)), form), gain_draws)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    alpha, beta = ((float(found[at]), float(low[at]), float(high[at])) for at in (0, 1))
    explained = 1 - float((left**2).sum()) / max(float((gains**2).sum()), 1e-300)
    return OverOptimisation(form, alpha, beta, explained, _peak(found, drawn, form, kl, tail))


def _columns(d: Floats, form: Form) -> Floats:
    """What alpha and beta are multiplied by, along a new last axis."""
    curved = d**2 if form == "bon" else d * np.log(np.maximum(d, 1e-300))
    columns: Floats = np.stack([d, -curved], axis=-1)
    return columns


def _solved(columns: Floats, gains: Floats) -> Floats:
    """Least squares of each draw: columns (policies, draws, 2), gains (policies, draws) -> (draws, 2)."""
    square = np.einsum("pda,pdb->dab", columns, columns) + 1e-12 * np.eye(2)
    solved: Floats = np.linalg.solve(square, np.einsum("pda,pd->da", columns, gains)[..., None])[..., 0]
    return solved


def _peak(found: Floats, drawn: Floats, form: Form, kl: Floats, tail: float) -> tuple[float, float, float] | None:
    peak = float(_peaks(found[None, :], form)[0])
    if not math.isfinite(peak) or not kl.min() <= peak <= kl.max():
        return None
    # A draw without a peak has it as far out as one can think of.
    low, high = np.quantile(_peaks(drawn, form), [tail, 1 - tail])
    return peak, float(low), float(high)


def _peaks(parameters: Floats, form: Form) -> Floats:
    """KL of the largest gain, infinite where it goes on rising; parameters (draws, 2)."""
    alpha, beta = parameters.T
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        d = alpha / (2 * beta) if form == "bon" else np.exp(alpha / beta - 1)
        peaks: Floats = np.where(beta > 0, np.maximum(d, 0) ** 2, math.inf)
    return peaks
