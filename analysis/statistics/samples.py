"""What was measured of one setting, run by run and prompt by prompt: its mean, and the difference of two of them."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analysis.statistics.crossed import Estimate, Floats, of_prompts, of_runs
from analysis.statistics.spread import SeedSpread, pooled

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """A setting's runs: `seeds` name them, of shape (S,), and `runs` of the same shape are their metric as a whole.

    `values` of shape (S, P) are by prompt, NaN where a run has none; `prompts` of shape (P,) number the prompts, the
    same numbers in all samples that are compared, ascending; `counts` of shape (P,) say of how many rows of the data
    each value is the mean. None of the three where only whole runs are known. `share` is 1 for values from 0 to 1.
    """

    seeds: tuple[Hashable, ...]
    runs: Floats
    values: Floats | None = None
    prompts: Ints | None = None
    counts: Floats | None = None
    share: float = 0.0

    def complete(self) -> "Sample | None":
        """That on prompts at which every run has a value; None where fewer than two are left."""
        if self.values is None or self.prompts is None or self.counts is None:
            return None
        whole = np.asarray(~np.isnan(self.values).any(axis=0))
        if whole.all():
            return self if len(self.prompts) > 1 else None
        return self._at(whole) if whole.sum() > 1 else None

    def of(self, seeds: Iterable[Hashable]) -> "Sample":
        """Those runs alone, in that order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        values = None if self.values is None else self.values[rows]
        return replace(self, seeds=tuple(self.seeds[row] for row in rows), runs=self.runs[rows], values=values)

    def on(self, prompts: Ints) -> "Sample | None":
        """That on some of its prompts; None where fewer than two of them are among its own."""
        if self.prompts is None:
            return None
        own = np.isin(self.prompts, prompts)
        return self._at(own) if own.sum() > 1 else None

    def _at(self, columns: npt.NDArray[np.bool_]) -> "Sample":
        assert self.values is not None
        assert self.prompts is not None
        assert self.counts is not None
        return replace(self, values=self.values[:, columns], prompts=self.prompts[columns], counts=self.counts[columns])

    def estimate(self) -> Estimate:
        """Its mean: over prompts and seeds where both are known, else over runs."""
        whole = self.complete()
        if whole is None or whole.values is None:
            return of_runs(self.runs)
        return of_prompts(whole.values, whole.counts, share=self.share)


@dataclass(frozen=True)
class Spreads:
    """How far seeds spread over all settings of a table: `runs` of one setting, `pairs` the differences of paired runs.

    None where no setting has two seeds. `alone`: they stand for each setting's own spread, instead of being lent to it.
    """

    runs: SeedSpread | None
    pairs: SeedSpread | None
    alone: bool = False

    def mean(self, estimate: Estimate) -> Estimate:
        """The mean of one setting, with what the others lend it."""
        return self._with(self.runs, estimate, 1 / estimate.seeds)

    def paired(self, estimate: Estimate) -> Estimate:
        """The same of a difference of paired runs."""
        return self._with(self.pairs, estimate, 1 / estimate.seeds)

    def independent(self, estimate: Estimate, first: int, second: int) -> Estimate:
        """The same of a difference of so many runs and so many others."""
        return self._with(self.runs, estimate, 1 / first + 1 / second)

    def _with(self, spread: SeedSpread | None, estimate: Estimate, runs: float) -> Estimate:
        if spread is None:
            return estimate
        return spread.within(estimate, runs) if self.alone else spread.lent_to(estimate, runs)


def spreads(samples: Sequence[Sample], *, alone: bool = False) -> Spreads:
    """What the settings of a table show together of how far seeds spread.

    Of paired runs each setting is set beside the next four on either side, which of up to nine settings are all pairs.
    Pairs that have a setting in common are not independent: of C settings with S seeds all C (C-1)/2 pairs together
    have (C-1) (S-1) degrees of freedom, 2/C of their sum, as the two-way layout of settings and seeds has.
    """
    runs = pooled([sample.estimate() for sample in samples])
    count = len(samples)
    beside = {tuple(sorted((at, (at + step) % count))) for at in range(count) for step in range(1, 5)}
    both = [(samples[one], samples[two]) for one, two in sorted(beside) if one != two]
    found = [difference(one, two) for one, two in both if len(set(one.seeds) & set(two.seeds)) > 1]
    return Spreads(runs, pooled(found, overlap=2 / max(count, 1)), alone)


def difference(first: Sample, second: Sample, table: Spreads | None = None) -> Estimate:
    """The mean of the first less that of the second, on the same prompts, and what is known of its spread.

    Prompts are matched by their numbers; those that one of them lacks are left out. Seeds are matched where at least
    two numbers are on both sides: then the difference of each pair of runs is one value, whatever the two have in
    common (the order of the data, the start of an adapter) cancels out, and runs without a partner are left out.
    Else the runs of the two are taken as independent, and a side with a single run is taken to spread as the other
    does. `table` has what all settings together show of that. Without prompts on both sides, whole runs are compared.
    """
    common = [seed for seed in first.seeds if seed in set(second.seeds)]
    matched = len(common) > 1 or (len(first.seeds) == len(second.seeds) == len(common))
    ours, theirs = (first.of(common), second.of(common)) if matched else (first, second)
    found = _by_prompt(ours, theirs, matched=matched) or _by_run(ours, theirs, matched=matched)
    if table is None:
        return found
    return table.paired(found) if matched else table.independent(found, len(ours.seeds), len(theirs.seeds))


def _by_prompt(first: Sample, second: Sample, *, matched: bool) -> Estimate | None:
    ours, theirs = first.complete(), second.complete()
    if ours is None or theirs is None or ours.prompts is None or theirs.prompts is None:
        return None
    same = np.intersect1d(ours.prompts, theirs.prompts)
    ours, theirs = ours.on(same), theirs.on(same)
    if ours is None or theirs is None or ours.values is None or theirs.values is None:
        return None
    share = 2 * first.share
    if matched:
        return of_prompts(ours.values - theirs.values, ours.counts, share=share)
    both = of_prompts((ours.values.mean(0) - theirs.values.mean(0))[None, :], ours.counts, share=share)
    return _independent(both, ours.estimate(), theirs.estimate())


def _by_run(first: Sample, second: Sample, *, matched: bool) -> Estimate:
    if matched:
        return of_runs(first.runs - second.runs)
    ours, theirs = of_runs(first.runs), of_runs(second.runs)
    both = replace(ours, mean=ours.mean - theirs.mean)
    return _independent(both, ours, theirs)


def _independent(both: Estimate, first: Estimate, second: Estimate) -> Estimate:
    """`both` with the spread of seeds of two settings whose runs have nothing in common (Welch & Satterthwaite)."""
    seeds = min(first.seeds, second.seeds)
    runs = 1 / first.seeds + 1 / second.seeds
    if not (first.knows_seeds and second.knows_seeds):
        one = pooled([first, second])
        return replace(both, seeds=seeds) if one is None else replace(one.within(both, runs), seeds=seeds)
    variance = first.of_seeds + second.of_seeds
    parts = first.of_seeds**2 / first.seed_df + second.of_seeds**2 / second.seed_df
    df = variance**2 / parts if parts > 0 else first.seed_df + second.seed_df
    return replace(both, seeds=seeds, of_seeds=variance, seed_df=df, shared=first.shared + second.shared)
