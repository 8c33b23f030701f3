"""A cluster in memory: a study's folder, a scheduler that says what the test wants, and jobs that do as it says."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator import ledger
from orchestrator.attempts import alone_in, attempts_made, count_attempt
from orchestrator.launchers.base import Job
from orchestrator.launchers.slurm.batches import Allocation, TaskNote, TaskState
from orchestrator.launchers.slurm.jobs import Policy, SlurmJob
from orchestrator.launchers.slurm.launcher import SlurmLauncher
from orchestrator.launchers.slurm.scheduler import NotNow, State
from orchestrator.resources import Resources
from orchestrator.retries import NO_RETRIES
from tests.contracts.small_runs import spec_in
from tests.fakes.scheduler import FakeClock, FakeScheduler
from trainers.spec import Cause, RunResult, RunSpec, Status

POLL_S = 30.0
UNCLEAR = NotNow("Socket timed out on send/recv operation", unclear=True)
LIMIT = NotNow("AssocMaxSubmitJobLimit", unclear=False, limit=True)
BUSY = NotNow("slurmctld is busy", unclear=False)


def resources(spec: RunSpec) -> Resources:
    given = {"nodes": 1, "gpus": 0, "cpus": 1, "mem_gb": None, "time_min": 60, "partition": None, "constraint": None}
    return Resources(**{**given, **spec.resources})  # type: ignore[arg-type]


def allocation(needed: Resources) -> Allocation:
    return Allocation("m:f", (), 1, 1, needed.gpus, 1, 1, 60, True, NO_RETRIES.model_dump(), None)


class FakeCluster:
    """A study's folder, its scheduler, its clock, and what jobs would do there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.scheduler = FakeScheduler(self.clock)
        self._notes = 0

    def launcher(self, **changes: Any) -> SlurmLauncher:
        given = {"runs_per_job": 1, "max_submitted": 500, "max_array": 1000, "poll_s": POLL_S, "python": "python"}
        policy = Policy("study", resources, allocation, environment={}, **{**given, **changes})
        return SlurmLauncher(self.root, policy, self.scheduler, clock=self.clock, sleep=self.clock.sleep)

    def specs(self, count: int, first: int = 0, **asks: Any) -> list[RunSpec]:
        made = [dataclasses.replace(spec_in(self.root, first + n), resources=asks) for n in range(count)]
        for spec in made:
            spec.write()
        return made

    def say(self, job: Job, word: str, node: str = "", reason: str = "", signal: int = 0) -> None:
        """Slurm's word on the job from now on."""
        job_id, task = key(job)
        name = self.scheduler.accepted[job_id].batch.name
        self.scheduler.says[job_id, task] = State(word, node, reason, signal, name)

    def forget(self, job: Job) -> None:
        del self.scheduler.says[key(job)]

    def note(
        self, job: Job, state: TaskState, over: Sequence[Job] = (), cause: Cause | None = None, host: str = "node1"
    ) -> None:
        """What the job says of itself; every note is newer than the one before, however fast the test."""
        assert isinstance(job, SlurmJob)
        path = job.task.sent.batch.task(job.task.index)
        TaskNote(state, job.id, host, 0.0, [other.spec.run_id for other in over], cause).write(path)
        self._notes += 1
        os.utime(path, (self._notes, self._notes))

    def run(self, job: Job, node: str = "node1") -> None:
        """The job begins, and so does its run."""
        self.say(job, "RUNNING", node)
        self.note(job, "running", host=node)
        begin(job.spec)

    def under_way(self, launcher: SlurmLauncher) -> Job:
        """A job that was submitted and has begun, as the launcher knows."""
        (job,) = launcher.submit(self.specs(1))
        self.run(job)
        polls(launcher)
        return job

    def half_done(self, launcher: SlurmLauncher) -> tuple[Job, Job]:
        """Two runs of one job, of which the first has ended and the second begun, as the launcher knows."""
        first, second = launcher.submit(self.specs(2))
        self.run(first)
        end(first.spec)
        begin(second.spec)
        self.note(first, "running", [first])
        polls(launcher)
        return first, second

    def end(
        self, job: Job, status: Status = "completed", cause: Cause | None = None, error: str | None = None
    ) -> RunResult:
        """The run ends, and then its job, by itself."""
        result = end(job.spec, status, cause, error)
        self.note(job, "over", [job])
        self.say(job, "COMPLETED" if status == "completed" else "FAILED", "node1")
        return result


def key(job: Job) -> tuple[str, int]:
    job_id, _, task = job.id.partition("_")
    return job_id, int(task)


def begin(spec: RunSpec) -> None:
    """An attempt at the run."""
    with alone_in(spec.folder) as lock:
        ledger.note_began(spec.folder, count_attempt(lock, spec.folder))


def end(spec: RunSpec, status: Status = "completed", cause: Cause | None = None, error: str | None = None) -> RunResult:
    """Its end, as the run itself tells it."""
    attempts = attempts_made(spec.folder)
    result = RunResult(spec.run_id, status, spec.params, {}, 3, attempts=attempts, error=error, cause=cause)
    result.write(spec.folder)
    ledger.note_ended(spec.folder, result)
    return result


def polls(launcher: SlurmLauncher, times: int = 1) -> None:
    for _ in range(times):
        launcher.poll()


def wait(launcher: SlurmLauncher, seconds: float) -> None:
    """As the study's loop does, half a second at a time."""
    for _ in range(round(seconds * 2)):
        launcher.wait(0.5)
