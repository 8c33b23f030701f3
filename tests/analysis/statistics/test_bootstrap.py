"""Intervals by resampling prompts and drawing what seeds leave open: they hold the truth as often as they say."""

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.bootstrap import draw_means, interval
from analysis.statistics.crossed import half_width
from analysis.statistics.samples import Sample
from tests.analysis.statistics.drawn import allowed, layout, sample

pytestmark = pytest.mark.slow


def ends(one: Sample, seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    low, high = interval(draw_means([one], [one.estimate()], draws=draws, seed=seed))
    return float(low[0]), float(high[0])


@pytest.mark.parametrize(
    ("seeds", "seed_sd"), [(1, 0.0), *((seeds, sd) for seeds in (2, 3, 5) for sd in (0.0, 0.1, 1.0))]
)
def test_intervals_hold_the_mean_in_at_least_nineteen_of_twenty_studies(seeds: int, seed_sd: float):
    random, trials = np.random.default_rng([seeds, int(10 * seed_sd)]), 300
    missed = 0
    for trial in range(trials):
        low, high = ends(sample(layout(random, seeds, 50, seed_sd)), trial)
        missed += not low <= 0 <= high
    assert missed / trials <= allowed(0.05, trials)


def test_with_many_seeds_and_prompts_they_are_no_wider_than_that():
    random, trials = np.random.default_rng(0), 300
    missed = 0
    for trial in range(trials):
        low, high = ends(sample(layout(random, 12, 60, 0.3)), trial)
        missed += not low <= 0 <= high
    assert missed / trials >= 0.01


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_win_rates_are_covered(share: float):
    random, trials = np.random.default_rng(1), 300
    missed = 0
    for trial in range(trials):
        easy = random.beta(5 * share, 5 * (1 - share), size=(1, 100))
        low, high = ends(sample((random.random((3, 100)) < easy).astype(float), share=1.0), trial)
        missed += not low <= share <= high
    assert missed / trials <= allowed(0.05, trials)


def test_one_seed_agrees_with_the_bootstrap_of_scipy():
    values = np.random.default_rng(2).exponential(size=200)
    scipys = stats.bootstrap((values,), np.mean, method="percentile", random_state=0).confidence_interval
    low, high = ends(sample(values[None, :]), draws=20_000)
    assert low == pytest.approx(scipys.low, abs=0.01)
    assert high == pytest.approx(scipys.high, abs=0.01)


def test_it_agrees_with_the_formula_where_nothing_is_skewed():
    one = sample(layout(np.random.default_rng(3), 4, 100, 0.5))
    low, high = ends(one, draws=20_000)
    assert (high - low) / 2 == pytest.approx(half_width(one.estimate()), rel=0.05)


def test_the_same_seed_gives_the_same_interval_beside_whatever_else():
    random = np.random.default_rng(5)
    one, other = sample(layout(random, 3, 40, 0.5)), sample(layout(random, 3, 40, 0.5))
    alone = draw_means([one], [one.estimate()])
    beside = draw_means([other, one], [other.estimate(), one.estimate()])
    assert np.allclose(alone[0], beside[1])


def test_draws_of_two_settings_go_together_on_the_same_prompts():
    random = np.random.default_rng(6)
    hard = 5 * random.normal(size=(1, 80))
    pair = [sample(hard + 0.1 * random.normal(size=(1, 80))) for _ in range(2)]
    draws = draw_means(pair, [one.estimate() for one in pair])
    assert np.corrcoef(draws)[0, 1] > 0.99


def test_settings_that_were_asked_other_prompts_are_drawn_each_on_its_own():
    first = Sample((0,), np.zeros(1), np.array([[1.0, 2.0, 3.0]]), np.array([0, 1, 2]), np.ones(3))
    second = Sample((0,), np.zeros(1), np.array([[5.0, 6.0, 8.0]]), np.array([2, 3, 4]), np.ones(3))
    draws = draw_means([first, second], [first.estimate(), second.estimate()])
    assert draws[0].mean() == pytest.approx(2.0, abs=0.1)
    assert draws[1].mean() == pytest.approx(19 / 3, abs=0.1)


def test_an_interval_of_wins_at_every_prompt_is_not_a_point():
    low, high = ends(sample(np.ones((2, 40)), share=1.0))
    assert low < 0.99
    assert high >= 1.0
