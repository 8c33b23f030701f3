"""Wins by reward."""

import math

import pytest

from trainers.evaluation import length_controlled
from trainers.evaluation.wins import by_reward, names, rates, win_rate
from trainers.samples import Sample


def test_the_larger_reward_wins_and_a_tie_is_a_half() -> None:
    assert by_reward([2.0, 1.0, 0.0], [1.0, 1.0, 1.0]) == [1.0, 0.5, 0.0]


def test_a_reward_that_is_not_known_decides_nothing() -> None:
    assert by_reward([None, 1.0], [1.0, None]) == [None, None]
    assert win_rate([None, 1.0, 0.5]) == (0.75, pytest.approx(0.25))
    assert all(math.isnan(value) for value in win_rate([None]))


def test_rates_are_by_length_in_characters_too() -> None:
    def said(*texts: str) -> list[Sample]:
        return [Sample([1], text, 0.0, True) for text in texts]

    wins = [1.0, 1.0, 0.0, 1.0]
    own, others = said("aaaa", "aaa", "a", "aaaaa"), said("a", "aa", "aa", "aaa")
    found = rates("win_rate", wins, own, others)
    assert tuple(found) == names("win_rate")
    assert found["eval/win_rate"] == 0.75
    controlled = length_controlled.win_rate(wins, [4, 3, 1, 5], [1, 2, 2, 3])
    assert (found["eval/win_rate_lc"], found["eval/win_rate_lc_se"]) == controlled


def test_without_an_opponents_answers_there_is_no_rate() -> None:
    assert all(math.isnan(value) for value in rates("judge_win_rate", [None], [], None).values())
