"""What settings lend each other of how far seeds spread: nothing is taken for real too often, and more is found."""

import math

import numpy as np
import pytest

from analysis.statistics.bootstrap import draw_means, interval
from analysis.statistics.crossed import of_runs, p_value
from analysis.statistics.holm import holm
from analysis.statistics.samples import Sample, difference, spreads
from analysis.statistics.spread import LENT, SeedSpread, pooled
from tests.analysis.statistics.drawn import allowed, layout, sample

pytestmark = pytest.mark.slow

PROMPTS, TRIALS = 48, 100
# Standard deviations of the seeds, by setting.
ALIKE = (0.2,) * 5
TREND = (0.05, 0.09, 0.16, 0.28, 0.5)
ONE_WILD = (0.1, 0.1, 0.1, 0.1, 0.3)


def study(
    random: np.random.Generator, seeds: int, seed_sds: tuple[float, ...], best: float = 0.0, first_seed: int = 0
) -> list[Sample]:
    """Settings of equal means but for the first, on the same hard and easy prompts; seeds in common unless told."""
    hard = random.normal(size=(1, PROMPTS))
    values = [hard + layout(random, seeds, PROMPTS, sd, 0.5) for sd in seed_sds]
    values[0] = values[0] + best
    return [sample(each, place * first_seed) for place, each in enumerate(values)]


def told_apart(samples: list[Sample], *, lent: bool = True) -> set[int]:
    """Settings that are told from the one with the best mean."""
    table = spreads(samples) if lent else None
    best = max(range(len(samples)), key=lambda at: samples[at].runs.mean())
    others = [at for at in range(len(samples)) if at != best]
    adjusted = holm([p_value(difference(samples[at], samples[best], table)) for at in others])
    return {at for at, p in zip(others, adjusted, strict=True) if p < 0.05}


@pytest.mark.parametrize("seed_sds", [ALIKE, TREND, ONE_WILD], ids=["alike", "trend", "one wild"])
@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("first_seed", [0, 10], ids=["same seeds", "other seeds"])
def test_the_truly_best_is_best_or_tied_in_nineteen_of_twenty_studies(
    seeds: int, seed_sds: tuple[float, ...], first_seed: int
):
    """All are equally good, so that the first is among the truly best; it and the last are those that differ most."""
    random = np.random.default_rng([seeds, len(set(seed_sds)), first_seed])
    found = [told_apart(study(random, seeds, seed_sds, first_seed=first_seed)) for _ in range(TRIALS)]
    for place in (0, len(seed_sds) - 1):
        assert sum(place in apart for apart in found) / TRIALS <= allowed(0.05, TRIALS)


@pytest.mark.parametrize("seed_sds", [ALIKE, TREND], ids=["alike", "trend"])
@pytest.mark.parametrize("seeds", [2, 3])
def test_a_single_comparison_holds_its_level(seeds: int, seed_sds: tuple[float, ...]):
    """On the average over the settings: between the two that spread most it errs to one side, else to the other."""
    random, rejected, made = np.random.default_rng([7, seeds, len(set(seed_sds))]), 0, 0
    for _ in range(TRIALS):
        samples = study(random, seeds, seed_sds)
        table = spreads(samples)
        for at in range(1, len(samples)):
            rejected += p_value(difference(samples[at], samples[at - 1], table)) < 0.05
            made += 1
    # Comparisons of one study are not independent.
    assert rejected / made <= allowed(0.05, TRIALS)


@pytest.mark.parametrize("seed_sds", [(0.0,) * 5, ALIKE, TREND], ids=["none", "alike", "trend"])
@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_of_means_hold_them_in_nineteen_of_twenty_studies(seeds: int, seed_sds: tuple[float, ...]):
    random, missed = np.random.default_rng([9, seeds, len(set(seed_sds))]), 0
    for trial in range(TRIALS):
        samples = study(random, seeds, seed_sds)
        table = spreads(samples)
        estimates = [table.mean(each.estimate()) for each in samples]
        low, high = interval(draw_means(samples, estimates, draws=300, seed=trial))
        missed += int(((low > 0) | (high < 0)).sum())
    assert missed / (TRIALS * len(seed_sds)) <= allowed(0.05, TRIALS)


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.25), (3, 0.55)])
def test_more_is_found_with_few_seeds_than_by_each_settings_own(seeds: int, least: float):
    random = np.random.default_rng(seeds)
    studies = [study(random, seeds, (0.1,) * 5, best=0.6) for _ in range(40)]
    shares = [np.mean([len(told_apart(each, lent=lent) - {0}) / 4 for each in studies]) for lent in (False, True)]
    assert shares[1] > least
    assert shares[1] > shares[0] + 0.2


def test_two_settings_alone_have_nothing_to_lend():
    random = np.random.default_rng(0)
    samples = study(random, 3, (0.2, 0.2))
    assert difference(*samples, spreads(samples)) == pytest.approx(difference(*samples))


def test_an_own_spread_and_one_that_is_lent_are_averaged_by_their_degrees_of_freedom():
    own = of_runs(np.array([0.0, 2.0]))
    lent = SeedSpread(8.0, 0.0, 9.0, typical=8.0, alike=math.inf).lent_to(own, 1 / 2)
    assert lent.of_seeds == pytest.approx((LENT * 8 / 2 + 1) / (LENT + 1))
    assert lent.seed_df == LENT + 1


def test_a_setting_of_one_seed_is_taken_to_spread_as_the_others_do():
    several = [of_runs(np.array([0.0, 1.0])), of_runs(np.array([0.0, 3.0])), of_runs(np.array([0.0, 2.0]))]
    table = pooled(several)
    assert table is not None
    found = table.lent_to(of_runs(np.array([5.0])), 1.0)
    assert found.of_seeds == pytest.approx((0.5 + 4.5 + 2.0) / 3)
    assert found.seed_df == 3


def test_where_settings_spread_very_differently_next_to_nothing_is_lent():
    """As KL does at a strong and a weak pull: the spread of the calm ones stays small, that of the wild ones large."""
    random = np.random.default_rng(3)
    scales = [0.01, 0.03, 0.3, 1.0, 3.0, 10.0]
    own = [of_runs(scale * random.normal(size=3)) for scale in scales]
    table = pooled(own)
    assert table is not None
    assert table.alike < 1
    lent = [table.lent_to(each, 1 / 3) for each in own]
    assert lent[0].of_seeds < 30 * own[0].of_seeds + 0.01
    assert lent[-1].of_seeds > own[-1].of_seeds / 2


def test_the_estimate_of_how_alike_settings_are_finds_what_was_drawn():
    """Variances of 4,000 settings from an inverse chi2 of 6 degrees of freedom and scale 2, three runs each."""
    random = np.random.default_rng(5)
    true = 2 * 6 / random.chisquare(6, 4000)
    table = pooled([of_runs(np.sqrt(each) * random.normal(size=3)) for each in true])
    assert table is not None
    assert table.alike == pytest.approx(6, rel=0.15)
    assert table.typical == pytest.approx(2, rel=0.1)


def test_of_many_settings_each_is_set_beside_a_few():
    random = np.random.default_rng(1)
    table = spreads([sample(layout(random, 2, 4, 1.0)) for _ in range(300)])
    assert table.pairs is not None
    assert table.pairs.df == pytest.approx(8)


def test_without_a_second_seed_anywhere_nothing_is_lent():
    table = spreads([sample(layout(np.random.default_rng(2), 1, 9, 1.0)) for _ in range(3)])
    assert (table.runs, table.pairs) == (None, None)
