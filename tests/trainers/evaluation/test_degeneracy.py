"""When a policy counts as degenerate, and why."""

import math
from typing import Any

import pytest

from trainers.evaluation.degeneracy import reason
from trainers.evaluation.repetition import repetition
from trainers.evaluation_config import Degenerate

BOUNDS = Degenerate(repetition=0.5, ended=0.1, kl_per_token=2.0, empty=0.5)
SOUND = {"eval/repetition": 0.1, "eval/ended": 1.0, "eval/kl_per_token": 0.5}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"eval/repetition": 0.6}, "repetition"),
        ({"eval/ended": 0.05}, "length"),
        ({"eval/kl_per_token": 2.1}, "kl"),
        ({"eval/kl_per_token": math.inf}, "kl"),
        ({"eval/kl_per_token": math.nan}, None),
        ({"eval/repetition": 0.9, "eval/ended": 0.0}, "repetition, length"),
    ],
)
def test_beyond_a_bound(changes: dict[str, float], why: str | None) -> None:
    assert reason(BOUNDS, SOUND | changes, ["a"], 1.0) == why


@pytest.mark.parametrize(("texts", "why"), [(["", " \n", "a"], "empty"), (["", "a"], None), ([""], "empty")])
def test_answers_that_say_nothing(texts: list[str], why: str | None) -> None:
    assert reason(BOUNDS, SOUND, texts, 1.0) == why


def test_a_policy_whose_start_did_not_end_either_has_not_run_away() -> None:
    assert reason(BOUNDS, SOUND | {"eval/ended": 0.0}, ["a"], 0.05) is None


def test_a_bound_of_null_is_left_out() -> None:
    values: dict[str, Any] = {"eval/repetition": 1.0, "eval/ended": 0.0, "eval/kl_per_token": 99.0}
    assert reason(Degenerate(), values, [""], 1.0) is None


def test_repetition_by_hand() -> None:
    """1 2 1 2 1 2 1 2 has five 4-grams, of which two differ."""
    assert repetition([1, 2] * 4) == pytest.approx(0.6)
    assert repetition([1, 2, 3, 4, 5]) == 0.0
    assert repetition([7] * 100) == pytest.approx(1 - 1 / 97)


@pytest.mark.parametrize("ids", [[], [1], [1, 1, 1]])
def test_what_is_too_short_repeats_nothing(ids: list[int]) -> None:
    assert repetition(ids) == 0.0
