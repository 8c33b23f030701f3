"""The history of a run survives half lines, full disks and bad bytes, and tells how often it was tried for what."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator import ledger
from tests.contracts.small_runs import spec_in
from trainers.spec import Cause, RunFolder, RunResult, Status


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return spec_in(tmp_path).folder


def ended(
    folder: RunFolder, attempt: int, cause: Cause | None = None, status: Status = "failed", steps: int = 0
) -> None:
    ledger.note_ended(folder, RunResult("r", status, steps=steps, attempts=attempt, cause=cause))


def attempts(folder: RunFolder, *causes: Cause | None) -> None:
    for number, cause in enumerate(causes, 1):
        ledger.note_began(folder, number)
        ended(folder, number, cause)


def test_a_run_without_a_ledger_has_no_history(folder: RunFolder) -> None:
    assert ledger.history(folder) == []
    assert ledger.told_retries(folder) == ""


def test_an_attempt_tells_where_it_was_made(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ledger.JOB, "17_3")
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    ledger.note_began(folder, 1)
    (attempt,) = ledger.history(folder)
    assert (attempt.number, attempt.host, attempt.job) == (1, "node7", "17_3")
    assert attempt.began is not None
    assert attempt.status is None


def test_the_end_keeps_what_the_beginning_told(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ledger.JOB, "17_3")
    attempts(folder, "killed")
    (attempt,) = ledger.history(folder)
    assert (attempt.job, attempt.status, attempt.cause) == ("17_3", "failed", "killed")


def test_an_attempt_tells_how_far_it_came(folder: RunFolder) -> None:
    ended(folder, 1, "time_limit", "cancelled", steps=40)
    assert ledger.history(folder)[0].steps == 40


def test_the_last_end_of_an_attempt_counts(folder: RunFolder) -> None:
    """A launcher may know better than the run why it ended."""
    attempts(folder, None)
    ended(folder, 1, "preempted")
    assert ledger.causes(folder) == Counter({"preempted": 1})


def test_the_end_of_an_attempt_that_never_told_its_beginning_counts(folder: RunFolder) -> None:
    ended(folder, 1, "node_failure")
    assert ledger.causes(folder) == Counter({"node_failure": 1})


def test_attempts_are_told_in_their_order(folder: RunFolder) -> None:
    for number in (2, 10, 1):
        ended(folder, number, "killed")
    assert [attempt.number for attempt in ledger.history(folder)] == [1, 2, 10]


def test_what_was_before_a_person_asked_anew_does_not_count(folder: RunFolder) -> None:
    attempts(folder, "killed", "killed")
    ledger.note_anew(folder)
    assert ledger.history(folder) == []
    ended(folder, 3, "lost")
    assert ledger.causes(folder) == Counter({"lost": 1})


def test_asking_anew_for_a_run_that_was_never_tried_leaves_no_file(folder: RunFolder) -> None:
    ledger.note_anew(folder)
    assert not folder.attempts.exists()


def test_the_last_attempt_is_not_one_that_was_tried_again(folder: RunFolder) -> None:
    attempts(folder, "out_of_memory", "out_of_memory", "killed", "error")
    assert ledger.retried(folder) == Counter({"out_of_memory": 2, "killed": 1})
    assert ledger.told_retries(folder) == "tried again after killed, out of memory (2 times)"


def test_half_a_line_costs_that_line_alone(folder: RunFolder) -> None:
    """A full disk may leave one behind; the next begins on a line of its own."""
    attempts(folder, "killed")
    with folder.attempts.open("ab") as file:
        file.write(b'{"attempt": 2, "ev')
    ended(folder, 2, "lost")
    assert ledger.causes(folder) == Counter({"killed": 1, "lost": 1})


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"attempt": "2", "event": "ended"}',
        b'{"attempt": 2, "event": "ended", "status": "exploded", "cause": "killed"}',
        b'{"attempt": 2, "event": "ended", "status": [], "cause": {}}',
    ],
)
def test_lines_that_cannot_be_read_tell_no_cause(folder: RunFolder, line: bytes) -> None:
    attempts(folder, "killed")
    with folder.attempts.open("ab") as file:
        file.write(line + b"\n")
    assert ledger.causes(folder) == Counter({"killed": 1})


def test_a_cause_that_is_not_known_is_none(folder: RunFolder) -> None:
    folder.attempts.write_text('{"attempt": 1, "event": "ended", "status": "failed", "cause": "cosmic rays"}\n')
    assert ledger.history(folder)[0].cause is None


def test_a_ledger_that_cannot_be_written_does_not_end_the_run(folder: RunFolder) -> None:
    folder.attempts.mkdir()
    attempts(folder, "killed")
    assert ledger.history(folder) == []


def test_a_node_is_called_as_slurm_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several may be on one machine."""
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert ledger.node() == "node7"
