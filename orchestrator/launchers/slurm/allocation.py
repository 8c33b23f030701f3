"""What goes on inside one job: its runs, warm and side by side; its signals; its own retries; its return to the queue.

    python -m orchestrator.launchers.slurm.allocation BATCH_DIR [--task N]

The job decides what it can, because no controller may be there: a run that filled a GPU's memory is tried again here,
with half the micro-batch; at the time limit or a preemption all runs save a checkpoint and the job queues itself again.
What needs another job it leaves to the controller. Exits 0 where all its runs completed, so that Slurm says FAILED of a
job that failed.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator import ledger, retries
from orchestrator.attempts import RunFolderBusy, alone_in, attempts_made, count_attempt
from orchestrator.launchers.base import Job
from orchestrator.launchers.local import LocalLauncher
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.batches import Allocation, Batch, TaskNote, TaskState
from orchestrator.launchers.slurm.place import LocalPlace, Place, SlurmPlace, Why
from orchestrator.launchers.slurm.torchrun import TorchrunLauncher
from orchestrator.wording import clock, count
from trainers.machine import Machine
from trainers.spec import Cause, RunFolder, RunResult, RunSpec

NO_BATCH = 2
WAKE_S = 0.25
# A disk that is full, or a run that another process still works on, is looked at again after so long.
PAUSE_S = 5.0
# A process that holds a run's folder, and has not been heard of for so long, is given up, with the folder's lock.
BUSY_PATIENCE_S = 600.0
# What the job itself can mend by trying again.
HERE: frozenset[Cause] = frozenset({"out_of_memory", "killed", "disk_full", "busy"})
# Of the time that Slurm leaves to a job that is told to end, the share that its runs have: the rest is for the job.
RUNS_SHARE = 0.7


class Carrier(Protocol):
    """What of a launcher a job needs."""

    @property
    def free(self) -> int:
        """How many runs may be submitted now."""

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """Start them."""

    def wait(self, timeout_s: float) -> None:
        """Until one may have ended."""

    def close(self) -> None:
        """End all."""


def make_carrier(allocation: Allocation, place: Place) -> Carrier:
    """What carries out the runs of this job, on the GPUs that it was given."""
    gpus = _gpus() if allocation.gpus else ()
    if allocation.ranks * allocation.nodes > 1:
        return TorchrunLauncher(allocation, gpus, place.node_rank, place.first_host)
    return LocalLauncher(
        workers=min(allocation.runs_at_a_time, len(gpus)) if gpus else allocation.runs_at_a_time,
        threads=allocation.threads,
        gpus=gpus,
        grace_s=allocation.grace_s * RUNS_SHARE,
        target=allocation.target,
        preload=allocation.preload,
    )


def _gpus() -> tuple[str, ...]:
    """Those that Slurm gave the job; a cluster that does not hide the others gives all."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Machine.here().gpu_ids if given is None else tuple(part.strip() for part in given.split(",") if part.strip())


