"""How far seeds spread, learnt from all settings of a table: two or three runs of one setting hardly tell it.

With two seeds a t-test has one degree of freedom, and calls a difference real from 12.7 standard errors on. But the
settings of a table are the same training with another number, and their seeds do much the same. So each setting's own
variance is averaged with that of all of them, which counts as LENT degrees of freedom: the moderated t-test (Smyth
2004, Statistical Applications in Genetics and Molecular Biology 3:3). Smyth estimates that number from thousands of
genes; a table has a handful of settings, so it is fixed, and low enough that where one setting's seeds spread several
times as far as the others', tests still err about as often as they say: `tests/analysis/statistics/test_spread.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from analysis.statistics.crossed import Estimate

# Degrees of freedom that the other settings' seeds may count for.
LENT = 4.0


@dataclass(frozen=True)
class SeedSpread:
    """How far single runs of one setting lie apart: variance of their means, the part of it that prompts make, df."""

    variance: float
    shared: float
    df: float

    def within(self, estimate: Estimate, runs: float) -> Estimate:
        """The estimate with this spread instead of its own; `runs` is 1/S of a mean, 1/S + 1/S' of a difference."""
        shared = self.shared * runs if estimate.prompts else 0.0
        return replace(estimate, of_seeds=self.variance * runs, shared=shared, seed_df=self.df)

    def lent_to(self, estimate: Estimate, runs: float) -> Estimate:
        """The estimate with its own spread and this one averaged, by their degrees of freedom; `runs` as above.

        Its own is part of this one, so that where nothing else is it stays as it was.
        """
        own = estimate.seed_df if estimate.knows_seeds else 0.0
        lent = min(LENT, self.df - own)
        if lent <= 0:
            return estimate
        whole = self.within(estimate, runs)
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
    return SeedSpread(variance, shared, overlap * total)
