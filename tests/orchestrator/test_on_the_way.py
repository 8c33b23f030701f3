"""What runs measure on their way, and what pruners are told of their length."""

import pytest

from orchestrator.config import Source, composer
from orchestrator.objective import Objective
from orchestrator.on_the_way import Preparing, judged_by, make_watch
from orchestrator.search_settings import PrunerSettings
from trainers.config import RUN_SECTIONS, RunConfig
from trainers.config_check import check
from trainers.errors import InvalidInput

ACCURACY = Objective("eval/reward_accuracy", "maximize")


def run(*overrides: str) -> RunConfig:
    """Of 40 steps."""
    with composer(Source()) as compose:
        config = compose.compose(["training.max_steps=40", *overrides]).sound()
    return check({key: config[key] for key in RUN_SECTIONS})


def prepared(config: RunConfig, objective: Objective = ACCURACY, **settings: object) -> RunConfig:
    return Preparing(PrunerSettings.model_validate({"kind": "asha", **settings}), objective).with_values(config)


def test_a_run_that_is_judged_by_its_steps_measures_eight_times():
    assert prepared(run()).evaluation.every == 5


def test_it_measures_as_often_as_is_said():
    assert prepared(run(), every=7).evaluation.every == 7
    assert prepared(run("evaluation.every=4")).evaluation.every == 4


def test_what_is_measured_of_answers_is_measured_with_answers():
    config = prepared(run(), Objective("eval/reward", "maximize")).evaluation
    assert (config.every, config.samples_every) == (run().evaluation.every, 5)


@pytest.mark.parametrize("kind", ["none", "wilcoxon"])
def test_a_run_that_is_not_judged_by_its_steps_stays_as_it_is(kind: str):
    config = run()
    assert prepared(config, kind=kind) is config


def test_what_training_reports_needs_no_measuring():
    config = run()
    assert prepared(config, Objective("train/loss", "minimize")) is config


def test_ladders_begin_at_the_first_value_and_hyperband_s_end_with_the_run():
    settings = PrunerSettings(kind="hyperband", arguments={"reduction_factor": 3})
    assert Preparing(settings, ACCURACY).arguments(run()) == {
        "reduction_factor": 3, "min_resource": 5, "max_resource": 40,
    }  # fmt: skip


def test_what_the_user_says_of_a_ladder_stands():
    settings = PrunerSettings(kind="asha", arguments={"min_resource": 10})
    assert Preparing(settings, ACCURACY).arguments(run()) == {"min_resource": 10}


def test_a_pruner_judges_by_one_of_the_objectives():
    both = Objective("eval/reward", "maximize", (Objective("eval/kl", "minimize"),))
    assert judged_by(PrunerSettings(kind="asha", metric="eval/kl"), both) == Objective("eval/kl", "minimize")
    assert judged_by(PrunerSettings(kind="asha"), both) == Objective("eval/reward", "maximize")
    with pytest.raises(InvalidInput, match=r"it must be one of the objective's \(eval/reward, eval/kl\)"):
        judged_by(PrunerSettings(kind="asha", metric="eval/win_rate"), both)


def test_only_pruners_by_steps_watch_runs():
    assert make_watch(PrunerSettings(kind="none"), ACCURACY, {}) is None
    assert make_watch(PrunerSettings(kind="wilcoxon"), ACCURACY, {}) is None
    watch = make_watch(PrunerSettings(kind="median"), ACCURACY, {})
    assert watch is not None
