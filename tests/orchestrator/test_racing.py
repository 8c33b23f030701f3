"""Which trials are given further seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from orchestrator.objective import Objective
from orchestrator.racing import Racing, ReadValues, make_racing, wilcoxon_faults
from orchestrator.search_settings import PrunerSettings
from sweeps.errors import SamplerError
from sweeps.types import Trial
from trainers.spec import RunResult

METRIC = "eval/reward_accuracy"
UP = Objective(METRIC, "maximize")
NONE, WILCOXON = PrunerSettings(kind="none"), PrunerSettings(kind="wilcoxon", arguments={"p_threshold": 0.1})


def unread(run_id: str, metric: str) -> dict[str, float]:
    raise AssertionError


def ended(trial: int, values: Sequence[float]) -> list[RunResult]:
    return [
        RunResult(f"t{trial:04d}-s{seed}-{trial:08x}", "completed", metrics={METRIC: value})
        for seed, value in enumerate(values)
    ]


def carried_out(racing: Racing, *trials: Sequence[float]) -> Racing:
    """Trials that were given all their seeds, one after the other, as a study does."""
    for number, values in enumerate(trials):
        for seeds in range(1, len(values) + 1):
            racing.enough(Trial(number, {}), ended(number, values[:seeds]))
    return racing


def test_a_trial_far_behind_gets_no_second_seed():
    racing = carried_out(make_racing(NONE, UP, [0, 1, 2], unread), [0.70, 0.71, 0.72], [0.69, 0.70, 0.71])
    assert racing.enough(Trial(2, {}), ended(2, [0.40]))
    assert not racing.enough(Trial(3, {}), ended(3, [0.71]))


def test_smaller_may_be_better():
    racing = carried_out(
        make_racing(NONE, Objective(METRIC, "minimize"), [0, 1, 2], unread), [0.70, 0.71, 0.72], [0.69, 0.70, 0.71]
    )
    assert not racing.enough(Trial(2, {}), ended(2, [0.40]))


def test_what_earlier_controllers_saw_counts():
    racing = make_racing(NONE, UP, [0, 1, 2], unread)
    for number, values in enumerate(([0.70, 0.71, 0.72], [0.69, 0.70, 0.71])):
        racing.learn(Trial(number, {}), ended(number, values))
    assert racing.enough(Trial(2, {}), ended(2, [0.40]))


def test_under_several_objectives_every_trial_gets_all_its_seeds():
    both = Objective(METRIC, "maximize", (Objective("eval/kl", "minimize"),))
    racing = carried_out(make_racing(NONE, both, [0, 1, 2], unread), [0.70, 0.71, 0.72], [0.69, 0.70, 0.71])
    assert not racing.enough(Trial(2, {}), ended(2, [0.40]))


def test_a_failed_seed_is_no_value():
    racing = make_racing(NONE, UP, [0, 1, 2], unread)
    assert not racing.enough(Trial(0, {}), [RunResult("t0000-s0-00000000", "failed", error="it broke")])


def test_wilcoxon_ends_a_trial_that_is_worse_seed_by_seed():
    best = [0.80 + seed / 100 for seed in range(6)]
    racing = carried_out(make_racing(WILCOXON, UP, range(6), unread), best)
    worse = [value - 0.1 - place / 1000 for place, value in enumerate(best)]
    found = [racing.enough(Trial(1, {}), ended(1, worse[:seeds])) for seeds in range(1, 6)]
    assert found == [False, False, False, True, True]  # p = 1/2, 1/4, 1/8, 1/16
    assert not racing.enough(Trial(2, {}), ended(2, [value + 0.1 for value in best[:5]]))


def prompts(worse_by: Mapping[int, float]) -> ReadValues:
    """By trial, how much lower each of its 40 prompts is."""

    def read(run_id: str, metric: str) -> dict[str, float]:
        assert metric == METRIC
        return {str(place): 0.5 + place / 100 - worse_by[int(run_id[1:5])] for place in range(40)}

    return read


def test_over_prompts_one_seed_is_enough_to_tell():
    settings = PrunerSettings(kind="wilcoxon", arguments={"p_threshold": 0.01, "over": "prompts"})
    racing = make_racing(settings, UP, [0, 1], prompts({0: 0.0, 1: 0.1, 2: -0.1, 3: 0.0}))
    assert not racing.enough(Trial(1, {}), ended(1, [0.6]))  # nobody has all seeds
    carried_out(racing, [0.70, 0.70])
    assert [racing.enough(Trial(number, {}), ended(number, [0.6])) for number in (1, 2, 3)] == [True, False, False]


def test_prompts_that_cannot_be_read_end_nothing():
    settings = PrunerSettings(kind="wilcoxon", arguments={"over": "prompts"})
    racing = carried_out(make_racing(settings, UP, [0, 1], lambda run_id, metric: {}), [0.70, 0.70])
    assert not racing.enough(Trial(1, {}), ended(1, [0.1]))


@pytest.mark.parametrize(
    ("arguments", "metric", "seeds", "said"),
    [
        ({}, METRIC, 1, "give seeds_per_trial=5"),
        ({"p_threshold": 0.1}, METRIC, 4, "4 seeds of a trial can never tell with p < 0.1: give seeds_per_trial=5"),
        ({"p_threshold": 0.05}, METRIC, 5, "give seeds_per_trial=6"),
        ({"over": "prompts"}, "eval/margin_nats", 2, "eval/margin_nats has no value for each prompt"),
    ],
)
def test_a_race_that_never_ends_a_trial_is_at_fault(arguments: dict[str, Any], metric: str, seeds: int, said: str):
    settings = PrunerSettings(kind="wilcoxon", arguments=arguments)
    (fault,) = wilcoxon_faults(settings, Objective(metric, "maximize"), seeds)
    assert said in fault


def test_a_race_that_can_end_a_trial_is_not():
    settings = PrunerSettings(kind="wilcoxon", arguments={"p_threshold": 0.1})
    assert list(wilcoxon_faults(settings, UP, 5)) == []


@pytest.mark.parametrize("arguments", [{"over": "models"}, {"level": 0.1}, {"p_threshold": 2}])
def test_arguments_that_there_are_not_are_refused(arguments: dict[str, Any]):
    with pytest.raises(SamplerError):
        list(wilcoxon_faults(PrunerSettings(kind="wilcoxon", arguments=arguments), UP, 5))
