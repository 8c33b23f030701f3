"""A job seen from inside: its runs, which are real processes, and a scheduler that says what the test wants."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator import ledger
from orchestrator.attempts import alone_in, count_attempt
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.allocation import Task
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


def saved_by_signal(batch: Batch, last: RunSpec, **place: Any) -> None:
    """The job's first life: until a signal comes while this run is under way."""
    task = Task(batch, FakePlace(**place))
    with signalled_when(task, under_way(last)):
        assert task.carry_out() == QUEUED_AGAIN


def died_with_its_node(spec: RunSpec) -> None:
    """An attempt that could not say how it ended."""
    with alone_in(spec.folder) as lock:
        ledger.note_began(spec.folder, count_attempt(lock, spec.folder))
