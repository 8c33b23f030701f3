"""What a command searches, and what speaks against it, before anything runs."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator import search_plan
from orchestrator.config import Source
from orchestrator.errors import BadCommand
from orchestrator.plan import Plan, make_plan
from trainers.machine import Machine

pytestmark = pytest.mark.slow

LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)
BETA = "beta=tag(log,interval(0.005,1.0))"
RATE = "training.learning_rate=tag(log,interval(1e-4,1e-2))"


def plan(out: Path, *overrides: str, config_dir: Path | None = None) -> Plan:
    source = Source(config_dir=None if config_dir is None else str(config_dir))
    words = [*overrides, "tracking=disabled", f"output_root={out}"]
    return make_plan(words, sweep=True, source=source, machine=LAPTOP)


def faults(out: Path, *overrides: str) -> Sequence[str]:
    with pytest.raises(BadCommand) as caught:
        plan(out, *overrides)
    return caught.value.faults


def told(out: Path, *overrides: str) -> str:
    made = plan(out, *overrides)
    assert made.search is not None
    return "; ".join(search_plan.told(made.settings, made.search))


def test_a_range_without_a_sweeper_is_searched_with_tpe_and_said_so(tmp_path: Path):
    made = plan(tmp_path, BETA)
    assert made.settings.sweeper.kind == "tpe"
    assert any(
        text.startswith("beta: a range, which is searched with sweeper=tpe (or random,") for text in made.left_out
    )


def test_choices_without_a_sweeper_are_a_grid(tmp_path: Path):
    assert plan(tmp_path, "beta=0.1,0.5").search is None


def test_a_grid_over_a_range_is_at_fault_and_the_choices_are_named(tmp_path: Path):
    (fault,) = faults(tmp_path, BETA, "sweeper=grid")
    assert "a grid cannot sweep over a continuous range" in fault
    assert all(f"{name}" in fault for name in search_plan.SAMPLERS)


def test_a_sweeper_that_there_is_not_is_no_grid(tmp_path: Path):
    (fault,) = faults(tmp_path, BETA, "sweeper=tpee")
    assert fault.startswith("sweeper=tpee: no such option; did you mean tpe?")


@pytest.mark.parametrize("words", [["n_trials=2"], ["seeds_per_trial=3"], ["pruner=asha"]])
def test_what_a_grid_would_not_heed_is_at_fault(tmp_path: Path, words: list[str]):
    (fault,) = faults(tmp_path, "beta=0.1,0.5", *words)
    assert "a grid" in fault
    assert "sweeper=" in fault


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([BETA], "sweeper=tpe: 20 trials, for largest eval/reward_accuracy"),
        ([BETA, "n_trials=4", "seeds_per_trial=3"], "4 trials, 3 seeds each"),
        ([BETA, "seed=1,2"], "20 trials, 2 seeds each"),
        (
            [BETA, "timeout=5m"],
            "trials until the time is over, for largest eval/reward_accuracy; no new trial is begun",
        ),
        (["beta=0.1,0.5,1", "sweeper=random"], "3 trials of 3 points"),
        (["beta=0.1,0.5,1", "sweeper=random", "n_trials=1"], "1 trial of 3 points"),
        (["beta=0.1,0.5,1", "sweeper=bruteforce"], "3 trials of 3 points"),
        ([BETA, RATE, "sweeper=auto"], "sweeper=auto (gp): 20 trials"),
        (
            [BETA, "pruner=asha", "training.max_steps=40"],
            "pruner=asha, by eval/reward_accuracy (min_resource=5, reduction",
        ),
        ([BETA, "objective=frontier"], "for largest eval/reward against smallest eval/kl"),
    ],
)
def test_a_person_is_told_how_much_is_searched(tmp_path: Path, words: list[str], said: str):
    assert said in told(tmp_path, *words)


def test_seeds_are_counted_on_from_the_first(tmp_path: Path):
    made = plan(tmp_path, BETA, "seeds_per_trial=3", "seed=5")
    assert made.search is not None
    assert list(made.search.seeds) == [5, 6, 7]


def test_seeds_are_given_in_one_way(tmp_path: Path):
    assert list(faults(tmp_path, BETA, "seeds_per_trial=3", "seed=1,2")) == [
        "seeds_per_trial=3, and seed= names 2: give one of them"
    ]


@pytest.mark.parametrize(
    "words", [["n_trials=30"], ["timeout=1h"], ["sweeper=random"], ["pruner=asha"], ["max_parallel=1"]]
)
def test_how_and_how_long_is_no_part_of_what_is_searched(tmp_path: Path, words: list[str]):
    assert plan(tmp_path, BETA, *words).identity == plan(tmp_path, BETA).identity


@pytest.mark.parametrize("words", [["beta=interval(0.005,1.0)"], [BETA, "seed=0,1"], [BETA, "epochs=2"]])
def test_another_space_or_seed_is_another_study(tmp_path: Path, words: list[str]):
    assert plan(tmp_path, *words).identity != plan(tmp_path, BETA).identity


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["n_trials=0"], "n_trials: input should be greater than or equal to 1"),
        (["max_parallel=0"], "max_parallel: input should be greater than or equal to 1"),
        (["max_failure_rate=2"], "max_failure_rate: input should be less than or equal to 1"),
        (["timeout=0s"], "timeout: input should be greater than 0"),
        (["timeout=5x"], "a time is written as 90s, 30m, 8h or 2d"),
        (
            ["sweeper=tpe", "sweeper.arguments.n_startup=5"],
            "has no argument n_startup (did you mean n_startup_trials?)",
        ),
        (["sweeper=tpe", "sweeper.arguments.n_startup_trials=few"], "n_startup_trials='few' is no int"),
        (["sweeper=bruteforce"], "sampler bruteforce tries every point"),
        (["sweeper=cmaes", "objective=frontier"], "sampler cmaes takes one objective"),
        (["pruner=asha", "pruner.arguments.rungs=5"], "pruner asha has no argument rungs"),
        (["pruner=asha", "pruner.arguments.reduction_factor=1"], "must be `reduction_factor >= 2`"),
        (["pruner=median", "pruner.arguments.n_startup_trials=few"], "n_startup_trials='few' is no int"),
        (["pruner=asha", "pruner.metric=eval/kl"], "must be one of the objective's"),
        (["pruner=wilcoxon"], "give seeds_per_trial=5"),
        (["pruner=wilcoxon", "seeds_per_trial=3"], "can never tell"),
        (["objective.metric=eval/accuracy"], "no such metric"),
        (["start=run", "start.run={method:sft}", "method=dpo,sft"], "path of a finished run"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(tmp_path: Path, words: list[str], said: str):
    found = faults(tmp_path, BETA, *words)
    assert any(said in fault for fault in found), found


def test_arguments_of_a_sampler_are_given_by_their_names(tmp_path: Path):
    made = plan(
        tmp_path, BETA, "sweeper=tpe", "sweeper.arguments.n_startup_trials=3", "sweeper.arguments.multivariate=true"
    )
    assert made.settings.sweeper.arguments == {"n_startup_trials": 3, "multivariate": True}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([BETA, "objective.metric=train/rewards/margins"], "beta, which is swept: objective.metric=eval/margin_nats"),
        (["method=dpo,ipo", "sweeper=tpe", "objective.metric=train/loss"], "means something else for each method"),
    ],
)
def test_an_objective_that_a_swept_key_makes_meaningless_is_refused(tmp_path: Path, words: list[str], said: str):
    (fault,) = faults(tmp_path, *words)
    assert said in fault
    assert plan(tmp_path, *words, "objective.allow_incomparable=true").search is not None


def test_a_file_says_the_whole_of_a_mixed_search(tmp_path: Path):
    """Ranges, conditions, pairs, what is tried first, and what must hold, in one place."""
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mixed.yaml").write_text(
        """
# @package _global_
defaults:
  - override /sweeper: tpe
sweep:
  method: dpo,ipo,simpo
  beta: tag(log,interval(0.005,0.5))
search:
  when:
    - {if: {method: simpo}, sweep: {beta: "interval(2,10)", method.gamma: "interval(0,1.6)"}}
  zip:
    - {training.learning_rate: "1e-3,1e-4", training.batch_size: "8,4"}
  enqueue:
    - {method: dpo, beta: 0.1}
  constraints:
    - beta * training.learning_rate < 1e-2
"""
    )
    made = plan(tmp_path / "out", "+experiment=mixed", config_dir=tmp_path / "mine")
    assert made.search is not None
    space = made.search.searched.space
    rate = {"training.learning_rate": 1e-4, "training.batch_size": 4}
    assert space.contains({"method": "simpo", "beta": 4.0, "method.gamma": 0.8, **rate}) == []
    assert space.contains({"method": "dpo", "beta": 4.0, **rate})
    assert space.contains({"method": "dpo", "beta": 0.1, "method.gamma": 0.8, **rate})
    assert space.contains({"method": "dpo", "beta": 0.1, **rate, "training.batch_size": 8})
    assert list(space.enqueue) == [{"method": "dpo", "beta": 0.1}]
