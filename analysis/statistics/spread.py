"""How far seeds spread, learnt from all settings of a table: two or three runs of one setting hardly tell it.

With two seeds a t-test has one degree of freedom, and calls a difference real from 12.7 standard errors on. But the
settings of a table are the same training with another number, and their seeds often do much the same. So each
setting's own variance is averaged with what all of them show, by degrees of freedom: the moderated t-test (Smyth 2004,
Statistical Applications in Genetics and Molecular Biology 3:3). How many the others count for is estimated from how
different the settings' variances are, more than chance makes them: where they are (KL at a weak and at a strong pull),
next to nothing is lent. Smyth has thousands of genes for that estimate and a table a handful of settings, so that it is
held below LENT: `tests/analysis/statistics/test_spread.py` has how often tests err.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special
from scipy.optimize import brentq

from analysis.statistics.crossed import Estimate, Floats

# Degrees of freedom that the other settings' seeds may count for at most.
LENT = 4.0
# Of the middle one: a variance that is smaller is a chance agreement of seeds, and its logarithm nothing to go by.
_LEAST = 1e-5


@dataclass(frozen=True)
class SeedSpread:
    """How far single runs of one setting lie apart: variance of their means, the part of it that prompts make, df.

    `typical` is what a setting's variance is like, and `alike` the degrees of freedom that this counts for beside its
    own, infinitely many where settings differ no more than by chance.
    """

    variance: float
    shared: float
    df: float
    typical: float
    alike: float

    def within(self, estimate: Estimate, runs: float) -> Estimate:
        """The estimate with this spread instead of its own; `runs` is 1/S of a mean, 1/S + 1/S' of a difference."""
        shared = self.shared * runs if estimate.prompts else 0.0
        return replace(estimate, of_seeds=self.variance * runs, shared=shared, seed_df=self.df)

    def lent_to(self, estimate: Estimate, runs: float) -> Estimate:
        """The estimate with its own spread and this one averaged, by their degrees of freedom; `runs` as above.

        Its own is part of this one, so that where nothing else is it stays as it was.
        """
        own = estimate.seed_df if estimate.knows_seeds else 0.0
        lent = min(LENT, self.alike, self.df - own)
        if lent <= 0:
            return estimate
        size = self.typical / self.variance if self.variance > 0 else 1.0
        whole = self.within(estimate, runs * size)
        if not own:
            return replace(whole, seed_df=lent)
        part = lent / (lent + own)
        return replace(
            estimate,
            of_seeds=part * whole.of_seeds + (1 - part) * estimate.of_seeds,
            shared=part * whole.shared + (1 - part) * estimate.shared,
            seed_df=lent + own,
        )


def pooled(estimates: Iterable[Estimate], overlap: float = 1.0) -> SeedSpread | None:
    """One spread for all, as if seeds made the same difference everywhere. None where each has one seed.

    `overlap`: the share of their degrees of freedom that is left where they are not independent.
    """
    known = [estimate for estimate in estimates if estimate.knows_seeds]
    total = sum(estimate.seed_df for estimate in known)
    if not known or total <= 0:
        return None
    variance = sum(estimate.seed_df * estimate.of_seeds * estimate.seeds for estimate in known) / total
    shared = sum(estimate.seed_df * estimate.shared * estimate.seeds for estimate in known) / total
    typical, alike = _prior(np.array([each.of_seeds * each.seeds for each in known]), [e.seed_df for e in known])
    if math.isinf(alike):
        typical = variance
    return SeedSpread(variance, shared, overlap * total, typical, alike)


def _prior(variances: Floats, dfs: Sequence[float]) -> tuple[float, float]:
    """The scale and degrees of freedom of the inverse chi2 that true variances come from: Smyth 2004, section 6.2.

    Infinitely many degrees where the variances of shape (settings,) differ no more than those of equal settings would.
    """
    middle = float(np.median(variances))
    if len(variances) < 2 or not middle > 0:
        return middle, math.inf
    half = np.array(dfs) / 2
    logs = np.log(np.maximum(variances, _LEAST * middle)) - special.psi(half) + np.log(half)
    excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:
        return middle, math.inf
    # Few settings tell excess from chance badly: trigamma falls from infinity at 0, so that a root is always there.
    at = float(brentq(lambda x: float(special.polygamma(1, x)) - excess, 1e-6, 1e12))
    return math.exp(float(logs.mean()) + float(special.psi(at)) - math.log(at)), 2 * at
