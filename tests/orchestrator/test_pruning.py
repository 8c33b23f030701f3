"""What a watch tells the pruner of the runs under way, and what becomes of what it decides."""

import dataclasses
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator import pruned
from orchestrator.pruning import Watch
from tests.contracts.small_runs import spec_in, until
from tests.fakes.pruners import Rule, ToldPruner
from trainers.files import write_json
from trainers.spec import RunResult, RunSpec

METRIC = "eval/reward_accuracy"


def report(spec: RunSpec, *values: tuple[int, float | None], at: float | None = None, metric: str = METRIC) -> None:
    with spec.folder.metrics.open("a") as file:
        for step, value in values:
            file.write(json.dumps({"step": step, "time": time.time() if at is None else at, metric: value}) + "\n")


def watching(pruner: ToldPruner, *under_way: RunSpec, known: Sequence[RunSpec] = ()) -> Watch:
    """A watch that looks when it is told to."""
    watch = Watch(pruner, METRIC, name="asha", poll_s=3600)
    watch.start(known)
    for spec in under_way:
        watch.begin(spec)
    return watch


def below(bound: float) -> Rule:
    return lambda run, step, value: not value >= bound


def test_what_a_run_reports_is_told_once_a_step_in_order(tmp_path: Path) -> None:
    spec, pruner = spec_in(tmp_path), ToldPruner()
    watch = watching(pruner, spec)
    report(spec, (10, 0.5))
    watch.look()
    report(spec, (20, 0.6), (20, 0.9), (30, 0.7))
    watch.look()
    watch.look()
    assert pruner.reports == [(spec.run_id, 10, 0.5), (spec.run_id, 20, 0.6), (spec.run_id, 30, 0.7)]
    watch.close()


def test_lines_without_the_metric_and_halves_of_lines_are_left_out(tmp_path: Path) -> None:
    spec, pruner = spec_in(tmp_path), ToldPruner()
    watch = watching(pruner, spec)
    report(spec, (10, 0.5), metric="train/loss")
    spec.folder.metrics.open("a").write('{"step": 20, "eval/rew')
    watch.look()
    assert pruner.reports == []
    spec.folder.metrics.open("a").write('ard_accuracy": 0.6}\nnonsense\n[]\n')
    watch.look()
    assert pruner.reports == [(spec.run_id, 20, 0.6)]
    watch.close()