class Task:
    """One task of an array, from its start to its end."""

    def __init__(self, batch: Batch, place: Place) -> None:
        self._batch, self._place = batch, place
        self._allocation = batch.allocation
        self._limits = batch.allocation.retry_limits()
        self._todo: collections.deque[RunSpec] = collections.deque()
        self._active: list[Job] = []
        # Runs that are not to be begun before a time.
        self._not_before: dict[str, float] = {}
        # What the job has done with, also before it was queued again.
        before = TaskNote.read(batch.task(place.task))
        own = set(batch.tasks[place.task])
        self._results: dict[str, RunResult | None] = {
            run_id: RunResult.read(RunFolder(batch.run_dir(run_id)))
            for run_id in (before.over if before is not None else ())
            if run_id in own
        }
        self._errors: dict[str, str] = {}
        self._begun = False
        # Since when, and at which beat, another process has been found at work on a run.
        self._busy: dict[str, tuple[float, int]] = {}
        self._signalled = False
        self._why = Why(None)
        self._vanished: Cause | None = None
        self._told = False
        # Runs that ended without having completed, and of which another will say what becomes of them.
        self._unfinished = False
        self._oom_kills = oom_kills()
        self._noting, self._last_word = threading.Lock(), False

    def signalled(self, *_: object) -> None:
        """A signal came: from now on nothing is begun, and what is under way is asked to save a checkpoint."""
        self._signalled = True

    def over(self) -> list[str]:
        """The runs that this job has done with."""
        return list(self._results)

    def carry_out(self) -> int:
        """The job's exit code."""
        for run_id in self._batch.tasks[self._place.task]:
            if run_id not in self._results:
                self._enlist(run_id)
        with contextlib.closing(make_carrier(self._allocation, self._place)) as carrier:
            while self._active or (self._todo and not self._signalled):
                self._submit(carrier)
                if self._active:
                    carrier.wait(WAKE_S)
                else:
                    time.sleep(WAKE_S)
                self._collect()
                self._heed()
        self._heed()
        return self._end()

    def follow(self) -> int:
        """On every node but the first: start this node's processes of each run, and end with them."""
        carrier = make_carrier(self._allocation, self._place)
        code = 0
        with contextlib.closing(carrier):
            for run_id in self._batch.tasks[self._place.task]:
                known = RunResult.read(RunFolder(self._batch.run_dir(run_id)))
                if known is not None and known.final:
                    continue
                (job,) = carrier.submit([RunSpec.read(self._batch.run_dir(run_id))])
                while not job.done():
                    carrier.wait(WAKE_S)
                code = code or int(not job.result().final)
        return code

    def _enlist(self, run_id: str) -> None:
        """Put a run on the list, unless it has ended: in this job before it was queued again, or in another."""
        try:
            spec = RunSpec.read(self._batch.run_dir(run_id))
        except FileNotFoundError as error:
            print(error, flush=True)
            self._results[run_id], self._errors[run_id] = None, str(error)
            return
        known = RunResult.read(spec.folder)
        if known is not None and (known.final or self._ended_here(spec, known)):
            self._results[run_id] = known
            return
        self._forget_own_stop(spec)
        vanished = self._note_vanished(spec)
        if vanished is not None and retries.decide(spec, vanished, self._limits) is None:
            self._settle(spec, vanished)
        else:
            self._todo.append(spec)

    def _forget_own_stop(self, spec: RunSpec) -> None:
        """A stop that this job asked of a run before it was queued again, and that the run did not live to obey."""
        attempts = ledger.history(spec.folder)
        if attempts and attempts[-1].job == self._place.job_id and not self._stopped():
            with contextlib.suppress(OSError):
                spec.folder.stop.unlink(missing_ok=True)

    def _ended_here(self, spec: RunSpec, known: RunResult) -> bool:
        """Whether it failed for good in this very job, which was queued again for the sake of its other runs."""
        attempts = ledger.history(spec.folder)
        if not attempts or attempts[-1].job != self._place.job_id or attempts[-1].status != known.status:
            return False
        return known.status == "failed" and retries.decide(spec, known, self._limits) is None

    def _note_vanished(self, spec: RunSpec) -> RunResult | None:
        """Write down why an attempt of this job ended that could not say so itself, as on a node that died."""
        attempts = ledger.history(spec.folder)
        if not attempts or attempts[-1].status is not None or attempts[-1].job != self._place.job_id:
            return None
        cause = self._earlier_end()
        error = f"its job ended before it did: {cause.replace('_', ' ')}"
        result = RunResult(spec.run_id, "failed", spec.params, attempts=attempts[-1].number, error=error, cause=cause)
        with contextlib.suppress(RunFolderBusy, OSError), alone_in(spec.folder):
            ledger.note_ended(spec.folder, result)
        return result

    def _earlier_end(self) -> Cause:
        if self._vanished is None:
            self._vanished = self._place.earlier_end()
        return self._vanished

    def _submit(self, carrier: Carrier) -> None:
        while self._todo and carrier.free and not self._signalled:
            now = time.monotonic()
            ready = next((spec for spec in self._todo if self._not_before.get(spec.run_id, 0) <= now), None)
            if ready is None:
                return
            self._todo.remove(ready)
            if ready.folder.stop.exists() or self._stopped():
                self._cancelled(ready)
                continue
            self._begun = True
            self._active += carrier.submit([ready])

    def _stopped(self) -> bool:
        """Whether the study's owner wants this job to end."""
        return self._batch.stop.exists() or self._batch.stop_task(self._place.task).exists()

    def _cancelled(self, spec: RunSpec) -> None:
        """A run that is not wanted any more before it has begun."""
        attempts = attempts_made(spec.folder)
        error = "cancelled before it had begun"
        self._settle(spec, RunResult(spec.run_id, "cancelled", spec.params, attempts=attempts, error=error))

    def _heed(self) -> None:
        """Once a signal has come, ask what is under way to stop, and find out why."""
        if self._signalled and not self._told:
            self._told = True
            for job in self._active:
                job.cancel()
            if not self._stopped():
                self._why = self._place.why_signalled(self._allocation.grace_s)
            print(f"told to end: {(self._why.cause or 'cancelled').replace('_', ' ')}", flush=True)

    def _collect(self) -> None:
        for job in [job for job in self._active if job.done()]:
            self._active.remove(job)
            self._take(job.spec, job.result())

    def _take(self, spec: RunSpec, result: RunResult) -> None:
        self._heed()
        if result.final:
            self._settle(spec, result)
            return
        if result.cause == "killed" and oom_kills() > self._oom_kills:
            self._oom_kills = oom_kills()
            error = f"MemoryError: the job's memory was full ({result.error})"
            result = self._amend(spec, result, cause="out_of_memory", error=error)
        elif self._told and result.cause in (None, "killed"):
            result = self._amend(spec, result, status="cancelled", cause=self._why.cause)
            if self._why.cause is None:
                # Cancelled: by us, or else Slurm's last word on the job will tell the controller what to make of it.
                self._unfinished = True
                if self._stopped():
                    self._settle(spec, result)
                return
        if result.cause == "busy" and self._abandoned(spec):
            result = dataclasses.replace(
                result, cause="lost", error=f"{result.error}; which has not been heard of since"
            )
        retry = retries.decide(spec, result, self._limits, self._allocation.more_memory)
        if self._told and retry is not None and retry.here:
            with contextlib.suppress(OSError):
                retries.adjust(spec.folder, retry)
            self._todo.appendleft(spec)
        elif retry is not None and result.cause in HERE and retry.here and self._allocation.nodes == 1:
            self._again(spec, result, retry)
        else:
            self._settle(spec, result if retry is not None else self._given_up(spec, result))

    def _abandoned(self, spec: RunSpec) -> bool:
        """Whether the process that holds the run's folder has not given a sign of life for long.

        One that lives is waited for: it is the run's copy on a node that was cut off.
        """
        try:
            beat = spec.folder.heartbeat.stat().st_mtime_ns
        except OSError:
            beat = 0
        since, last = self._busy.get(spec.run_id, (time.monotonic(), beat))
        if beat != last:
            since = time.monotonic()
        self._busy[spec.run_id] = since, beat
        return time.monotonic() - since > BUSY_PATIENCE_S

    def _given_up(self, spec: RunSpec, result: RunResult) -> RunResult:
        """A result that stands because the limit of its cause is reached says so."""
        if result.status != "cancelled" or result.cause is None:
            return result
        return self._amend(spec, result, status="failed", error=retries.given_up(spec, result))

    def _again(self, spec: RunSpec, result: RunResult, retry: retries.Retry) -> None:
        changed = "".join(f" {key}={value}" for key, value in retry.adjustments.items())
        print(f"{spec.run_id}: {result.cause}, tried again{changed}", flush=True)
        try:
            retries.adjust(spec.folder, retry)
        except OSError as error:
            print(f"{spec.run_id}: {error}", flush=True)
            self._settle(spec, result)
            return
        if result.cause in ("disk_full", "busy"):
            self._not_before[spec.run_id] = time.monotonic() + PAUSE_S
        self._todo.appendleft(spec)

    def _amend(self, spec: RunSpec, result: RunResult, **changes: object) -> RunResult:
        """The result with what the job knows better, on disk too unless another process has the folder by now."""
        amended = dataclasses.replace(result, **changes)  # type: ignore[arg-type]
        with contextlib.suppress(RunFolderBusy, OSError), alone_in(spec.folder):
            if not _is_final(spec):
                amended.write(spec.folder)
                ledger.note_ended(spec.folder, amended)
        return amended

    def _settle(self, spec: RunSpec, result: RunResult) -> None:
        if result.status == "failed" or (result.status == "cancelled" and result.cause is None):
            with contextlib.suppress(RunFolderBusy, OSError), alone_in(spec.folder):
                if not _is_final(spec):
                    result.write(spec.folder)
        self._results[spec.run_id] = result
        self.note("running")

    def _count_idle_life(self) -> None:
        """A life of the job in which no run began counts as an attempt at the first, or there could be ever more."""
        if self._begun or not self._todo or self._why.cause is None:
            return
        spec = self._todo[0]
        try:
            with alone_in(spec.folder) as lock:
                attempt = count_attempt(lock, spec.folder)
        except (RunFolderBusy, OSError):
            return
        result = RunResult(spec.run_id, "cancelled", spec.params, attempts=attempt, cause=self._why.cause)
        result = self._amend(spec, result, error="its job was told to end before it began")
        if retries.decide(spec, result, self._limits) is None:
            self._todo.popleft()
            self._settle(spec, self._given_up(spec, result))

    def _end(self) -> int:
        """Go back into the queue if runs are left that want to go on; else say how it went."""
        self._count_idle_life()
        if self._todo and self._why.cause is not None and not self._stopped():
            self.note("requeued")
            if not self._why.come_back:
                return 0
            if self._allocation.requeue and self._place.queue_again():
                print("queued again", flush=True)
                return self._place.exit_code
        self.note("over")
        well = all(result is not None and result.final for result in self._results.values())
        return int(not well or bool(self._todo) or self._unfinished)

    def note(self, state: TaskState) -> None:
        """Leave word for the controller; the last word stands."""
        with contextlib.suppress(OSError), self._noting:
            self._last_word = self._last_word or state != "running"
            if state == "running" and self._last_word:
                return
            note = TaskNote(
                state, self._place.job_id, ledger.node(), time.time(), self.over(), self._why.cause, self._errors
            )
            note.write(self._batch.task(self._place.task))


