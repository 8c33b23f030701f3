"""The study's folder: what is written whole, and who may hold it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.errors import NoStudy, StudyHeld
from orchestrator.store import LEASE_STALE_S, StudyFolder, StudyRecord, held, holder, open_study
from trainers.spec import RunSpec

RECORD = StudyRecord(
    name="s",
    identity="abc",
    command="python -m orchestrator",
    created="2026-01-01T00:00:00+0000",
    space={"beta": [0.1, 0.5]},
    settings={"fail_fast": False},
    source={"config_name": "config", "config_dir": None},
    runs=["t0000-s0-00000000"],
    data={},
)

# Holds the study named on its command line until it is killed.
HOLDER = """
import sys, time, pathlib
from orchestrator.store import StudyFolder, held
with held(StudyFolder(pathlib.Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


def start_holder(folder: StudyFolder, repository: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.root)], stdout=subprocess.PIPE, text=True, cwd=repository
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_record_is_read_as_it_was_written(folder: StudyFolder):
    folder.root.mkdir()
    folder.create(RECORD, [])
    assert folder.record() == RECORD


def test_a_folder_without_a_record_is_no_study(folder: StudyFolder):
    folder.root.mkdir()
    assert folder.record() is None
    with pytest.raises(NoStudy, match="not the folder of a study"):
        open_study(folder.root)


@pytest.mark.parametrize("content", ["{", "a: 1", "- 1", "", "\x00", "!!python/object/apply:os.system [ls]"])
def test_a_damaged_record_is_told(folder: StudyFolder, content: str):
    folder.root.mkdir()
    folder.yaml.write_text(content)
    with pytest.raises(NoStudy, match="damaged"):
        folder.record()


def test_a_missing_spec_is_told(folder: StudyFolder):
    folder.root.mkdir()
    folder.create(RECORD, [])
    with pytest.raises(NoStudy, match=r"spec\.json"):
        folder.specs(RECORD)


def spec(trial: int) -> RunSpec:
    return RunSpec("s", trial, 0, "dpo", {"beta": trial}, {}, "0" * 64, Path(), Path())


def listed(folder: StudyFolder, trials: int | None, there: int) -> StudyRecord:
    """A record of a space of two by three values whose study has so many trials, and lists the runs of some."""
    specs = [made.at(folder.run(made.run_id)) for made in map(spec, range(there))]
    record = dataclasses.replace(
        RECORD, space={"method": ["dpo", "sft"], "beta": [1, 2, 3]}, runs=[made.run_id for made in specs], trials=trials
    )
    folder.root.mkdir()
    folder.create(record, specs)
    return record


@pytest.mark.parametrize(("trials", "there"), [(4, 4), (None, 6)], ids=["counted", "all combinations"])
def test_a_study_has_the_trials_that_its_record_counts_or_else_all_combinations(folder: StudyFolder, trials, there):
    """Records have counted them since a trial may lack keys."""
    assert len(folder.specs(listed(folder, trials, there))) == there


@pytest.mark.parametrize(("trials", "there"), [(4, 3), (None, 5)])
def test_a_record_that_lists_fewer_trials_is_told(folder: StudyFolder, trials, there):
    with pytest.raises(NoStudy, match="trials, and the runs' specs others"):
        folder.specs(listed(folder, trials, there))


def test_a_second_controller_is_refused_and_told_who_holds(folder: StudyFolder, repository: Path):
    process = start_holder(folder, repository)
    try:
        with pytest.raises(StudyHeld, match=f"process {process.pid}"), held(folder):
            pass
        assert str(process.pid) in str(holder(folder))
    finally:
        process.kill()
        process.wait()


def test_the_kernels_lock_holds_where_the_lease_is_gone(folder: StudyFolder, repository: Path):
    process = start_holder(folder, repository)
    try:
        folder.lease.unlink()
        with pytest.raises(StudyHeld), held(folder):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_killed_controller_leaves_the_study_free(folder: StudyFolder, repository: Path):
    process = start_holder(folder, repository)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert folder.lease.exists()
    assert holder(folder) is None
    with held(folder):
        assert holder(folder) is not None


def test_a_cancel_asked_of_an_earlier_controller_is_forgotten(folder: StudyFolder):
    folder.root.mkdir()
    folder.cancel.touch()
    with held(folder):
        assert not folder.cancel.exists()


def test_a_controller_that_lost_its_lease_knows_and_leaves_it_alone(folder: StudyFolder):
    with held(folder) as still_held:
        assert still_held()
        lease_of_another_host(folder, age_s=0)
        assert not still_held()
    assert folder.lease.exists(), "the lease is not its own to remove"


def test_a_study_is_free_after_its_controller(folder: StudyFolder):
    with held(folder):
        pass
    assert holder(folder) is None
    assert not folder.lease.exists()


def lease_of_another_host(folder: StudyFolder, age_s: float) -> None:
    folder.root.mkdir(exist_ok=True)
    folder.lease.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0}))
    then = time.time() - age_s
    os.utime(folder.lease, (then, then))


def test_a_living_lease_of_another_host_is_respected(folder: StudyFolder):
    lease_of_another_host(folder, age_s=LEASE_STALE_S / 2)
    with pytest.raises(StudyHeld, match="elsewhere"), held(folder):
        pass


def test_a_stale_lease_of_another_host_is_taken_over(folder: StudyFolder):
    lease_of_another_host(folder, age_s=LEASE_STALE_S * 2)
    with held(folder):
        assert "elsewhere" not in str(holder(folder))


def test_a_process_with_a_dead_controllers_number_does_not_hold(folder: StudyFolder):
    folder.root.mkdir()
    import socket

    folder.lease.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": 5.0}))
    assert holder(folder) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"host": 3}'])
def test_a_damaged_lease_holds_nobody_up(folder: StudyFolder, content: str):
    folder.root.mkdir()
    folder.lease.write_text(content)
    with held(folder):
        pass
