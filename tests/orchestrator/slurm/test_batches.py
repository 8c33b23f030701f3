"""What is known of jobs on disk is there whole or not at all, and survives a move of the study."""

import shutil
from pathlib import Path

import pytest

from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.batches import Allocation, Batch, TaskNote
from orchestrator.retries import NO_RETRIES

ALLOCATION = Allocation("m:f", ("a", "b"), 2, 3, 1, 1, 1, 60.0, True, NO_RETRIES.model_dump(), 1.5)


def made(study: Path, *run_ids: str) -> Batch:
    return batches.create(study, study.name, [[run_id] for run_id in run_ids], dict.fromkeys(run_ids, 2), ALLOCATION)


def test_a_batch_is_read_as_it_was_written(tmp_path: Path) -> None:
    batch = made(tmp_path, "r1", "r2")
    again = batches.read(batch.folder)
    assert again is not None
    assert (again.folder, again.name, again.created) == (batch.folder, batch.name, batch.created)
    assert [list(task) for task in again.tasks] == [["r1"], ["r2"]]
    assert again.attempts == {"r1": 2, "r2": 2}
    assert (again.allocation.target, list(again.allocation.preload)) == ("m:f", ["a", "b"])
    assert again.allocation.retry_limits() == NO_RETRIES


def test_each_batch_has_a_name_of_its_own(tmp_path: Path) -> None:
    names = {made(tmp_path, "r").name for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith(f"{tmp_path.name}-") for name in names)


def test_a_study_may_be_moved(tmp_path: Path) -> None:
    batch = made(tmp_path / "before", "r")
    shutil.move(tmp_path / "before", tmp_path / "after")
    (again,) = batches.open_batches(tmp_path / "after")
    assert again.folder == tmp_path / "after" / "jobs" / batch.folder.name
    assert again.run_dir("r") == tmp_path / "after" / "runs" / "r"


def test_the_job_id_is_known_once_it_is_noted(tmp_path: Path) -> None:
    batch = made(tmp_path, "r")
    assert batch.job_id() is None
    batch.note_submitted("17")
    assert batch.job_id() == "17"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"job_id": 17}', '{"job_id": null}'])
def test_a_damaged_note_of_the_job_id_is_none(tmp_path: Path, text: str) -> None:
    batch = made(tmp_path, "r")
    (batch.folder / "submitted.json").write_text(text)
    assert batch.job_id() is None


def test_closed_batches_are_not_read_again(tmp_path: Path) -> None:
    first, second = made(tmp_path, "r1"), made(tmp_path, "r2")
    batches.touch(first.closed)
    assert [batch.name for batch in batches.open_batches(tmp_path)] == [second.name]


def test_open_batches_come_oldest_first(tmp_path: Path) -> None:
    names = [made(tmp_path, f"r{n}").name for n in range(5)]
    assert [batch.name for batch in batches.open_batches(tmp_path)] == names


def test_folders_that_hold_no_batch_are_passed_over(tmp_path: Path) -> None:
    """The controller's own job, one that died while making a batch, one whose file is damaged."""
    batch = made(tmp_path, "r")
    for name, text in (("controller", None), ("dead", None), ("half", "{"), ("list", "[1]"), ("old", '{"name": "x"}')):
        folder = batches.jobs_folder(tmp_path) / name
        folder.mkdir()
        if text is not None:
            (folder / "batch.json").write_text(text)
    (batches.jobs_folder(tmp_path) / "file").touch()
    assert [found.name for found in batches.open_batches(tmp_path)] == [batch.name]


def test_a_study_that_is_not_there_has_no_batches(tmp_path: Path) -> None:
    assert list(batches.open_batches(tmp_path / "none")) == []


def test_a_task_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    note = TaskNote("requeued", "17_3", "node1", 12.5, ["r1"], "time_limit")
    note.write(tmp_path / "task-3.json")
    assert TaskNote.read(tmp_path / "task-3.json") == note


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"state": "asleep", "job_id": "1", "host": "h", "time": 1.0}'])
def test_a_task_that_has_not_told_of_itself_has_no_note(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "task-0.json"
    if text is not None:
        path.write_text(text)
    assert TaskNote.read(path) is None


def test_a_file_that_cannot_be_touched_is_no_error(tmp_path: Path) -> None:
    batches.touch(tmp_path / "none" / "stop")