def _is_final(spec: RunSpec) -> bool:
    """A result that nothing may replace."""
    known = RunResult.read(spec.folder)
    return known is not None and known.final


@contextlib.contextmanager
def noting(task: Task) -> Iterator[Task]:
    """Rewrite the task's file while in here."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(batches.TASK_BEAT_S):
            task.note("running")

    task.note("running")
    thread = threading.Thread(target=beat, name="task", daemon=True)
    thread.start()
    try:
        yield task
    finally:
        over.set()
        thread.join()


def oom_kills() -> int:
    """How many processes of this job the kernel has killed for want of memory; 0 where nobody counts."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for file in (
                Path(f"/sys/fs/cgroup{path}/memory.events"),
                Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control"),
            ):
                if (not controllers or "memory" in controllers.split(",")) and file.exists():
                    counts = dict(entry.split() for entry in file.read_text().splitlines())
                    return int(counts.get("oom_kill", 0))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The program of a job."""
    parser = argparse.ArgumentParser(description="Carry out the runs of one job.")
    parser.add_argument("batch", type=Path, help="the batch's folder")
    parser.add_argument("--task", type=int, help="which of its tasks, where Slurm does not tell")
    given = parser.parse_args(arguments)
    batch = batches.read(given.batch)
    if batch is None:
        print(f"{given.batch} is not the folder of a batch", file=sys.stderr)
        return NO_BATCH
    place: Place = SlurmPlace.here() if given.task is None else LocalPlace.here(given.task)
    os.environ[ledger.JOB] = place.job_id
    runs = " ".join(batch.tasks[place.task])
    again = f", queued again {count(place.restarts, 'time')}" if place.restarts else ""
    print(f"[{clock()}: job {place.job_id} on {ledger.node()}{again}: {runs}]", flush=True)
    task = Task(batch, place)
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, task.signalled)
    if place.node_rank:
        return task.follow()
    with noting(task):
        return task.carry_out()


if __name__ == "__main__":
    sys.exit(main())
