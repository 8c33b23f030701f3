"""The comparisons of a table together: the truly best is among those that are marked best or tied."""

import numpy as np
import pytest

from analysis.statistics.crossed import p_value
from analysis.statistics.holm import holm
from analysis.statistics.samples import difference
from tests.analysis.statistics.drawn import allowed, layout, sample

TRIALS = 150


def told_apart(random: np.random.Generator, means: list[float], seeds: int, seed_sd: float) -> set[int]:
    """Settings that are told from the one with the best mean, in one study."""
    hard = random.normal(size=(1, 48))
    samples = [sample(hard + mean + layout(random, seeds, 48, seed_sd, 0.5)) for mean in means]
    best = max(range(len(means)), key=lambda at: samples[at].runs.mean())
    others = [at for at in range(len(means)) if at != best]
    adjusted = holm([p_value(difference(samples[at], samples[best])) for at in others])
    return {at for at, p in zip(others, adjusted, strict=True) if p < 0.05}


@pytest.mark.parametrize("means", [[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 0.9, 0.0, 0.0, 0.0]], ids=["all alike", "one best"])
@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.1), (3, 0.5), (5, 0.2)])
def test_the_truly_best_is_best_or_tied_in_nineteen_of_twenty_studies(seeds: int, seed_sd: float, means: list[float]):
    random = np.random.default_rng([seeds, int(10 * seed_sd), len(set(means))])
    lost = sum(0 in told_apart(random, means, seeds, seed_sd) for _ in range(TRIALS))
    assert lost / TRIALS <= allowed(0.05, TRIALS)


def test_what_is_far_behind_is_told_apart():
    random = np.random.default_rng(3)
    found = [told_apart(random, [1.0, 0.0, 0.0], 5, 0.1) for _ in range(20)]
    assert sum(apart == {1, 2} for apart in found) >= 19
