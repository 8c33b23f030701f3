"""Reward over sqrt(KL): planted curves are found again, with their peaks."""

import math

import numpy as np
import pytest

from analysis.errors import BadQuestion
from analysis.statistics.overoptimisation import Form, OverOptimisation, fit_overoptimisation

KL = np.array([0.5, 2.0, 5.0, 10.0, 20.0, 40.0])


def fitted(form: Form, alpha: float, beta: float, noise: float = 0.0, kl: np.ndarray = KL) -> OverOptimisation:
    random, d = np.random.default_rng(0), np.sqrt(kl)
    gains = d * (alpha - beta * (d if form == "bon" else np.log(d)))
    gains = gains + noise * random.normal(size=len(kl))
    draws = gains[:, None] + max(noise, 0.01) * random.normal(size=(len(kl), 2000))
    return fit_overoptimisation(kl, gains, np.repeat(kl[:, None], 2000, axis=1), draws, form)


@pytest.mark.parametrize(
    ("form", "beta", "peak"), [("bon", 0.15, (1 / 0.3) ** 2), ("rl", 0.4, math.exp(1 / 0.4 - 1) ** 2)]
)
def test_the_planted_curve_and_its_peak_are_found(form: Form, beta: float, peak: float):
    found = fitted(form, 1.0, beta)
    assert found.alpha[0] == pytest.approx(1.0)
    assert found.beta[0] == pytest.approx(beta)
    assert found.explained == pytest.approx(1.0)
    assert found.peak_kl is not None
    assert found.peak_kl[0] == pytest.approx(peak)
    assert found.peak_kl[1] < peak < found.peak_kl[2]


def test_intervals_hold_what_was_planted_under_noise():
    found = fitted("bon", 1.0, 0.1, noise=0.1)
    assert found.alpha[1] < 1.0 < found.alpha[2]
    assert found.beta[1] < 0.1 < found.beta[2]


def test_a_gain_that_goes_on_rising_has_no_peak():
    assert fitted("bon", 1.0, -0.01).peak_kl is None


def test_a_peak_beyond_what_was_measured_is_not_told():
    assert fitted("bon", 1.0, 0.01).peak_kl is None


def test_the_curve_can_be_drawn():
    assert fitted("bon", 1.0, 0.1).gain(np.array([0.0, 25.0])) == pytest.approx([0.0, 5 * (1 - 0.5)])
    assert fitted("rl", 1.0, 0.4).gain(np.array([0.0])) == pytest.approx([0.0])


@pytest.mark.parametrize("kl", [[1.0, 2.0, 3.0], [0.0, 0.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]])
def test_four_policies_that_have_moved_are_needed(kl: list[float]):
    with pytest.raises(BadQuestion, match="4 policies at different KL"):
        fitted("bon", 1.0, 0.1, kl=np.array(kl))
