"""The closed forms themselves, against numbers worked out by hand and against the tables of the papers."""

import math

import numpy as np
import pytest

from tests.oracles import bandits, two_actions

UNIFORM = np.full(3, 1 / 3)


def wins(pairs: str) -> np.ndarray:
    """ "ab bc" -> a beat b, b beat c."""
    table = np.zeros((3, 3))
    for winner, loser in pairs.split():
        table["abc".index(winner), "abc".index(loser)] += 1
    return table


def test_dpo_moves_by_the_logit_of_the_wins_over_beta() -> None:
    """p = 0.8: logit = log 4; beta = 0.5 doubles it."""
    assert two_actions.dpo(0.8, 0.5, 1.0) == pytest.approx(1 + 2 * math.log(4))


def test_ipo_moves_by_at_most_half_the_inverse_of_tau() -> None:
    """p = 1, tau = 0.1: 1 / (2 * 0.1) = 5."""
    assert two_actions.ipo(1.0, 0.1, -2.0) == pytest.approx(3.0)


def test_orpo_without_its_odds_ratio_is_likelihood() -> None:
    assert two_actions.orpo(0.8, 1e-12) == pytest.approx(math.log(4))


def test_orpo_goes_towards_half_the_logit_as_lambda_grows() -> None:
    """lambda to infinity leaves sigmoid(2 s) = p: s = log(4) / 2."""
    assert two_actions.orpo(0.8, 1e9) == pytest.approx(math.log(4) / 2, abs=1e-6)


def test_simpo_without_a_margin_is_posterior() -> None:
    assert two_actions.simpo(0.8, 2.0, 0.0) == pytest.approx(two_actions.posterior(0.8, 2.0))


def test_a_minimum_is_found_where_there_is_a_closed_form() -> None:
    def dpo(chosen: float, rejected: float) -> float:
        return -two_actions.log_sigmoid(0.5 * (chosen - rejected))

    assert two_actions.minimum(0.8, dpo, -1.0) == pytest.approx(two_actions.dpo(0.8, 0.5, -1.0), abs=1e-5)
    assert two_actions.minimum(0.8, dpo) == pytest.approx(two_actions.posterior(0.8, 0.5), abs=1e-5)


def test_f_dpo_with_the_logarithm_is_dpo() -> None:
    assert two_actions.f_dpo(0.8, 0.5, -1.0, math.log) == pytest.approx(two_actions.dpo(0.8, 0.5, -1.0))


@pytest.mark.parametrize(
    ("pairs", "tau", "expected"),
    [
        pytest.param("ab bc ac", 0.1, (0.9644, 0.0344, 0.0012), id="D1-0.1"),
        pytest.param("ab bc ac", 0.5, (0.5627, 0.2889, 0.1483), id="D1-0.5"),
        pytest.param("ab bc ac", 1.0, (0.4484, 0.3213, 0.2302), id="D1-1"),
        pytest.param("ab bc ca", 0.1, (1 / 3, 1 / 3, 1 / 3), id="D2-0.1"),
        pytest.param("ab ba bc", 0.1, (0.4983, 0.4983, 0.0034), id="D3-0.1"),
        pytest.param("ab ba bc", 0.5, (0.4223, 0.4223, 0.1554), id="D3-0.5"),
        pytest.param("ab ba bc", 1.0, (0.3837, 0.3837, 0.2327), id="D3-1"),
    ],
)
def test_ipo_on_three_actions(pairs: str, tau: float, expected: tuple[float, ...]) -> None:
    found = bandits.policy(bandits.ipo(wins(pairs), tau), UNIFORM)
    assert found == pytest.approx(expected, abs=1e-4)


def test_dpo_on_a_circle_of_wins_stays_uniform() -> None:
    assert bandits.dpo(wins("ab bc ca"), 0.1) == pytest.approx(np.zeros(3), abs=1e-5)


def test_dpo_on_two_actions_is_dpo_on_two_actions() -> None:
    """a won four of five: the gap is log(4) / beta."""
    theta = bandits.dpo(np.array([[0.0, 4.0], [1.0, 0.0]]), 0.5)
    assert theta[0] - theta[1] == pytest.approx(two_actions.dpo(0.8, 0.5, 0.0))
