"""Wins by reward."""

import math

import pytest

from trainers.evaluation.wins import by_reward, win_rate


def test_the_larger_reward_wins_and_a_tie_is_a_half() -> None:
    assert by_reward([2.0, 1.0, 0.0], [1.0, 1.0, 1.0]) == [1.0, 0.5, 0.0]


def test_a_reward_that_is_not_known_decides_nothing() -> None:
    assert by_reward([None, 1.0], [1.0, None]) == [None, None]
    assert win_rate([None, 1.0, 0.5]) == (0.75, pytest.approx(0.25))
    assert all(math.isnan(value) for value in win_rate([None]))
