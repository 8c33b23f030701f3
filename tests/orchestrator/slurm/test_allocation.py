"""What goes on inside one job while it lasts, with real processes for its runs."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator import ledger, retries
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.allocation import NO_BATCH, Task, main
from orchestrator.launchers.slurm.batches import Batch
from orchestrator.launchers.slurm.place import Why
from tests.contracts.small_runs import until
from tests.orchestrator.slurm.job import (
    LIMITS,
    QUEUED_AGAIN,
    FakePlace,
    batch_of,
    begun,
    note_of,
    results,
    signalled_when,
    specs_that,
    under_way,
)
from trainers.spec import RunResult

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_job")]


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
