"""Keeps what a controller knows of the jobs it has under way: batches, their tasks, and each run's part in one."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.launchers.base import JobBase
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.batches import Allocation, Batch, TaskNote
from orchestrator.launchers.slurm.scheduler import REST, Request, State, States
from orchestrator.resources import Resources
from orchestrator.wording import one_line
from trainers.spec import RunSpec

# While the scheduler does not answer it is asked less and less, down to this many seconds.
SLOWEST_POLL_S = 300.0
MOST_RELEASES = 3


@dataclass(frozen=True)
class Policy:
    """How jobs are made and watched; the same for all runs of a study."""

    name: str
    # What a run gets, and how its job carries it out.
    resources: Callable[[RunSpec], Resources]
    allocation: Callable[[Resources], Allocation]
    runs_per_job: int
    max_submitted: int
    max_array: int
    poll_s: float
    python: str
    environment: Mapping[str, str]
    bad_node_after: int | None = None
    # Of a task that the scheduler does not know, and not heard of for so long, nothing is expected any more.
    lost_after_s: float = 120.0


class SlurmJob(JobBase):
    """One run's part in a job, whose own output lies with its batch."""

    def __init__(self, spec: RunSpec, task: "Task", cancel: Callable[["SlurmJob", bool], None]) -> None:
        super().__init__(spec)
        self.task = task
        self._cancel = cancel

    @property
    def id(self) -> str:
        """As Slurm calls the job: 17_3."""
        return f"{self.task.sent.job_id or '?'}_{self.task.index}"

    @property
    def state(self) -> str:
        """Why it has not begun, as far as that is known."""
        return self.task.told() if self.outcome is None else ""

    def _stop(self, at_once: bool) -> None:
        """Take it out of the queue, or have it save a checkpoint; `at_once` ends it."""
        self._cancel(self, at_once)


@dataclass(eq=False)
class SentBatch:
    """A batch, and the id under which it runs, None until that is known."""

    batch: Batch
    # None where an earlier controller made it.
    request: Request | None
    job_id: str | None = None
    tasks: list["Task"] = field(default_factory=list)
    # When to submit it, or to look for it where that is unclear.
    due: float = 0.0
    pause_s: float = 0.0
    unclear_since: float | None = None
    why: str = "being submitted"

    @property
    def open(self) -> list["Task"]:
        """Those of which a run has not ended."""
        return [task for task in self.tasks if task.open]

    @property
    def present(self) -> list["Task"]:
        """Those that the scheduler may still have."""
        return [task for task in self.tasks if task.open or not task.gone]


class Task:
    """A task of a batch with the runs it carries out."""

    def __init__(self, sent: SentBatch, index: int, now: float) -> None:
        self.sent, self.index = sent, index
        self.jobs: list[SlurmJob] = []
        self.state: State | None = None
        self.begun = False
        self.node = ""
        # When it was last seen alive, and how often in a row the scheduler said that it is over.
        self.last_seen = now
        self.said_over = 0
        # Whether the scheduler has done with it: until then it counts as one of those that may be queued.
        self.gone = False
        # How often Slurm held it because a node failed to start it.
        self.released = 0
        self.unwanted = False
        # How often in a row it was seen to wait, with nothing left to do.
        self.idle = 0
        # By this controller from an earlier one.
        self.adopted = False
        # When its note was last seen to change, and how often in a row slurmctld did not know it.
        self.last_note = now
        self.unknown = 0
        self.note: TaskNote | None = None
        self._note_stamp = (0, 0, 0)

    @property
    def open(self) -> bool:
        """Whether one of its runs has not ended."""
        return any(job.outcome is None for job in self.jobs)

    @property
    def open_jobs(self) -> list[SlurmJob]:
        """The jobs of those runs."""
        return [job for job in self.jobs if job.outcome is None]

    @property
    def waiting(self) -> bool:
        """Whether it is known to be in the queue."""
        return self.state is not None and self.state.waiting

    @property
    def hopeless(self) -> bool:
        """Whether it was held, and released, often enough."""
        return self.released > MOST_RELEASES

    def stopped(self) -> bool:
        """Whether the study's owner wants it to end."""
        return self.sent.batch.stop.exists() or self.sent.batch.stop_task(self.index).exists()

    def told(self) -> str:
        """For people."""
        if self.sent.job_id is None:
            return self.sent.why
        if self.state is not None and self.state.waiting:
            reason = f" ({self.state.reason})" if self.state.reason not in ("", "None") else ""
            return f"{self.state.word.lower()}{reason}"
        return "" if self.begun and not (self.adopted and self.note is None) else "submitted"

    def said(self, states: States) -> State | None:
        """What the scheduler says of it, None where it means another job, or none."""
        assert self.sent.job_id is not None
        return find_state(states, self.sent.job_id, self.index, self.sent.batch.name)

    def hear(self, state: State | None) -> None:
        """Keep what accounting says: it does not tell why a job waits, and what squeue told stays until it begins."""
        before = self.state
        if state is not None and before is not None and state.waiting and before.waiting and not state.reason:
            state = dataclasses.replace(state, reason=before.reason)
        self.state = state

    def read_note(self) -> bool:
        """Whether it has written since the last time."""
        path = self.sent.batch.task(self.index)
        try:
            status = path.stat()
        except OSError:
            return False
        # A file that is written anew has another inode, also within a tick of a coarse clock.
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp == self._note_stamp:
            return False
        note = TaskNote.read(path)
        if note is None:  # as while it is being replaced
            return False
        self._note_stamp, self.note = stamp, note
        self.node = self.node or note.host
        return True


class UnderWay:
    """All of a launcher's batches, what people should know of them, and when to look at them next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.batches: list[SentBatch] = []
        self.news: list[str] = []
        # Whether a run has ended, or a job has made room for another, since that was last asked.
        self.some_ended = False
        self.next_poll = 0.0

    @property
    def unsent(self) -> list[SentBatch]:
        """The batches that have no id yet, as far as is known."""
        return [sent for sent in self.batches if sent.job_id is None]

    @property
    def open(self) -> list[Task]:
        """The tasks, of all batches, of which a run has not ended."""
        return [task for sent in self.batches for task in sent.open]

    @property
    def present(self) -> list[Task]:
        """The tasks, of all batches, that the scheduler may still have."""
        return [task for sent in self.batches for task in sent.present]

    def say(self, text: str) -> None:
        """Tell people, once."""
        self.news.append(one_line(text))

    def poll_within(self, seconds: float) -> None:
        """Look at the jobs no later than that."""
        self.next_poll = min(self.next_poll, self.clock() + seconds)

    def close(self, sent: SentBatch) -> None:
        """Expect nothing of a batch any more."""
        batches.touch(sent.batch.closed)
        with contextlib.suppress(ValueError):
            self.batches.remove(sent)


def find_state(states: States, job_id: str, index: int, name: str) -> State | None:
    """The state of a task of the job that has this id and this name too."""
    state = states.get((job_id, index), states.get((job_id, REST)))
    return state if state is None or state.name in (None, name) else None
