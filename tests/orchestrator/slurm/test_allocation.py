"""What goes on inside one job, with real processes for its runs and a scheduler that says what the test wants."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ledger, retries
from orchestrator.attempts import alone_in, count_attempt
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.allocation import NO_BATCH, Task, main, noting
from orchestrator.launchers.slurm.batches import Allocation, Batch, TaskNote
from orchestrator.launchers.slurm.place import Why
from tests.contracts.small_runs import spec_in, until
from tests.orchestrator.slurm.targets import HERE
from trainers.spec import Cause, RunResult, RunSpec

LIMITS = {
    "node_failure": 5,
    "preempted": 5,
    "time_limit": 5,
    "out_of_memory": 3,
    "disk_full": 5,
    "killed": 2,
    "lost": 3,
}
TRAINING = {"training": {"batch_size": 8, "gradient_accumulation": 1}, "evaluation": {"batch_size": 8}}
AT_THE_LIMIT = Why("time_limit", come_back=True)
QUEUED_AGAIN = 77


@dataclasses.dataclass
class FakePlace:
    """Where the job is, and what its scheduler says."""

    why: Why = AT_THE_LIMIT
    earlier: Cause = "node_failure"
    may_come_back: bool = True
    job_id: str = "17_0"
    task: int = 0
    node_rank: int = 0
    first_host: str = "127.0.0.1"
    restarts: int = 0
    exit_code: int = QUEUED_AGAIN
    asked_why: int = 0
    asked_earlier: int = 0
    queued_again: int = 0

    def why_signalled(self, grace_s: float) -> Why:
        self.asked_why += 1
        return self.why

    def earlier_end(self) -> Cause:
        self.asked_earlier += 1
        return self.earlier

    def queue_again(self) -> bool:
        self.queued_again += 1
        return self.may_come_back


@pytest.fixture(autouse=True)
def in_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job's program sets it for its runs."""
    monkeypatch.setenv(ledger.JOB, "17_0")


def specs_that(study: Path, *does: str, config: dict[str, Any] = TRAINING) -> list[RunSpec]:
    """A run for each word."""
    made = [
        dataclasses.replace(spec_in(study, trial), params={"does": word}, config=config)
        for trial, word in enumerate(does)
    ]
    for spec in made:
        spec.write()
    return made


def batch_of(study: Path, specs: list[RunSpec], **changes: Any) -> Batch:
    given: dict[str, Any] = {"runs_at_a_time": 1, "threads": 1, "gpus": 0, "ranks": 1, "nodes": 1, "grace_s": 10.0}
    given |= {"requeue": True, "limits": LIMITS, "more_memory": None, "preload": [HERE], "target": f"{HERE}:as_told"}
    allocation = Allocation(**{**given, **changes})
    return batches.create(study, "s", [[spec.run_id for spec in specs]], {}, allocation)


@contextlib.contextmanager
def signalled_when(task: Task, condition: Callable[[], object]) -> Iterator[None]:
    """The job gets its signal as soon as the condition holds."""

    def watch() -> None:
        until(condition, 15)
        task.signalled()

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()


def under_way(*specs: RunSpec) -> Callable[[], bool]:
    return lambda: all(spec.folder.metrics.exists() for spec in specs)


def results(specs: list[RunSpec]) -> list[RunResult]:
    found = [RunResult.read(spec.folder) for spec in specs]
    assert None not in found
    return found  # type: ignore[return-value]


def begun(study: Path) -> list[int]:
    """The trials of which an attempt was begun, in order."""
    path = study / "begun"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def note_of(batch: Batch) -> TaskNote:
    note = TaskNote.read(batch.task(0))
    assert note is not None
    return note


