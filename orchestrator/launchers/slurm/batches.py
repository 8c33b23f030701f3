"""What is known of a study's jobs on disk: one folder for each job array, which controller and jobs both read.

    <study>/jobs/<token>/  batch.json      which runs each task carries out, and how; written before sbatch is asked
                           submitted.json  the job id; missing where the controller died in between
                           task-3.json     what task 3 says of itself, rewritten while it lives
                           task-3.stop     the study's owner wants task 3 to end, and not to be queued again
                           stop            the study's owner wants them all to
                           closed          nothing is to be expected of them any more
                           *.out, *.sh     what the jobs printed, and the text that sbatch was given

A job has the name of its batch, which no other job has: so it is found again although its id was never written down,
and nothing is cancelled that only happens to have an old job's id.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from orchestrator.retries import RetryLimits
from trainers.files import read_json, write_json
from trainers.spec import Cause

# A task rewrites its file so often.
TASK_BEAT_S = 5.0


@dataclass(frozen=True)
class Allocation:
    """How a job carries out its runs."""

    target: str
    preload: Sequence[str]
    runs_at_a_time: int
    # CPU threads, GPUs and processes of a run on each of its nodes.
    threads: int
    gpus: int
    ranks: int
    nodes: int
    grace_s: float
    requeue: bool
    limits: Mapping[str, int]
    more_memory: float | None

    def retry_limits(self) -> RetryLimits:
        """How often for which cause a run is tried again."""
        return RetryLimits.model_validate(self.limits)


@dataclass(frozen=True)
class Batch:
    """An array of jobs, as it was submitted; `attempts` are those made at each run before."""

    folder: Path
    name: str
    created: float
    tasks: Sequence[Sequence[str]]
    attempts: Mapping[str, int]
    allocation: Allocation
    # Of the study's batches, counted by whoever holds the study: clocks of hosts differ.
    number: int = 0

    @property
    def study(self) -> Path:
        """The study's folder."""
        return self.folder.parent.parent

    @property
    def stop(self) -> Path:
        """Its presence tells the jobs that nobody wants them back."""
        return self.folder / "stop"

    def stop_task(self, index: int) -> Path:
        """The same for one of the jobs."""
        return self.folder / f"task-{index}.stop"

    @property
    def cancelled(self) -> Path:
        """Its presence says that the scheduler has heard of the stop."""
        return self.folder / "cancelled"

    @property
    def closed(self) -> Path:
        """Its presence saves later controllers the reading."""
        return self.folder / "closed"

    def run_dir(self, run_id: str) -> Path:
        """The folder of a run."""
        return self.study / "runs" / run_id

    def task(self, index: int) -> Path:
        """What a task says of itself."""
        return self.folder / f"task-{index}.json"

    def job_id(self) -> str | None:
        """None where it is not known whether it was submitted."""
        match read_json(self.folder / "submitted.json"):
            case {"job_id": str(job_id)}:
                return job_id
        return None

    def note_submitted(self, job_id: str) -> None:
        """Raises OSError where it cannot be written down."""
        write_json(self.folder / "submitted.json", {"job_id": job_id, "time": time.time()})


TaskState = Literal["running", "requeued", "over"]


@dataclass(frozen=True)
class TaskNote:
    """What a task says of itself: `over` are the runs that it has done with."""

    state: TaskState
    job_id: str
    host: str
    time: float
    over: Sequence[str] = field(default_factory=tuple)
    cause: Cause | None = None
    # Why a run could not even be looked at, where its folder cannot tell.
    errors: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Raises OSError where it cannot be written."""
        write_json(path, asdict(self), durable=self.state != "running")

    @classmethod
    def read(cls, path: Path) -> "TaskNote | None":
        """None where the task has not begun."""
        try:
            return _NOTES.validate_python(read_json(path))
        except ValidationError:
            return None


_NOTES = TypeAdapter(TaskNote)
_BATCHES = TypeAdapter(Batch)


def jobs_folder(study: Path) -> Path:
    """Where the batches of a study lie."""
    return study / "jobs"


def create(
    study: Path, name: str, tasks: Sequence[Sequence[str]], attempts: Mapping[str, int], allocation: Allocation
) -> Batch:
    """Note what is about to be submitted. Raises OSError where it cannot be."""
    token = secrets.token_hex(4)
    folder = jobs_folder(study) / token
    folder.mkdir(parents=True)
    number = len(os.listdir(jobs_folder(study)))
    batch = Batch(folder, f"{name}-{token}", time.time(), tasks, attempts, allocation, number)
    values: dict[str, Any] = asdict(batch)
    del values["folder"]  # a study may be moved
    write_json(folder / "batch.json", values)
    return batch


def read(folder: Path) -> Batch | None:
    """None where the folder is of none, or its controller died while making it: then nothing was submitted."""
    values = read_json(folder / "batch.json")
    try:
        return _BATCHES.validate_python({**values, "folder": folder} if isinstance(values, dict) else values)
    except ValidationError:
        return None


def open_batches(study: Path) -> Iterator[Batch]:
    """Those of which something may still be expected, oldest first."""
    folders = [path for path in jobs_folder(study).glob("*") if path.is_dir()] if study.is_dir() else []
    found = [read(folder) for folder in folders if not (folder / "closed").exists()]
    yield from sorted((batch for batch in found if batch is not None), key=lambda batch: (batch.number, batch.created))


def touch(path: Path) -> None:
    """Make an empty file, if the disk lets us."""
    with contextlib.suppress(OSError):
        path.touch()
