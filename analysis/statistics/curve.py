"""A smooth curve through scores at a few strengths, with its optimum and an interval for that.

A Gaussian process over log-strength (Rasmussen & Williams 2006, sections 2.2 and 2.7): a constant, plus a smooth
function, plus the noise that each score is known to have; how smooth and how high is averaged over a few choices by
their marginal likelihood, as few strengths leave that open. A parabola would bend the far ends of a grid from 0.001 to
10 to mend its middle.
"""

from dataclasses import dataclass

import numpy as np

from analysis.errors import BadQuestion
from analysis.statistics.crossed import Floats

LEAST_STRENGTHS = 4
_GRID = 121
# Of the range of log-strengths: shorter than a quarter and the curve wriggles between strengths, longer is a line.
_LENGTHS = np.array([0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.5])
# Of the spread of the scores.
_HEIGHTS = np.array([0.3, 0.6, 1.2, 2.5, 5.0])


@dataclass(frozen=True)
class Curve:
    """Scores over strengths; `strengths`, `mean`, `low`, `high` of shape (grid,), ascending.

    `optimum` is the strength of the best mean, from `optimum_low` to `optimum_high` at the level; `at_edge` says
    whether that reaches the end of the range, so that the best may lie beyond it.
    """

    strengths: Floats
    mean: Floats
    low: Floats
    high: Floats
    optimum: float
    optimum_low: float
    optimum_high: float
    at_edge: bool

    def at(self, strength: float) -> tuple[float, float, float]:
        """Mean and interval at a strength. Raises BadQuestion outside the range that was measured."""
        least, most = float(self.strengths[0]), float(self.strengths[-1])
        if not least <= strength <= most:
            raise BadQuestion(
                f"strength {strength:g}: measured from {least:g} to {most:g}, and nothing is known beyond"
            )
        at = np.log(strength)
        mean, low, high = (float(np.interp(at, np.log(self.strengths), of)) for of in (self.mean, self.low, self.high))
        return mean, low, high


def fit_curve(
    strengths: Floats, means: Floats, draws: Floats, *, smallest: bool = False, level: float = 0.95, seed: int = 0
) -> Curve:
    """The curve through `means` of shape (strengths,), whose uncertainty is in `draws` of shape (strengths, draws).

    `smallest`: whether small scores are the good ones. Raises BadQuestion where there are fewer than four different
    strengths above zero, or nothing is known of how far their scores are off.
    """
    if len(np.unique(strengths)) < LEAST_STRENGTHS or (strengths <= 0).any() or not np.isfinite(strengths).all():
        told = ", ".join(f"{strength:g}" for strength in strengths)
        raise BadQuestion(f"a curve needs {LEAST_STRENGTHS} different strengths above 0; there are {told or 'none'}")
    low, high = np.quantile(draws, [0.025, 0.975], axis=1)
    noise = ((high - low) / (2 * 1.96)) ** 2
    if not (noise > 0).all():
        raise BadQuestion("a curve needs scores whose error is known: two seeds, or values by prompt (evaluation/)")
    order = np.argsort(strengths)
    at, means, draws, noise = np.log(strengths[order]), means[order], draws[order], noise[order]
    grid = np.linspace(at[0], at[-1], _GRID)
    curve, curves = _drawn(at, grid, means, draws, noise, np.random.default_rng(seed))
    sign, tail = -1.0 if smallest else 1.0, (1 - level) / 2
    optima = grid[np.argmax(sign * curves, axis=0)]
    first, last = np.quantile(optima, [tail, 1 - tail])
    edge = (grid[-1] - grid[0]) / (_GRID - 1)
    below, above = np.quantile(curves, [tail, 1 - tail], axis=1)
    return Curve(
        np.exp(grid),
        curve,
        below,
        above,
        float(np.exp(grid[np.argmax(sign * curve)])),
        float(np.exp(first)),
        float(np.exp(last)),
        bool(first - grid[0] < edge or grid[-1] - last < edge),
    )


def _drawn(
    at: Floats, grid: Floats, means: Floats, draws: Floats, noise: Floats, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """The curve of shape (grid,), and draws of it of shape (grid, draws), over lengths and heights by likelihood."""
    scales = _scales(at, means, noise)
    likely = np.array([_likelihood(at, means, noise, *scale) for scale in scales])
    likely = np.exp(likely - likely.max())
    likely /= likely.sum()
    chosen = random.choice(len(scales), size=draws.shape[1], p=likely)
    curve, curves = np.zeros(len(grid)), np.empty((len(grid), draws.shape[1]))
    everywhere = np.concatenate([grid, at])
    for which in np.unique(chosen):
        mine = chosen == which
        smoother = _smoother(at, grid, noise, *scales[which])
        curve += likely[which] * (smoother @ means)
        # Matheron's rule: a function drawn from the prior, moved by what the draws of scores say.
        root = _root(_kernel(everywhere, everywhere, *scales[which]))
        prior = root @ random.standard_normal((root.shape[1], int(mine.sum())))
        curves[:, mine] = prior[: len(grid)] + smoother @ (draws[:, mine] - prior[len(grid) :])
    return curve / likely[np.unique(chosen)].sum(), curves


def _kernel(first: Floats, second: Floats, length: float, height: float) -> Floats:
    kernel: Floats = height**2 * np.exp(-0.5 * ((first[:, None] - second[None, :]) / length) ** 2)
    return kernel


def _root(covariance: Floats) -> Floats:
    """R with R R' = covariance, which may be singular; without the directions in which it has nothing."""
    values, vectors = np.linalg.eigh(covariance)
    some = values > 1e-10 * values[-1]
    root: Floats = vectors[:, some] * np.sqrt(values[some])
    return root


def _scales(at: Floats, means: Floats, noise: Floats) -> list[tuple[float, float]]:
    """Lengths (of log-strength) and heights (of the score) to think of."""
    spread = max(float(means.std()), float(np.sqrt(noise.mean())))
    return [(float(length * (at[-1] - at[0])), float(height * spread)) for length in _LENGTHS for height in _HEIGHTS]


def _likelihood(at: Floats, means: Floats, noise: Floats, length: float, height: float) -> float:
    """Log marginal likelihood, the constant profiled out, but for what does not depend on the scales."""
    covariance = _kernel(at, at, length, height) + np.diag(noise)
    ones = np.ones(len(at))
    solved = np.linalg.solve(covariance, np.stack([ones, means], axis=1))
    left = means - (ones @ solved[:, 1]) / (ones @ solved[:, 0])
    return -0.5 * float(left @ np.linalg.solve(covariance, left)) - 0.5 * float(np.linalg.slogdet(covariance)[1])


def _smoother(at: Floats, grid: Floats, noise: Floats, length: float, height: float) -> Floats:
    """H of shape (grid, strengths): the curve is H scores, with the constant estimated as well (R & W, eq. 2.42)."""
    inverse = np.linalg.inv(_kernel(at, at, length, height) + np.diag(noise))
    ones = np.ones(len(at))
    constant = (ones @ inverse) / (ones @ inverse @ ones)
    across = _kernel(grid, at, length, height) @ inverse
    smoother: Floats = across + np.outer(1 - across @ ones, constant)
    return smoother
