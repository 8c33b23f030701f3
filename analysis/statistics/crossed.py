"""A mean over S training seeds and P prompts, and how far off it may be: two samples that cross each other.

The model (a two-way layout with random rows and columns, Searle, Casella & McCulloch 1992, ch. 4) for the value of a
run with seed s on prompt p is  y[s, p] = mean + a[s] + d[p] + e[s, p].  The mean over all of them has the variance

    var(a)/S + var(d)/P + var(e)/(S P)

of which A = var_s(mean of run s)/S holds the first and the last part, B = var_p(mean on prompt p)/P the second and the
last, and C = mean square of what is left/(S P) the last: the sum is A + B - C, and the seeds' own part A - C.

B rests on hundreds of prompts, A on a handful of seeds: with three of them an interval by resampling seeds, or by
plus or minus two standard errors, misses the truth far too often. So what S seeds leave open of their spread is
carried along: A (S-1)/chi2, with chi2 of S-1 degrees of freedom, is how large the variance may be that has shown
itself as A (Tsui & Weerahandi 1989, generalised p-values). With prompts alone this is the t-test over prompts, with
runs alone the t-test over seeds; in between it errs to the safe side: `tests/analysis/test_crossed.py` has its level.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.optimize import brentq

Floats = npt.NDArray[np.float64]
# A share of P prompts that are all alike is not known for sure: Agresti & Coull's four more prompts, two of each kind,
# leave a variance of about this over (P + 4)^2.
_ALL_ALIKE = 2.0


@dataclass(frozen=True)
class Estimate:
    """A mean (or a difference of means), and the parts of its variance.

    `prompts` is 0 where nothing but one value a run is known. `of_seeds`, `of_prompts`, `shared` are A, B and C above;
    A is NaN where there is one seed, so that how far seeds spread is unknown and left out.
    """

    mean: float
    seeds: int
    prompts: int
    of_seeds: float
    seed_df: float
    of_prompts: float
    shared: float

    @property
    def knows_seeds(self) -> bool:
        """Whether the spread from seed to seed is part of what is said."""
        return math.isfinite(self.of_seeds)

    @property
    def knows_anything(self) -> bool:
        """Whether there is a spread at all, of seeds or of prompts."""
        return self.knows_seeds or self.prompts > 1


def of_runs(values: Floats) -> Estimate:
    """The mean of one value a run. `values` of shape (seeds,)."""
    seeds = len(values)
    spread = float(values.var(ddof=1)) / seeds if seeds > 1 else math.nan
    return Estimate(float(values.mean()), seeds, 0, spread, seeds - 1.0, 0.0, 0.0)


def of_prompts(values: Floats, counts: Floats | None = None, *, share: float = 0.0) -> Estimate:
    """The mean of a value for each seed and prompt. `values` of shape (seeds, prompts), at least two prompts, no NaN.

    `counts` of shape (prompts,): on how many rows of the data each prompt's value is a mean, so that the mean is that
    over rows, while prompts are what is sampled. `share` is the range of values that are shares (1 for shares, 2 for
    their differences): none of them is certain because all prompts agree.
    """
    values = _levelled(values, counts)
    seeds, prompts = values.shape
    by_seed, by_prompt, mean = values.mean(1), values.mean(0), float(values.mean())
    alike = _ALL_ALIKE * (share / (prompts + 4)) ** 2
    of_prompts = max(float(by_prompt.var(ddof=1)) / prompts, alike)
    if seeds == 1:
        return Estimate(mean, 1, prompts, math.nan, 0.0, of_prompts, 0.0)
    left = values - by_seed[:, None] - by_prompt[None, :] + mean
    square = float((left**2).sum()) / ((seeds - 1) * (prompts - 1))
    return Estimate(
        mean, seeds, prompts, float(by_seed.var(ddof=1)) / seeds, seeds - 1.0, of_prompts, square / (seeds * prompts)
    )


def _levelled(values: Floats, counts: Floats | None) -> Floats:
    """Values whose plain mean and spread over prompts are those that count each prompt's rows (to first order)."""
    if counts is None or np.all(counts == counts[0]):
        return values
    weights = counts / counts.mean()
    mean = float((values * weights).mean())
    levelled: Floats = mean + weights * (values - mean)
    return levelled


def p_value(estimate: Estimate) -> float:
    """Two-sided, of the hypothesis that the mean is zero. NaN where one run without prompts says nothing of its spread.

    One seed: the t-test over prompts, which says nothing of other seeds. One value a run: the t-test over seeds.
    """
    if not estimate.knows_anything:
        return math.nan
    if estimate.mean == 0:
        return 1.0
    return _tail(estimate, abs(estimate.mean))


def half_width(estimate: Estimate, level: float = 0.95) -> float:
    """Half the interval that holds the true mean at `level`: what `p_value` does not reject. NaN as there."""
    if not estimate.knows_anything:
        return math.nan
    widest = float(_deviations(estimate)[0].max())
    if widest == 0:
        return 0.0
    low, high = 0.0, widest
    while _tail(estimate, high) > 1 - level:
        low, high = high, 4 * high
    return float(brentq(lambda width: _tail(estimate, width) - (1 - level), low, high, rtol=1e-5))


def seed_variance(estimate: Estimate, chi2: Floats) -> Floats:
    """Variances of chi2's shape that seeds may have in the mean; `chi2`: draws or quantiles, of `seed_df` degrees."""
    if not estimate.knows_seeds:
        return np.zeros_like(chi2)
    variances: Floats = np.maximum(estimate.of_seeds * estimate.seed_df / chi2 - estimate.shared, 0.0)
    return variances


def _tail(estimate: Estimate, distance: float) -> float:
    """The probability that an estimate is so far from its mean, on both sides."""
    deviations, weights = _deviations(estimate)
    with np.errstate(divide="ignore"):
        far = distance / deviations
    beyond = special.stdtr(estimate.prompts - 1, -far) if estimate.prompts > 1 else special.ndtr(-far)
    return min(1.0, 2 * float((beyond * weights).sum()))


def _deviations(estimate: Estimate) -> tuple[Floats, Floats]:
    """Standard deviations that the mean may have, and how likely each is; both of shape (nodes,)."""
    if not estimate.knows_seeds:
        return np.array([math.sqrt(estimate.of_prompts)]), np.array([1.0])
    # Of Welch's degrees of freedom, which are no whole numbers, a tenth is exact enough, and downwards is safe.
    chi2, weights = _quantiles(math.floor(10 * estimate.seed_df + 1e-9) / 10)
    return np.sqrt(estimate.of_prompts + seed_variance(estimate, chi2)), weights


@cache
def _quantiles(df: float, nodes: int = 200) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights over the quantiles of chi2, close together where tails are made."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    at = (points + 1) / 2
    beyond = (1 - at) ** 3 * (1 + 3 * at + 6 * at**2)
    slope = 30 * (at * (1 - at)) ** 2
    return np.asarray(special.chdtri(df, beyond)), weights / 2 * slope
