"""A mean over seeds and prompts: against scipy where there is one of the two, by simulation where there are both."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.crossed import half_width, of_prompts, of_runs, p_value
from tests.analysis.statistics.drawn import allowed, layout

TRIALS = 600


def test_one_seed_is_the_t_test_over_prompts():
    values = np.random.default_rng(0).normal(0.2, 1, 50)
    estimate = of_prompts(values[None, :])
    assert p_value(estimate) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    low, high = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    assert half_width(estimate) == pytest.approx((high - low) / 2, rel=1e-4)
    assert not estimate.knows_seeds


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_one_value_a_run_is_the_t_test_over_seeds(seeds: int):
    values = np.random.default_rng(seeds).normal(1.0, 1, seeds)
    estimate = of_runs(values)
    assert p_value(estimate) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-5)
    low, high = stats.t.interval(0.95, seeds - 1, values.mean(), stats.sem(values))
    assert half_width(estimate) == pytest.approx((high - low) / 2, rel=1e-4)


def test_the_parts_of_the_variance_are_those_of_the_two_way_layout():
    """Two seeds, two prompts, values 0 2 / 4 10: seed means 1 and 7, prompt means 2 and 6, interaction 1 each way."""
    estimate = of_prompts(np.array([[0.0, 2.0], [4.0, 10.0]]))
    assert estimate.mean == 4
    assert estimate.of_seeds == pytest.approx(18 / 2)
    assert estimate.of_prompts == pytest.approx(8 / 2)
    assert estimate.shared == pytest.approx(4 / 4)


def test_a_single_run_without_prompts_says_nothing():
    estimate = of_runs(np.array([0.7]))
    assert math.isnan(p_value(estimate))
    assert math.isnan(half_width(estimate))


def test_an_interval_ends_where_the_test_begins_to_reject():
    estimate = of_prompts(layout(np.random.default_rng(3), 3, 40, 0.3))
    width = half_width(estimate)
    shifted = of_prompts(layout(np.random.default_rng(3), 3, 40, 0.3) - estimate.mean + width)
    assert p_value(shifted) == pytest.approx(0.05, rel=1e-3)


# One seed says nothing of others, so that there are none.
@pytest.mark.parametrize("prompt_sd", [0.0, 1.0])
@pytest.mark.parametrize(
    ("seeds", "seed_sd"), [(1, 0.0), *((seeds, sd) for seeds in (2, 3, 5) for sd in (0.0, 0.1, 0.4, 3.0))]
)
def test_the_test_holds_its_level_however_much_seeds_vary(seeds: int, seed_sd: float, prompt_sd: float):
    random = np.random.default_rng([seeds, int(10 * seed_sd), int(prompt_sd)])
    rejected = sum(p_value(of_prompts(layout(random, seeds, 64, seed_sd, prompt_sd))) < 0.05 for _ in range(TRIALS))
    assert rejected / TRIALS <= allowed(0.05, TRIALS)


def test_prompts_alone_would_reject_far_too_often_where_seeds_vary():
    """Why seeds are part of it: the t-test over prompts calls half of the null studies significant."""
    random = np.random.default_rng(0)
    studies = [layout(random, 3, 64, 0.5) for _ in range(TRIALS)]
    over_prompts = sum(stats.ttest_1samp(study.mean(0), 0).pvalue < 0.05 for study in studies)
    ours = sum(p_value(of_prompts(study)) < 0.05 for study in studies)
    assert over_prompts / TRIALS > 0.25
    assert ours / TRIALS <= allowed(0.05, TRIALS)


def test_a_difference_of_many_standard_errors_is_found():
    random = np.random.default_rng(1)
    found = sum(p_value(of_prompts(1.0 + layout(random, 5, 256, 0.05))) < 0.05 for _ in range(100))
    assert found == 100


def test_a_share_that_all_prompts_agree_on_is_not_certain():
    """Of 20 prompts, all won: the rule of three leaves about 3/20 open."""
    estimate = of_prompts(np.ones((1, 20)), share=1.0)
    assert 0.08 < half_width(estimate) < 0.2


def test_prompts_that_stand_on_several_rows_count_so_often():
    values = np.array([[1.0, 0.0, 0.0, 1.0, 0.0]])
    counts = np.array([3.0, 1.0, 1.0, 2.0, 1.0])
    assert of_prompts(values, counts).mean == pytest.approx(5 / 8)


def test_rows_of_one_prompt_are_one_piece_of_evidence():
    """Each of 30 prompts on four rows is no more certain than each on one."""
    values = np.random.default_rng(2).normal(size=(1, 30))
    assert half_width(of_prompts(values, np.full(30, 4.0))) == half_width(of_prompts(values, np.ones(30)))
