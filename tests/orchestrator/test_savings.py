"""What pruning is said to have saved."""

from pathlib import Path

from orchestrator.savings import savings
from trainers.spec import RunResult, RunSpec


def spec(trial: int) -> RunSpec:
    return RunSpec("s", trial, 0, "dpo", {}, {}, f"{trial}".ljust(64, "0"), Path(), Path())


def test_steps_are_counted_against_those_of_whole_runs():
    """Two of four runs pruned at steps 10 and 20 of 40: 40 + 40 + 10 + 20 of 160."""
    specs = [spec(trial) for trial in range(4)]
    ends = [("completed", 40), ("completed", 40), ("pruned", 10), ("pruned", 20)]
    results = {
        run.run_id: RunResult(run.run_id, status, steps=steps) for run, (status, steps) in zip(specs, ends, strict=True)
    }  # type: ignore[arg-type]
    full = {run.run_id: 40 for run in specs}
    assert savings(specs, results, full) == "pruned: 2 of 4 runs; 110 of 160 steps trained (69 %)".replace(" %", "%")


def test_nothing_is_told_where_nothing_was_pruned():
    run = spec(0)
    assert savings([run], {run.run_id: RunResult(run.run_id, "completed", steps=40)}, {run.run_id: 40}) is None


def test_seeds_that_were_not_begun_count_as_mean_runs():
    run = spec(0)
    told = savings([run], {run.run_id: RunResult(run.run_id, "completed", steps=40)}, {run.run_id: 40}, unbegun=2)
    assert told == "pruned: 0 of 1 runs, and 2 further seeds not begun; 40 of 120 steps trained (33%)"


def test_runs_under_way_and_of_unknown_length_are_left_out():
    specs = [spec(trial) for trial in range(3)]
    results = {run.run_id: RunResult(run.run_id, "pruned", steps=10) for run in specs[:2]}
    assert savings(specs, results, {specs[0].run_id: 40}) == "pruned: 1 of 1 runs; 10 of 40 steps trained (25%)"
