"""What is told at the end of a search."""

import dataclasses
from pathlib import Path

from tests.fakes.instant import completes
from tests.fakes.small_search import SmallSearch
from trainers.spec import RunResult, RunSpec

BETA = "beta=tag(log,interval(0.005,1.0))"
RATE = "training.learning_rate=tag(log,interval(1e-4,1e-2))"


def line(summary: list[str], start: str) -> str:
    (found,) = [text for text in summary if text.startswith(start)]
    return found


def test_the_best_come_first_with_their_values(tmp_path: Path):
    search = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=4")
    summary = search.carry_out().summary
    best = max(search.specs(), key=lambda spec: float(str(spec.params["beta"])))
    beta = float(str(best.params["beta"]))
    assert summary[0] == f"best: trial {best.trial} (beta={beta:.4g}): eval/reward_accuracy {beta:.4g}"
    assert sum(text.startswith("then: ") for text in summary) == 2


def test_a_degenerate_policy_is_never_the_best(tmp_path: Path):
    def script(spec: RunSpec) -> RunResult:
        return dataclasses.replace(completes(spec), degenerate="repetition" if spec.params["beta"] == 1.0 else None)

    summary = SmallSearch.of(tmp_path, "beta=0.1,0.5,1.0", "sweeper=bruteforce").carry_out(script).summary
    assert summary[0].endswith("(beta=0.5): eval/reward_accuracy 0.5")
    assert not any("beta=1)" in text for text in summary)


def test_what_mattered_is_told_by_shares(tmp_path: Path):
    summary = SmallSearch.of(tmp_path, BETA, RATE, "sweeper=random", "n_trials=12").carry_out().summary
    assert line(summary, "what mattered").startswith("what mattered for eval/reward_accuracy: beta ")


def test_of_few_trials_it_is_said_that_nothing_can_be_told(tmp_path: Path):
    summary = SmallSearch.of(tmp_path, BETA, RATE, "sweeper=random", "n_trials=3").carry_out().summary
    assert line(summary, "what mattered") == "what mattered cannot be told of 3 complete trials: 4 are needed at least"


def test_of_one_key_nothing_is_told(tmp_path: Path):
    summary = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=5").carry_out().summary
    assert not any(text.startswith("what mattered") for text in summary)


def test_values_that_were_never_tried_are_named(tmp_path: Path):
    words = ("method=dpo,ipo,orpo", "epochs=1,2,3", "sweeper=random", "n_trials=2")
    search = SmallSearch.of(tmp_path, *words)
    summary = search.carry_out().summary
    tried = {spec.params["method"] for spec in search.specs()}
    never = line(summary, "never tried: ")
    assert all((method in never) != (method in tried) for method in ("dpo", "ipo", "orpo"))
    assert "2 of 9 points tried" in summary


def test_what_was_saved_is_told_against_whole_runs(tmp_path: Path):
    def script(spec: RunSpec) -> RunResult:
        status = "pruned" if spec.trial else "completed"
        return dataclasses.replace(completes(spec), status=status, steps=5 if spec.trial else 20)  # type: ignore[arg-type]

    words = (BETA, "sweeper=random", "n_trials=3", "pruner=asha", "training.max_steps=20")
    summary = SmallSearch.of(tmp_path, *words).carry_out(script).summary
    assert line(summary, "pruned: ") == "pruned: 2 of 3 runs; 30 of 60 steps trained (50%)"


def test_of_several_objectives_those_that_no_other_beats_are_told(tmp_path: Path):
    """Reward falls and KL falls with beta, but of the last trial, which is worse in both."""

    def script(spec: RunSpec) -> RunResult:
        beta = float(str(spec.params["beta"]))
        metrics = {"eval/reward": 1 - beta, "eval/kl": 1 - beta} if beta < 1 else {"eval/reward": -1.0, "eval/kl": 2.0}
        return dataclasses.replace(completes(spec), metrics=metrics)

    words = ("beta=0.1,0.5,1.0", "sweeper=bruteforce", "objective=frontier")
    summary = SmallSearch.of(tmp_path, *words).carry_out(script).summary
    assert summary[0] == "2 trials that no other beats (largest eval/reward against smallest eval/kl):"
    assert sorted(text.partition(" (")[2] for text in summary[1:3]) == [
        "beta=0.1): eval/reward 0.9, eval/kl 0.9", "beta=0.5): eval/reward 0.5, eval/kl 0.5",
    ]  # fmt: skip


def test_a_search_without_an_end_that_counts_has_no_best(tmp_path: Path):
    def script(spec: RunSpec) -> RunResult:
        return dataclasses.replace(completes(spec), metrics={})

    summary = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=2").carry_out(script).summary
    assert summary[0] == "no best: no trial has completed with a number for eval/reward_accuracy"
    assert not any(text.startswith(("best", "pruned")) for text in summary)


def test_the_command_that_opens_a_dashboard_is_said(tmp_path: Path):
    search = SmallSearch.of(tmp_path, BETA, "sweeper=random", "n_trials=1")
    assert search.carry_out().summary[-1] == f"look on: optuna-dashboard {search.folder.root}/optuna.journal"
