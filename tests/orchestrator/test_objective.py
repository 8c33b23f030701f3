"""Trials are compared by the mean of one metric over their seeds."""

import math

import pytest

from orchestrator.objective import Objective, mean
from trainers.spec import RunResult

MAXIMISE = Objective("eval/reward_accuracy", "maximize")


def completed(value: float | None) -> RunResult:
    return RunResult("r", "completed", metrics={"eval/reward_accuracy": value})


def test_the_value_is_the_mean_over_seeds():
    assert MAXIMISE.value([completed(0.5), completed(0.7)]) == pytest.approx(0.6)


@pytest.mark.parametrize(
    "results",
    [
        [],
        [completed(0.5), RunResult("r", "failed")],
        [completed(0.5), completed(None)],
        [completed(math.nan)],
        [RunResult("r", "completed")],
    ],
    ids=["no seed", "a failed seed", "a null", "a NaN", "no such metric"],
)
def test_a_trial_with_a_gap_has_no_value(results: list[RunResult]):
    assert MAXIMISE.value(results) is None


def test_the_best_is_the_largest_or_the_smallest():
    values = [0.2, None, 0.8]
    assert MAXIMISE.best(values) == 0.8
    assert Objective("eval/kl", "minimize").best(values) == 0.2
    assert MAXIMISE.best([None]) is None


def test_a_mean_of_nothing_is_none():
    assert mean([]) is None
