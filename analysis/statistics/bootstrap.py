"""Draws of the means of several settings: prompts resampled for all of them together, and what their seeds leave open.

A plain hierarchical bootstrap resamples seeds, and prompts within them. With S seeds its variance of the seeds' part
is (S - 1)/S of what it should be, half with two seeds, and its tails are too short (Davison & Hinkley 1997, section
3.8). So the two levels are drawn each in its own way:

    mean* = mean + w (mean over resampled prompts - mean) + sqrt(variance drawn for the seeds) z

The prompts' part keeps the skewness of what was measured; w widens it as t(P-1) is wider than the normal (Hesterberg
2015, "expanded percentile" intervals). The seeds' part is the t distribution that belongs to S values, from which
the part that prompts have in it anyway is taken off: see `analysis.statistics.crossed`.
"""

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import stats

from analysis.statistics.crossed import Estimate, Floats, seed_variance
from analysis.statistics.samples import Ints, Sample

DRAWS = 4000
# Weights of prompts that are in memory at one time.
_BLOCK = 2_000_000


def draw_means(
    samples: Sequence[Sample], estimates: Sequence[Estimate], *, draws: int = DRAWS, seed: int = 0
) -> Floats:
    """Draws of shape (samples, draws) around each estimate's mean; the same `seed` gives the same draws.

    All samples see the same resampled prompts, so that the draws of two of them differ as the two do.
    """
    means = np.repeat(np.array([estimate.mean for estimate in estimates])[:, None], draws, axis=1)
    means += _prompts_part(samples, estimates, draws, seed)
    for row, estimate in enumerate(estimates):
        if estimate.knows_seeds:
            random = _own(estimate, seed, "seeds")
            chi2 = np.maximum(random.chisquare(estimate.seed_df, draws), np.finfo(float).tiny)
            means[row] += np.sqrt(seed_variance(estimate, chi2)) * random.standard_normal(draws)
    return means


def _own(estimate: Estimate, seed: int, part: str) -> np.random.Generator:
    """A stream of its own for each sample, the same wherever and beside whichever others it is drawn."""
    told = np.array([estimate.mean, estimate.of_seeds, estimate.of_prompts]).tobytes()
    return np.random.default_rng([seed, zlib.crc32(told), zlib.crc32(part.encode())])


def interval(draws: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper ends, each of shape (samples,), that leave equal shares of the draws outside."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=-1)
    return low, high


def _prompts_part(samples: Sequence[Sample], estimates: Sequence[Estimate], draws: int, seed: int) -> Floats:
    """How far the means are off for the prompts that happened to be asked; of shape (samples, draws)."""
    off = np.zeros((len(samples), draws))
    known = [(row, whole) for row, sample in enumerate(samples) if (whole := sample.complete()) is not None]
    if not known:
        return off
    every = np.unique(np.concatenate([_numbers(whole) for _, whole in known]))
    values, rows_of = np.zeros((len(known), len(every))), np.zeros((len(known), len(every)))
    for at, (row, whole) in enumerate(known):
        columns = np.searchsorted(every, _numbers(whole))
        assert whole.values is not None
        assert whole.counts is not None
        rows_of[at, columns] = whole.counts
        values[at, columns] = whole.counts * (whole.values.mean(0) - estimates[row].mean)
    found = np.empty((len(known), draws))
    step = max(1, _BLOCK // len(every))
    for start in range(0, draws, step):
        block = slice(start, min(start + step, draws))
        weights = _resampled(len(every), block.stop - start, seed, start)
        total = rows_of @ weights
        found[:, block] = np.divide(values @ weights, total, out=np.zeros_like(total), where=total > 0)
    for at, (row, whole) in enumerate(known):
        off[row] = _widened(found[at], len(_numbers(whole)), estimates[row], _own(estimates[row], seed, "prompts"))
    return off


@lru_cache(maxsize=4)
def _resampled(prompts: int, draws: int, seed: int, start: int) -> Floats:
    """How often each prompt is drawn, of shape (prompts, draws): `prompts` times with replacement in each draw."""
    random = np.random.default_rng([seed, prompts, start])
    drawn = random.integers(prompts, size=(draws, prompts)) + prompts * np.arange(draws)[:, None]
    weights: Floats = np.bincount(drawn.ravel(), minlength=draws * prompts).reshape(draws, prompts).T.astype(float)
    return weights


def _widened(off: Floats, prompts: int, estimate: Estimate, random: np.random.Generator) -> Floats:
    wider = math.sqrt(prompts / (prompts - 1)) * float(stats.t.ppf(0.975, prompts - 1) / stats.norm.ppf(0.975))
    # What resampling cannot show where all prompts are alike.
    unseen = estimate.of_prompts - float(off.var()) * prompts / (prompts - 1)
    if unseen > estimate.of_prompts / 2:
        return off * wider + math.sqrt(unseen) * random.standard_normal(len(off))
    return off * wider


def _numbers(sample: Sample) -> Ints:
    assert sample.prompts is not None
    return sample.prompts
