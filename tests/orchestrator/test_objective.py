"""Trials are compared by the mean of one metric over their seeds."""

import math

import pytest

from orchestrator.objective import Objective
from trainers.spec import RunResult

MAXIMISE = Objective("eval/reward_accuracy", "maximize")


def completed(value: float | None) -> RunResult:
    return RunResult("r", "completed", metrics={"eval/reward_accuracy": value})


def test_the_value_is_the_mean_over_seeds():
    assert MAXIMISE.values([completed(0.5), completed(0.7)]) == pytest.approx((0.6,))


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
    assert MAXIMISE.values(results) is None


def test_the_best_is_the_largest_or_the_smallest():
    points = {0: (0.2,), 1: None, 2: (0.8,), 3: (0.8,)}
    assert MAXIMISE.leaders(points) == {2, 3}
    assert Objective("eval/kl", "minimize").leaders(points) == {0}
    assert MAXIMISE.leaders({0: None}) == frozenset()


def test_of_several_metrics_the_best_are_those_that_none_beats_in_all():
    frontier = Objective.of({"eval/reward": "maximize", "eval/kl": "minimize"})
    points = {0: (1.0, 1.0), 1: (2.0, 5.0), 2: (1.5, 6.0), 3: (1.0, 1.0), 4: None, 5: (1.0, 2.0)}
    assert frontier.leaders(points) == {0, 1, 3}
    assert frontier.told() == "largest eval/reward against smallest eval/kl"


def test_a_trial_that_lacks_one_of_several_metrics_has_no_values():
    frontier = Objective.of({"eval/reward_accuracy": "maximize", "eval/kl": "minimize"})
    assert frontier.values([completed(0.5)]) is None
