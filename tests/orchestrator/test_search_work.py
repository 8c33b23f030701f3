"""A search that is put to work again: what it knows of its trials, and what it asks for next."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.search_work import JOURNAL
from sweeps.types import Outcome
from tests.fakes.instant import completes, fails
from tests.fakes.small_search import SmallSearch, killed_after
from trainers.spec import RunResult, RunSpec

pytestmark = pytest.mark.slow

BETA = "beta=tag(log,interval(0.005,1.0))"
RANDOM = ("sweeper=random", "n_trials=6")


def failing(*trials: int) -> object:
    return lambda spec: fails(spec) if spec.trial in trials else completes(spec)


def test_a_search_gives_as_many_trials_as_were_asked_for(tmp_path: Path):
    search = SmallSearch.of(tmp_path, BETA, *RANDOM)
    carried = search.carry_out()
    assert carried.trials == list(range(6))
    assert {number: outcome.values for number, outcome in carried.told.items()} == {
        spec.trial: (spec.params["beta"],) for spec in search.specs()
    }
    assert carried.left == "6 of 6 trials have ended"


@pytest.mark.parametrize("sweeper", ["random", "tpe", "qmc"])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, sweeper: str, after: int):
    words = ("method=dpo,ipo", BETA, f"sweeper={sweeper}", "n_trials=6")
    whole, broken = SmallSearch.of(tmp_path / "whole", *words), SmallSearch.of(tmp_path / "broken", *words)
    whole.carry_out()
    before = broken.carry_out(killed_after(after))
    again = broken.carry_out()
    assert [spec.params for spec in broken.specs()] == [spec.params for spec in whole.specs()]
    # The run that was under way is carried out again, no other.
    assert before.trials[:after] + again.trials == list(range(6))


def test_what_was_under_way_comes_first(tmp_path: Path):
    search = SmallSearch.of(tmp_path, BETA, *RANDOM)
    under_way = search.carry_out(killed_after(1), capacity=3).trials
    assert len(under_way) == 4
    over = [spec.trial for spec in search.specs() if (spec.folder.root / "result.json").exists()]
    again = search.carry_out().trials
    assert again == [number for number in under_way if number not in over] + [4, 5]


def test_a_trial_that_has_failed_is_learnt_from_and_not_tried_again(tmp_path: Path):
    search = SmallSearch.of(tmp_path, BETA, *RANDOM)
    search.carry_out(killed_after(4, failing(0, 1, 2)))  # type: ignore[arg-type]
    carried = search.carry_out()
    assert carried.trials == [4, 5]
    assert [carried.told[number].state for number in range(6)] == ["fail"] * 3 + ["complete"] * 3
    assert not any("fail" in text for text in carried.said)


def test_more_trials_may_be_asked_for_later(tmp_path: Path):
    search = SmallSearch.of(tmp_path, BETA, *RANDOM)
    search.carry_out()
    assert search.asking(n_trials=8).carry_out().trials == [6, 7]
    assert search.carry_out().trials == []


@pytest.mark.parametrize("damage", ["lost", "cut", "nonsense"])
def test_run_folders_are_the_truth_whatever_became_of_the_journal(tmp_path: Path, damage: str):
    search = SmallSearch.of(tmp_path, BETA, *RANDOM)
    search.carry_out(killed_after(4))
    journal = search.folder.root / JOURNAL
    if damage == "lost":
        journal.unlink()
    else:
        journal.write_bytes(journal.read_bytes()[:-20] + (b"" if damage == "cut" else b"\nnonsense\n"))
    carried = search.carry_out()
    assert carried.trials == [4, 5]
    assert len(carried.told) == 6


def test_a_trial_without_its_folder_is_handed_out_again(tmp_path: Path):
    """A controller may be killed between the two."""
    search = SmallSearch.of(tmp_path, BETA, *RANDOM)
    search.carry_out(killed_after(3))
    (last,) = [spec for spec in search.specs() if spec.trial == 3]
    last.folder.spec.unlink()
    assert search.carry_out().trials == [3, 4, 5]
    assert [spec.params for spec in search.specs()][3] == last.params


def test_a_race_that_was_lost_stays_lost(tmp_path: Path):
    """Later trials show a wider spread of seeds, by which it might have been given another."""
    values = {0: [0.70, 0.71, 0.72], 1: [0.69, 0.70, 0.71], 2: [0.4], 3: [0.7, 0.0, 0.5], 4: [0.71, 0.0, 1.0]}

    def race(spec: RunSpec) -> RunResult:
        value = values[spec.trial][spec.seed]
        return RunResult(spec.run_id, "completed", spec.params, {"eval/reward_accuracy": value}, steps=3)

    search = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=5", "seeds_per_trial=3")
    carried = search.carry_out(race)
    assert [carried.trials.count(number) for number in range(5)] == [3, 3, 1, 3, 3]
    # Of three steps, from which a sampler learns.
    assert carried.told[2] == Outcome("pruned", None, {3: 0.4})
    again = search.carry_out(race)
    assert (again.trials, again.told) == ([], carried.told)


def test_a_race_over_prompts_is_lost_with_one_seed_and_stays_lost(tmp_path: Path):
    def answers(spec: RunSpec) -> RunResult:
        lower = spec.trial == 1
        rows = [{"prompt": str(place), "reward": place / 10 - lower} for place in range(20)]
        spec.folder.evaluation.root.mkdir()
        spec.folder.evaluation.answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return RunResult(spec.run_id, "completed", spec.params, {"eval/reward": 0.95 - lower}, steps=3)

    words = ("pruner=wilcoxon", "pruner.arguments.over=prompts", "objective=reward", "seeds_per_trial=2")
    search = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=3", *words)
    carried = search.carry_out(answers)
    assert carried.trials == [0, 0, 1, 2, 2]
    assert [carried.told[number].state for number in range(3)] == ["complete", "pruned", "complete"]
    assert search.carry_out(answers).trials == []


def test_the_value_of_a_trial_is_the_mean_of_its_seeds_over_restarts(tmp_path: Path):
    search = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=2", "seeds_per_trial=3")
    search.carry_out(killed_after(1))
    carried = search.carry_out()
    assert carried.trials == [0, 0, 1, 1, 1]
    betas = {spec.trial: float(str(spec.params["beta"])) for spec in search.specs()}
    assert carried.told[0].values == (pytest.approx(betas[0] + 0.01),)


def test_a_space_that_changed_goes_on_with_the_trials_that_fit(tmp_path: Path):
    """beta from 0.05 on: smaller ones are left behind, and their numbers with them."""
    first = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=6")
    first.carry_out()
    small = {spec.trial for spec in first.specs() if float(str(spec.params["beta"])) < 0.05}
    assert 0 < len(small) < 6
    other = ("beta=tag(log,interval(0.05,1.0))", "sweeper=random", "n_trials=8", "search.adopt=true")
    carried = SmallSearch.of(tmp_path, *other).carry_out()
    assert set(carried.told) == set(range(6)) - small | set(range(6, 8 + len(small)))
    assert carried.trials == list(range(6, 8 + len(small)))


def test_configs_that_changed_since_are_told_of(tmp_path: Path):
    search = SmallSearch.of(tmp_path, BETA, *RANDOM)
    assert search.record.search is not None
    changed = search.asking(space={**search.record.search["space"], "constraints": ["beta < 0.5"]})
    with pytest.raises(OrchestratorError, match="another space than the study was made with"):
        changed.carry_out()


def test_too_many_failures_stop_it_with_the_reason(tmp_path: Path):
    carried = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=20").carry_out(fails)
    assert len(carried.trials) < 10
    assert any("max_failure_rate" in text for text in carried.said)
    assert carried.left == f"{len(carried.trials)} of 20 trials have ended"