def test_what_a_pruner_decides_is_written_with_its_reason(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    watch = watching(ToldPruner(below(0.6)), spec)
    report(spec, (10, 0.7), (20, 0.52), (30, 0.51))
    watch.look()
    assert pruned.decision(spec.folder) == pruned.Decision(20, f"{METRIC} 0.52 at step 20, by asha")
    watch.close()


def test_no_number_is_told_as_nan(tmp_path: Path) -> None:
    spec, pruner = spec_in(tmp_path), ToldPruner(below(0.6))
    watch = watching(pruner, spec)
    report(spec, (10, None))
    watch.look()
    assert math.isnan(pruner.reports[0][2])
    assert spec.folder.prune.exists()
    watch.close()


def test_a_file_that_was_written_anew_is_read_anew_and_no_step_is_told_twice(tmp_path: Path) -> None:
    """As where a run goes on from a checkpoint, and drops the lines of the steps after it."""
    spec, pruner = spec_in(tmp_path), ToldPruner()
    watch = watching(pruner, spec)
    report(spec, (10, 0.5), (20, 0.6))
    watch.look()
    beside = spec.folder.metrics.with_name("beside")
    beside.write_text(spec.folder.metrics.read_text().splitlines(keepends=True)[0])
    os.replace(beside, spec.folder.metrics)
    watch.look()
    report(spec, (20, 0.61), (30, 0.7))
    watch.look()
    assert [(step, value) for _, step, value in pruner.reports] == [(10, 0.5), (20, 0.6), (30, 0.7)]
    watch.close()


def test_what_a_run_reported_last_is_told_before_its_end(tmp_path: Path) -> None:
    spec, pruner = spec_in(tmp_path), ToldPruner(below(0.6))
    watch = watching(pruner, spec)
    report(spec, (10, 0.5))
    watch.end(spec, RunResult(spec.run_id, "completed", metrics={METRIC: 0.5}))
    assert pruner.heard == [f"{spec.run_id} 10", f"{spec.run_id} end"]
    assert pruner.ends == [(spec.run_id, "complete", 0.5)]
    assert not spec.folder.prune.exists()
    watch.close()


def test_a_run_that_was_cancelled_has_not_ended_for_the_pruner(tmp_path: Path) -> None:
    spec, pruner = spec_in(tmp_path), ToldPruner()
    watch = watching(pruner, spec)
    watch.end(spec, RunResult(spec.run_id, "cancelled"))
    assert pruner.ends == []
    watch.close()


def test_a_run_that_has_only_its_last_evaluation_left_is_not_pruned(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    watch = watching(ToldPruner(below(0.6)), spec)
    write_json(spec.folder.heartbeat, {"phase": "evaluating"})
    report(spec, (40, 0.5))
    watch.look()
    assert not spec.folder.prune.exists()
    assert watch.news() == []
    watch.close()


def test_a_decision_that_cannot_be_written_is_written_when_it_can(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    watch = watching(ToldPruner(below(0.6)), spec)
    report(spec, (40, 0.5))
    spec.folder.prune.mkdir()  # in the way of the file
    watch.look()
    spec.folder.prune.rmdir()
    watch.look()
    assert pruned.decision(spec.folder) is not None
    watch.close()


def test_a_pruner_that_raises_is_told_once_and_prunes_no_more(tmp_path: Path) -> None:
    def broken(run: str, step: int, value: float) -> bool:
        raise ZeroDivisionError("by zero")

    specs = [spec_in(tmp_path, trial) for trial in range(3)]
    watch = watching(ToldPruner(broken), *specs)
    for spec in specs:
        report(spec, (10, 0.5))
    watch.look()
    watch.end(specs[0], RunResult(specs[0].run_id, "completed"))
    assert watch.news() == ["asha has failed, and no more runs are pruned: ZeroDivisionError: by zero"]
    assert not any(spec.folder.prune.exists() for spec in specs)
    watch.close()


def test_what_was_reported_before_is_told_again_in_the_order_of_time(tmp_path: Path) -> None:
    """Ends too, and the rest once the runs go on."""
    first, second = spec_in(tmp_path, 0), spec_in(tmp_path, 1)
    report(first, (10, 0.5), at=100)
    report(second, (10, 0.6), at=110)
    report(first, (20, 0.7), at=120)
    RunResult(first.run_id, "completed", metrics={METRIC: 0.7}).write(first.folder)
    os.utime(first.folder.result, (130, 130))
    report(second, (20, 0.8), at=140)
    pruner = ToldPruner()
    watch = watching(pruner, second, known=[first, second])
    a, b = first.run_id, second.run_id
    assert pruner.heard == [f"{a} 10", f"{b} 10", f"{a} 20", f"{a} end", f"{b} 20"]
    report(second, (20, 0.8), (30, 0.9))
    watch.look()
    watch.end(first, RunResult(first.run_id, "completed", metrics={METRIC: 0.7}))
    assert pruner.heard[5:] == [f"{b} 30"]
    watch.close()


def test_a_run_that_would_be_pruned_by_what_it_reported_before_is(tmp_path: Path) -> None:
    """The controller may have been killed between the report and the decision."""
    spec, over = spec_in(tmp_path, 0), spec_in(tmp_path, 1)
    for each in (spec, over):
        report(each, (10, 0.5))
    RunResult(over.run_id, "completed", metrics={METRIC: 0.5}).write(over.folder)
    watching(ToldPruner(below(0.6)), known=[spec, over]).close()
    assert spec.folder.prune.exists()
    assert not over.folder.prune.exists()


def test_copies_of_other_runs_and_steps_are_nothing_to_the_pruner(tmp_path: Path) -> None:
    copy, step = spec_in(tmp_path, 0), dataclasses.replace(spec_in(tmp_path, 1), step="reference")
    RunResult(copy.run_id, "completed", metrics={METRIC: 0.5}, same_as="t0009").write(copy.folder)
    report(step, (1, 0.5))
    pruner = ToldPruner()
    watch = watching(pruner, known=[copy, step])
    watch.end(copy, RunResult(copy.run_id, "completed", same_as="t0009"))
    assert pruner.heard == []
    watch.close()


def test_a_run_that_goes_on_after_its_end_is_another_to_the_pruner(tmp_path: Path) -> None:
    """As one that had failed, and that a person asks for again."""
    spec, pruner = spec_in(tmp_path), ToldPruner()
    report(spec, (10, 0.5))
    RunResult(spec.run_id, "failed").write(spec.folder)
    watch = watching(pruner, spec, known=[spec])
    report(spec, (20, 0.6))
    watch.look()
    again = f"{spec.run_id}+"
    assert pruner.heard == [f"{spec.run_id} 10", f"{spec.run_id} end", f"{again} 10", f"{again} 20"]
    watch.close()


def test_a_watch_looks_by_itself_until_it_is_closed(tmp_path: Path) -> None:
    spec, pruner = spec_in(tmp_path), ToldPruner()
    watch = Watch(pruner, METRIC, poll_s=0.01)
    watch.start([])
    watch.begin(spec)
    report(spec, (10, 0.5))
    until(lambda: pruner.reports)
    watch.close()
    report(spec, (20, 0.5))
    time.sleep(0.05)
    assert len(pruner.reports) == 1
