"""A curve through scores over strengths: its interval holds the planted optimum; beyond the range it says nothing."""

import numpy as np
import pytest

from analysis.errors import BadQuestion
from analysis.statistics.crossed import Floats
from analysis.statistics.curve import Curve, fit_curve

STRENGTHS = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.5])


def hump(strengths: Floats, best: float = 0.05) -> Floats:
    scores: Floats = 0.6 - 0.03 * np.log(strengths / best) ** 2
    return scores


def fitted(scores: Floats, error: float, seed: int = 0, strengths: Floats = STRENGTHS, **options: bool) -> Curve:
    random = np.random.default_rng(seed)
    draws = scores[:, None] + error * random.normal(size=(len(scores), 500))
    return fit_curve(strengths, scores, draws, seed=seed, **options)


def test_the_optimum_lies_in_its_interval_as_often_as_it_says():
    random, trials = np.random.default_rng(0), 60
    held = 0
    for trial in range(trials):
        curve = fitted(hump(STRENGTHS) + 0.01 * random.normal(size=6), 0.01, trial)
        held += curve.optimum_low <= 0.05 <= curve.optimum_high
    assert held / trials >= 0.87  # four standard errors below 0.95 would be 0.84


def test_the_band_holds_the_true_curve():
    curve = fitted(hump(STRENGTHS) + 0.01 * np.random.default_rng(7).normal(size=6), 0.01)
    truth = hump(curve.strengths)
    assert np.mean((truth >= curve.low) & (truth <= curve.high)) > 0.9


def test_an_optimum_between_two_strengths_is_found():
    curve = fitted(hump(STRENGTHS, 0.03), 0.002)
    assert curve.optimum == pytest.approx(0.03, rel=0.25)
    assert not curve.at_edge


def test_small_scores_can_be_the_good_ones():
    assert fitted(-hump(STRENGTHS, 0.03), 0.002, smallest=True).optimum == pytest.approx(0.03, rel=0.25)


def test_a_score_that_goes_on_rising_has_its_optimum_at_the_edge():
    curve = fitted(np.log(STRENGTHS) / 10, 0.01)
    assert curve.at_edge
    assert curve.optimum == pytest.approx(0.5)


def test_flat_scores_leave_the_optimum_open():
    curve = fitted(np.full(6, 0.5), 0.02)
    assert curve.optimum_high / curve.optimum_low > 20


def test_the_order_of_strengths_makes_no_difference():
    shuffled = np.array([3, 0, 5, 1, 4, 2])
    ours = fitted(hump(STRENGTHS), 0.01)
    theirs = fitted(hump(STRENGTHS)[shuffled], 0.01, strengths=STRENGTHS[shuffled])
    assert ours.optimum == pytest.approx(theirs.optimum)


def test_within_the_range_it_tells_a_score():
    mean, low, high = fitted(hump(STRENGTHS), 0.005).at(0.03)
    assert low < mean < high
    assert mean == pytest.approx(hump(np.array([0.03]))[0], abs=0.01)


@pytest.mark.parametrize("strength", [0.004, 0.6, 0.0])
def test_beyond_the_range_it_says_nothing(strength: float):
    with pytest.raises(BadQuestion, match=r"measured from 0\.005 to 0\.5"):
        fitted(hump(STRENGTHS), 0.005).at(strength)


@pytest.mark.parametrize("strengths", [[0.1, 0.2, 0.3], [0.1, 0.1, 0.2, 0.3], [0.0, 0.1, 0.2, 0.3]])
def test_three_strengths_are_too_few_and_zero_has_no_logarithm(strengths: list[float]):
    with pytest.raises(BadQuestion, match="4 different strengths above 0"):
        fitted(np.zeros(len(strengths)), 0.1, strengths=np.array(strengths))


def test_scores_whose_error_is_unknown_have_no_curve():
    with pytest.raises(BadQuestion, match="two seeds, or values by prompt"):
        fitted(hump(STRENGTHS), 0.0)
