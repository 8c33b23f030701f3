"""What was learnt: best trials, the Pareto set, importances."""

import math
import random

import pytest

from sweeps.dimensions import Choice, Real
from sweeps.insights import best, importances, pareto
from sweeps.space import Part, Space, When
from sweeps.types import Outcome, Trial

SPACE = Space({"beta": Real(0, 1), "noise": Real(0, 1), "one": Choice((1,))})


def told(*values: tuple[float, ...]) -> list[tuple[Trial, Outcome]]:
    return [(Trial(number, {"beta": number}), Outcome("complete", value)) for number, value in enumerate(values)]


def numbers(pairs: list[tuple[Trial, Outcome]]) -> list[int]:
    return [trial.number for trial, _ in pairs]


def test_the_best_come_first_and_of_equal_ones_the_earlier():
    trials = told((0.5,), (0.9,), (0.9,), (0.1,))
    assert numbers(best(trials, ["maximize"], 3)) == [1, 2, 0]
    assert numbers(best(trials, ["minimize"], 1)) == [3]


def test_what_did_not_complete_is_not_among_the_best():
    trials = [*told((math.nan,), (0.1,)), (Trial(2, {}), Outcome("fail")), (Trial(3, {}), Outcome("pruned"))]
    assert numbers(best(trials, ["maximize"], 9)) == [1]


def test_the_pareto_set_is_what_no_other_beats():
    """Reward up, KL down: (1, 1) and (2, 3) stand; (1, 2) and (2, 4) are beaten; a second (1, 1) is no worse."""
    trials = told((1, 1), (2, 3), (1, 2), (2, 4), (1, 1))
    assert numbers(pareto(trials, ["maximize", "minimize"])) == [0, 1, 4]


def test_the_key_that_matters_is_told():
    rng = random.Random(0)
    trials = []
    for number in range(60):
        params = {"beta": rng.random(), "noise": rng.random(), "one": 1}
        trials.append((Trial(number, params), Outcome("complete", (params["beta"] ** 2, -params["noise"]))))
    first, second = importances(SPACE, trials, ["maximize", "maximize"])
    assert list(first) == ["beta", "noise"]
    assert list(second) == ["noise", "beta"]
    assert sum(first.values()) == pytest.approx(1)


def test_importances_of_conditional_keys_are_told():
    rng = random.Random(0)
    space = Space(
        {"method": Choice(("dpo", "sft"))}, conditions=[When({"method": ["dpo"]}, Part({"beta": Real(0, 1)}))]
    )
    trials = []
    for number in range(40):
        params = space.sample(rng)
        trials.append((Trial(number, params), Outcome("complete", (float(params.get("beta", 0.2)),))))  # type: ignore[arg-type]
    assert set(importances(space, trials, ["maximize"])[0]) == {"method", "beta"}


@pytest.mark.parametrize(
    "values",
    [[], [1, 2, 3], [5.0] * 10, [math.nan] * 10],
    ids=["no trial", "three", "all alike", "none complete"],
)
def test_importances_are_not_made_up(values: list[float]):
    rng = random.Random(0)
    trials = [
        (Trial(number, {"beta": rng.random(), "noise": 0.5, "one": 1}), Outcome("complete", (value,)))
        for number, value in enumerate(values)
    ]
    assert importances(SPACE, trials, ["maximize"]) == [{}]


def test_trials_of_another_space_say_nothing_of_this_one():
    trials = [(Trial(n, {"beta": 5 + n, "noise": 0.5, "one": 1}), Outcome("complete", (n,))) for n in range(9)]
    assert importances(SPACE, trials, ["maximize"]) == [{}]
