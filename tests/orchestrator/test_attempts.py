"""A run's folder has one process at a time, and its attempts are counted whatever dies."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator import ledger
from orchestrator.attempts import RunFolderBusy, alone_in, attempts_made, count_attempt, leave_behind, make_ready, tail
from tests.contracts.small_runs import spec_in
from trainers.spec import RunFolder, RunResult


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return spec_in(tmp_path).folder


def test_a_folder_is_held_by_one_at_a_time(folder: RunFolder) -> None:
    """Who holds it is told."""
    with alone_in(folder) as lock:
        count_attempt(lock, folder)
        with pytest.raises(RunFolderBusy, match=f"process {os.getpid()} on "), alone_in(folder):
            pass
    with alone_in(folder):
        pass


def test_a_folder_is_free_again_when_its_holder_is_killed(folder: RunFolder) -> None:
    program = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a+'); fcntl.flock(file, fcntl.LOCK_EX);"
        "print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(folder.lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(RunFolderBusy), alone_in(folder):
            pass
        holder.kill()
        holder.wait()
    with alone_in(folder):
        pass


def test_attempts_are_counted_from_one(folder: RunFolder) -> None:
    assert attempts_made(folder) == 0
    for number in (1, 2, 3):
        with alone_in(folder) as lock:
            assert count_attempt(lock, folder) == number
    assert attempts_made(folder) == 3


def test_a_result_tells_of_attempts_that_the_lock_has_forgotten(folder: RunFolder) -> None:
    RunResult("r", "failed", attempts=4).write(folder)
    folder.lock.write_text("{")
    assert attempts_made(folder) == 4


def test_a_stop_that_an_earlier_attempt_left_is_forgotten(folder: RunFolder) -> None:
    folder.stop.touch()
    assert make_ready(folder) == 0
    assert not folder.stop.exists()


def test_a_stop_is_left_to_the_process_that_works_in_the_folder(folder: RunFolder) -> None:
    folder.stop.touch()
    with alone_in(folder):
        make_ready(folder)
    assert folder.stop.exists()


def test_a_result_that_is_left_behind_is_in_the_ledger_too(folder: RunFolder) -> None:
    result = RunResult("r", "failed", attempts=2, cause="node_failure")
    leave_behind(result, folder)
    assert RunResult.read(folder) == result
    assert ledger.causes(folder) == {"node_failure": 1}


def test_a_process_that_is_being_killed_is_waited_for(folder: RunFolder) -> None:
    with alone_in(folder):
        leaving = threading.Thread(target=leave_behind, args=(RunResult("r", "failed"), folder))
        leaving.start()
    leaving.join()
    assert RunResult.read(folder) is not None


def test_a_folder_that_is_gone_is_no_error(folder: RunFolder, tmp_path: Path) -> None:
    leave_behind(RunResult("r", "failed"), RunFolder(tmp_path / "gone"))


def test_the_end_of_a_file_is_its_last_two_lines(tmp_path: Path) -> None:
    path = tmp_path / "17_0_0_log.out"
    path.write_bytes(b"first\n\n" + b"x" * 10000 + b"\nmodule: \xff\n  command not found  \n\n")
    assert tail(path) == "module: \ufffd | command not found"
    assert tail(tmp_path / "none") == ""
