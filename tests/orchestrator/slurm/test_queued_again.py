"""A job that was queued again goes on with what is left to do, and repeats nothing."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ledger
from orchestrator.launchers.slurm.allocation import Task, noting
from orchestrator.launchers.slurm.batches import Batch
from tests.orchestrator.slurm.job import (
    LIMITS,
    FakePlace,
    batch_of,
    begun,
    died_with_its_node,
    results,
    saved_by_signal,
    specs_that,
)
from trainers.spec import RunResult, RunSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_job")]


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