def test_the_runs_of_a_job_are_carried_out_one_after_another(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing", "three_steps", "nothing")
    batch = batch_of(tmp_path, specs)
    task = Task(batch, FakePlace())
    assert task.carry_out() == 0
    assert [result.status for result in results(specs)] == ["completed"] * 3
    assert begun(tmp_path) == [0, 1, 2]
    assert task.over() == [spec.run_id for spec in specs]
    assert (note_of(batch).state, list(note_of(batch).over)) == ("over", task.over())


def test_runs_go_on_side_by_side_with_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
    specs = specs_that(tmp_path, "tells_its_gpu", "tells_its_gpu")
    assert Task(batch_of(tmp_path, specs, gpus=1, runs_at_a_time=2), FakePlace()).carry_out() == 0
    assert {(spec.run_dir / "gpu").read_text() for spec in specs} == {"4", "6"}


def test_a_run_that_has_completed_elsewhere_is_not_begun(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing", "nothing")
    RunResult(specs[0].run_id, "completed").write(specs[0].folder)
    assert Task(batch_of(tmp_path, specs), FakePlace()).carry_out() == 0
    assert begun(tmp_path) == [1]


def test_a_run_out_of_memory_is_tried_again_with_half_the_micro_batch(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "fills_memory")
    assert Task(batch_of(tmp_path, specs), FakePlace()).carry_out() == 0
    (result,) = results(specs)
    assert (result.status, result.attempts) == ("completed", 3)
    assert retries.adjusted(specs[0]).config["training"] == {"batch_size": 2, "gradient_accumulation": 4}
    assert ledger.causes(specs[0].folder) == {"out_of_memory": 2}


def test_a_run_that_needs_a_job_with_more_memory_is_left_to_the_controller(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "fills_memory")
    batch = batch_of(tmp_path, specs, more_memory=1.5)
    assert Task(batch, FakePlace()).carry_out() == 1
    (result,) = results(specs)
    assert (result.status, result.cause, result.attempts) == ("failed", "out_of_memory", 1)
    assert list(note_of(batch).over) == [specs[0].run_id]


def test_a_run_that_is_killed_is_tried_again(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "killed_once")
    assert Task(batch_of(tmp_path, specs), FakePlace()).carry_out() == 0
    assert [(result.status, result.attempts) for result in results(specs)] == [("completed", 2)]


def test_a_run_that_is_killed_too_often_has_failed(tmp_path: Path) -> None:
    """Two retries are allowed."""
    specs = specs_that(tmp_path, "killed_always", "nothing")
    assert Task(batch_of(tmp_path, specs), FakePlace()).carry_out() == 1
    bad, good = results(specs)
    assert (bad.status, bad.cause, bad.attempts) == ("failed", "killed", 3)
    assert good.status == "completed"


def test_a_run_that_errs_is_not_tried_again(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "raises", "nothing")
    assert Task(batch_of(tmp_path, specs), FakePlace()).carry_out() == 1
    bad, good = results(specs)
    assert (bad.status, bad.cause, bad.attempts) == ("failed", "error", 1)
    assert good.status == "completed"


def test_a_run_whose_spec_is_gone_does_not_end_the_others(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing", "nothing")
    specs[0].folder.spec.unlink()
    batch = batch_of(tmp_path, specs)
    assert Task(batch, FakePlace()).carry_out() == 1
    assert begun(tmp_path) == [1]
    assert list(note_of(batch).over) == [spec.run_id for spec in specs]


def test_at_a_signal_runs_are_saved_and_the_job_goes_back_into_the_queue(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "until_stopped", "until_stopped")
    batch, place = batch_of(tmp_path, specs), FakePlace()
    task = Task(batch, place)
    with signalled_when(task, under_way(specs[0])):
        assert task.carry_out() == QUEUED_AGAIN
    (result,) = results(specs[:1])
    assert (result.status, result.cause) == ("cancelled", "time_limit")
    assert result.steps > 0
    assert begun(tmp_path) == [0]
    assert (place.queued_again, place.asked_why) == (1, 1)
    note = note_of(batch)
    assert (note.state, note.cause, list(note.over)) == ("requeued", "time_limit", [])


def test_a_job_that_slurm_has_queued_again_already_only_ends(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "until_stopped")
    place = FakePlace(Why("preempted"))
    task = Task(batch_of(tmp_path, specs), place)
    with signalled_when(task, under_way(*specs)):
        assert task.carry_out() == 0
    assert place.queued_again == 0
    assert results(specs)[0].cause == "preempted"


@pytest.mark.parametrize("requeue", [True, False])
def test_a_job_that_cannot_go_back_into_the_queue_is_over(tmp_path: Path, requeue: bool) -> None:
    """Slurm does not let it, or the user does not."""
    specs = specs_that(tmp_path, "until_stopped")
    batch, place = batch_of(tmp_path, specs, requeue=requeue), FakePlace(may_come_back=False)
    task = Task(batch, place)
    with signalled_when(task, under_way(*specs)):
        assert task.carry_out() == 1
    assert place.queued_again == int(requeue)
    assert (note_of(batch).state, note_of(batch).cause) == ("over", "time_limit")


def test_a_job_that_somebody_cancelled_does_not_come_back(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "until_stopped")
    batch, place = batch_of(tmp_path, specs), FakePlace(Why(None))
    task = Task(batch, place)
    with signalled_when(task, under_way(*specs)):
        task.carry_out()
    assert place.queued_again == 0
    assert note_of(batch).state == "over"
    assert (results(specs)[0].status, results(specs)[0].cause) == ("cancelled", None)


def test_a_job_whose_run_was_saved_and_not_completed_does_not_exit_0(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "until_stopped")
    task = Task(batch_of(tmp_path, specs), FakePlace(Why(None)))
    with signalled_when(task, under_way(*specs)):
        assert task.carry_out() == 1


def test_a_batch_that_is_not_wanted_back_is_cancelled_whatever_slurm_says(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "until_stopped", "nothing")
    batch, place = batch_of(tmp_path, specs), FakePlace()
    task = Task(batch, place)

    def stopped() -> bool:
        if under_way(specs[0])():
            batches.touch(batch.stop)
        return batch.stop.exists()

    with signalled_when(task, stopped):
        assert task.carry_out() == 1
    assert (place.queued_again, place.asked_why) == (0, 0)
    assert begun(tmp_path) == [0]
    assert (results(specs[:1])[0].status, results(specs[:1])[0].cause) == ("cancelled", None)
    assert list(note_of(batch).over) == [specs[0].run_id]


def test_a_signal_before_anything_has_begun_begins_nothing(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing")
    place = FakePlace()
    task = Task(batch_of(tmp_path, specs), place)
    task.signalled()
    assert task.carry_out() == QUEUED_AGAIN
    assert begun(tmp_path) == []
    assert ledger.causes(specs[0].folder) == {"time_limit": 1}, "or it could go on like this for ever"


def test_a_run_that_completes_although_it_is_told_to_end_has_completed(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "brief")
    place = FakePlace()
    task = Task(batch_of(tmp_path, specs), place)
    with signalled_when(task, under_way(*specs)):
        assert task.carry_out() == 0
    assert results(specs)[0].status == "completed"
    assert place.queued_again == 0


def test_a_run_that_does_not_stop_in_time_is_killed_and_goes_on_later(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "deaf")
    place = FakePlace()
    task = Task(batch_of(tmp_path, specs, grace_s=0.3), place)
    with signalled_when(task, under_way(*specs)):
        assert task.carry_out() == QUEUED_AGAIN
    assert (results(specs)[0].status, results(specs)[0].cause) == ("cancelled", "time_limit")
    assert ledger.causes(specs[0].folder) == {"time_limit": 1}


def test_a_run_that_the_limit_ended_too_often_has_failed(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "until_stopped")
    place = FakePlace()
    task = Task(batch_of(tmp_path, specs, limits={**LIMITS, "time_limit": 0}), place)
    with signalled_when(task, under_way(*specs)):
        assert task.carry_out() == 1
    (result,) = results(specs)
    assert (result.status, result.cause) == ("failed", "time_limit")
    assert "limit of launcher.retries" in str(result.error)
    assert place.queued_again == 0


def test_a_run_that_fills_its_memory_while_it_is_told_to_end_comes_back_with_half_the_micro_batch(
    tmp_path: Path,
) -> None:
    specs = specs_that(tmp_path, "fills_memory_when_stopped")
    task = Task(batch_of(tmp_path, specs), FakePlace())
    with signalled_when(task, under_way(*specs)):
        assert task.carry_out() == QUEUED_AGAIN
    assert retries.adjusted(specs[0]).config["training"]["batch_size"] == 4


def test_a_stop_that_came_before_a_run_began_is_obeyed(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing", "nothing")
    specs[0].folder.stop.touch()
    batch = batch_of(tmp_path, specs)
    assert Task(batch, FakePlace()).carry_out() == 1
    assert [result.status for result in results(specs)] == ["cancelled", "completed"]
    assert begun(tmp_path) == [1]
    assert len(note_of(batch).over) == 2


def test_a_job_that_is_not_wanted_any_more_begins_nothing(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing", "nothing")
    batch = batch_of(tmp_path, specs)
    batches.touch(batch.stop)
    assert Task(batch, FakePlace()).carry_out() == 1
    assert begun(tmp_path) == []
    assert [result.status for result in results(specs)] == ["cancelled"] * 2


# A job that was queued again


def saved_by_signal(batch: Batch, last: RunSpec, **place: Any) -> None:
    """The job's first life: until a signal comes while this run is under way."""
    task = Task(batch, FakePlace(**place))
    with signalled_when(task, under_way(last)):
        assert task.carry_out() == QUEUED_AGAIN


def lives_on(batch: Batch, **place: Any) -> tuple[int, list[int], FakePlace]:
    """Its next life, in which runs only do what ends by itself: exit code, trials begun, and its place."""
    (batch.study / "begun").unlink(missing_ok=True)
    for run_id in batch.tasks[0]:
        spec = RunSpec.read(batch.run_dir(run_id))
        if spec.params["does"] == "until_stopped":
            dataclasses.replace(spec, params={"does": "nothing"}).write()
    here = FakePlace(restarts=1, **place)
    return Task(batch, here).carry_out(), begun(batch.study), here


def test_a_job_queued_again_goes_on_with_what_was_not_done(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing", "until_stopped", "nothing")
    batch = batch_of(tmp_path, specs)
    saved_by_signal(batch, specs[1])
    assert lives_on(batch)[:2] == (0, [1, 2])
    assert [result.status for result in results(specs)] == ["completed"] * 3
    assert results(specs)[1].attempts == 2


def test_a_job_queued_again_does_not_repeat_what_failed_for_good(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "raises", "until_stopped")
    batch = batch_of(tmp_path, specs)
    saved_by_signal(batch, specs[1])
    assert lives_on(batch)[:2] == (1, [1])
    assert (results(specs)[0].error, results(specs)[0].attempts) == ("ValueError: no such thing", 1)


def test_a_job_queued_again_does_not_repeat_what_it_gave_back_to_the_controller(tmp_path: Path) -> None:
    """Which has submitted it to a job with more memory by now."""
    specs = specs_that(tmp_path, "fills_memory", "until_stopped")
    batch = batch_of(tmp_path, specs, more_memory=1.5)
    saved_by_signal(batch, specs[1])
    assert lives_on(batch)[1] == [1]


def test_a_job_queued_again_does_not_repeat_what_was_pruned(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "prunes_itself", "until_stopped")
    batch = batch_of(tmp_path, specs)
    saved_by_signal(batch, specs[1])
    assert lives_on(batch)[1] == [1]


def test_a_job_queued_again_does_not_repeat_what_was_cancelled(tmp_path: Path) -> None:
    """By a stop in the run's own folder, which the run has cleared when it obeyed."""
    specs = specs_that(tmp_path, "stops_itself", "until_stopped")
    batch = batch_of(tmp_path, specs)
    saved_by_signal(batch, specs[1])
    assert results(specs[:1])[0].status == "cancelled"
    assert lives_on(batch)[1] == [1]


def died_with_its_node(spec: RunSpec) -> None:
    """An attempt that could not say how it ended."""
    with alone_in(spec.folder) as lock:
        ledger.note_began(spec.folder, count_attempt(lock, spec.folder))


def test_an_attempt_that_vanished_with_its_node_is_one_by_that_cause(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing", "nothing")
    batch = batch_of(tmp_path, specs)
    died_with_its_node(specs[0])
    code, trials, place = lives_on(batch)
    assert (code, trials) == (0, [0, 1])
    assert results(specs)[0].attempts == 2
    assert ledger.causes(specs[0].folder) == {"node_failure": 1}
    assert place.asked_earlier == 1


def test_a_run_that_vanished_too_often_has_failed(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing")
    batch = batch_of(tmp_path, specs, limits={**LIMITS, "preempted": 1})
    for _ in range(2):
        died_with_its_node(specs[0])
        ledger.note_ended(specs[0].folder, RunResult("r", "failed", attempts=1, cause="preempted"))
    code, trials, _ = lives_on(batch, earlier="preempted")
    assert (code, trials) == (1, [])
    assert (results(specs)[0].status, results(specs)[0].cause) == ("failed", "preempted")


def test_an_attempt_of_another_job_is_not_this_ones_to_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = specs_that(tmp_path, "nothing")
    batch = batch_of(tmp_path, specs)
    monkeypatch.setenv(ledger.JOB, "16_0")
    died_with_its_node(specs[0])
    assert lives_on(batch)[2].asked_earlier == 0
    assert ledger.causes(specs[0].folder) == {}


# On the other nodes of a job


def test_another_node_follows_the_runs_to_their_end(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "nothing", "nothing")
    assert Task(batch_of(tmp_path, specs), FakePlace(node_rank=1)).follow() == 0
    assert begun(tmp_path) == [0, 1]


def test_another_node_ends_as_its_runs_do(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "raises")
    assert Task(batch_of(tmp_path, specs), FakePlace(node_rank=1)).follow() == 1


# Waiting


def test_a_job_that_waits_for_a_disk_does_not_keep_a_core_busy(tmp_path: Path) -> None:
    specs = specs_that(tmp_path, "finds_the_disk_full")
    task = Task(batch_of(tmp_path, specs), FakePlace())
    jobs_clock = time.pthread_getcpuclockid(threading.get_ident())
    used: list[float] = []

    def waits() -> bool:
        if ledger.causes(specs[0].folder)["disk_full"]:
            time.sleep(0.1)
            before = time.clock_gettime(jobs_clock)
            time.sleep(0.5)
            used.append(time.clock_gettime(jobs_clock) - before)
        return bool(used)

    with signalled_when(task, waits):
        task.carry_out()
    assert used[0] < 0.05


# The program of a job


def program(batch: Batch, repository: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(repository), "SUBMITIT_LOCAL_JOB_ID": "9"}
    command = [sys.executable, "-m", "orchestrator.launchers.slurm.allocation", str(batch.folder), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_the_program_saves_at_usr2_and_asks_to_be_started_again(tmp_path: Path, repository: Path) -> None:
    specs = specs_that(tmp_path, "until_stopped")
    batch = batch_of(tmp_path, specs)
    with program(batch, repository, "--task", "0") as process:
        until(under_way(*specs), 15)
        assert note_of(batch).state == "running"
        process.send_signal(12)
        said, _ = process.communicate(timeout=15)
    assert process.returncode == 144, said
    assert results(specs)[0].cause == "time_limit"
    assert json.loads(specs[0].folder.attempts.read_text().splitlines()[0])["job"] == "local-9"


def test_a_folder_without_a_batch_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--task", "0"]) == NO_BATCH
    assert "is not the folder of a batch" in capsys.readouterr().err


# Over several lives of a job


def test_what_the_program_of_a_job_had_done_with_it_does_not_begin_again(tmp_path: Path) -> None:
    """Its own first note must not hide from it what it wrote before it was queued again."""
    specs = specs_that(tmp_path, "prunes_itself", "until_stopped")
    batch = batch_of(tmp_path, specs)
    saved_by_signal(batch, specs[1])
    with noting(Task(batch, FakePlace())) as task:
        task.signalled()
        task.carry_out()
    assert begun(tmp_path).count(0) == 1


def test_a_stop_that_a_job_asked_for_itself_does_not_cancel_its_run_in_the_next_life(tmp_path: Path) -> None:
    """As where the processes of a run were killed before they could obey."""
    specs = specs_that(tmp_path, "nothing")
    batch, place = batch_of(tmp_path, specs), FakePlace()
    os.environ[ledger.JOB] = place.job_id
    try:
        died_with_its_node(specs[0])
    finally:
        del os.environ[ledger.JOB]
    specs[0].folder.stop.touch()
    assert Task(batch, place).carry_out() == 0
    assert results(specs)[0].status == "completed"
