"""The difference of two settings: paired by prompt and seed where they can be."""

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.crossed import p_value
from analysis.statistics.samples import Sample, difference, spreads
from tests.analysis.statistics.drawn import allowed, layout, sample


def runs(values: list[float], first: int = 0) -> Sample:
    return Sample(tuple(range(first, first + len(values))), np.array(values))


def test_runs_of_the_same_seeds_are_paired():
    first, second = [1.0, 2.0, 4.0], [0.5, 1.0, 3.5]
    expected = stats.ttest_rel(first, second).pvalue
    assert p_value(difference(runs(first), runs(second))) == pytest.approx(expected, rel=1e-5)


def test_runs_of_other_seeds_are_welchs_test():
    first, second = [1.0, 2.0, 4.0], [0.5, 1.0, 3.5, 0.2]
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    # Its degrees of freedom are rounded down to a tenth.
    assert p_value(difference(runs(first), runs(second, first=10))) == pytest.approx(expected, rel=0.02)


def test_seeds_that_both_have_are_those_that_are_paired():
    first, second = runs([1.0, 2.0, 4.0, 90.0]), runs([0.5, 1.0, 3.5])
    assert difference(first, second).mean == pytest.approx(np.mean([0.5, 1.0, 0.5]))
    assert difference(first, second).seeds == 3


def test_prompts_are_matched_by_their_numbers():
    first = Sample((0,), np.zeros(1), np.array([[1.0, 2.0, 3.0]]), np.array([4, 7, 9]), np.ones(3))
    second = Sample((0,), np.zeros(1), np.array([[1.0, 2.5, 5.0]]), np.array([5, 7, 9]), np.ones(3))
    found = difference(first, second)
    assert found.prompts == 2
    assert found.mean == pytest.approx(((2.0 - 2.5) + (3.0 - 5.0)) / 2)


def test_a_prompt_that_a_run_was_not_rated_on_is_left_out():
    values = np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]])
    one = Sample((0, 1), np.zeros(2), values, np.arange(3), np.ones(3))
    whole = one.complete()
    assert whole is not None
    assert list(whole.prompts) == [0, 2]


def test_without_common_prompts_whole_runs_are_compared():
    first = Sample((0, 1), np.array([1.0, 2.0]), np.ones((2, 3)), np.array([0, 1, 2]), np.ones(3))
    second = Sample((0, 1), np.array([0.5, 1.0]), np.ones((2, 3)), np.array([7, 8, 9]), np.ones(3))
    found = difference(first, second)
    assert found.prompts == 0
    assert found.mean == pytest.approx(0.75)


def test_what_prompts_have_in_common_cancels_out():
    """Prompts differ by ten times as much as the two settings do, and still the difference is found."""
    random = np.random.default_rng(0)
    hard = 3 * random.normal(size=(1, 200))
    first, second = (sample(hard + shift + 0.3 * random.normal(size=(3, 200))) for shift in (0.3, 0.0))
    assert p_value(difference(first, second)) < 0.01
    assert p_value(difference(sample(first.values), sample(random.permuted(second.values, axis=1)))) > 0.01


@pytest.mark.parametrize("first_seed", [0, 10], ids=["same seeds", "other seeds"])
@pytest.mark.parametrize(
    ("seeds", "seed_sd"),
    [((1, 1), 0.0), *((seeds, sd) for seeds in ((2, 2), (3, 3), (3, 1), (2, 5)) for sd in (0.0, 0.2, 2.0))],
)
def test_equal_settings_are_told_apart_in_one_of_twenty_studies_at_most(
    seeds: tuple[int, int], seed_sd: float, first_seed: int
):
    random, trials = np.random.default_rng([*seeds, int(10 * seed_sd), first_seed]), 300
    rejected = 0
    for _ in range(trials):
        hard = random.normal(size=(1, 48))
        first = sample(hard + layout(random, seeds[0], 48, seed_sd, 0.5))
        second = sample(hard + layout(random, seeds[1], 48, seed_sd, 0.5), first_seed)
        rejected += p_value(difference(first, second)) < 0.05
    assert rejected / trials <= allowed(0.05, trials)


def test_one_run_is_taken_to_spread_as_those_of_the_other_side_do():
    random = np.random.default_rng(4)
    several, one = sample(layout(random, 4, 50, 1.0)), sample(layout(random, 1, 50, 1.0))
    found = difference(several, one)
    assert found.knows_seeds
    assert found.of_seeds == pytest.approx(several.runs.var(ddof=1) * (1 / 4 + 1))


def test_pooling_takes_the_spread_of_seeds_from_all_settings():
    """Three settings of two seeds, which go together in all but 1 of 2, 3 and 4 that they go up."""
    settings = [runs(values) for values in ([0.0, 2.0], [0.0, 4.0], [0.0, 3.0])]
    table = spreads(settings, alone=True)
    assert table.runs is not None
    assert table.pairs is not None
    assert (table.runs.variance, table.runs.df) == (pytest.approx((2 + 8 + 4.5) / 3), 3)
    # Differences of pairs go up by 2, 1 and 1: variances 2, 0.5, 0.5.
    assert (table.pairs.variance, table.pairs.df) == (pytest.approx(1), 2)
    found = difference(settings[0], settings[1], table)
    assert found.of_seeds == pytest.approx(1 / 2)
    assert found.seed_df == 2
    apart = difference(settings[0], runs([1.0, 5.0], first=10), table)
    assert apart.of_seeds == pytest.approx((2 + 8 + 4.5) / 3)


def test_what_pairs_show_together_is_the_residual_of_settings_and_seeds():
    """The two-way layout without prompts: its mean square for what is left has (C-1) (S-1) degrees of freedom."""
    values = np.random.default_rng(0).normal(size=(5, 3))
    table = spreads([runs(list(row)) for row in values])
    left = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
    assert table.pairs is not None
    assert table.pairs.variance == pytest.approx(2 * (left**2).sum() / 8)
    assert table.pairs.df == pytest.approx(8)
