"""Carries out runs on this machine, several at a time, each in a process of its own that a fork server starts."""

import contextlib
import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Protocol

from orchestrator.attempts import attempts_made, last_lines, leave_behind, make_ready
from orchestrator.launchers.base import Job, JobBase, Unstarted
from orchestrator.launchers.fork_server import Begin, Begun, Ended, Stop, command
from orchestrator.reporter import last_metrics
from orchestrator.worker import BUSY, TRAIN, UNWRITTEN
from trainers.spec import Cause, RunResult, RunSpec, Status

__all__ = ["LocalJob", "LocalLauncher"]

_CLOSE_PATIENCE_S = 5.0
_CAUSES: Mapping[int, Cause] = {BUSY: "busy", UNWRITTEN: "disk_full", -signal.SIGKILL: "killed"}


class LocalJob(JobBase):
    """A run in a process of this machine; `pid` is None until it has begun."""

    def __init__(
        self, number: int, spec: RunSpec, slot: int, earlier_attempts: int, stop: Callable[[bool], None]
    ) -> None:
        super().__init__(spec)
        self.number, self.slot = number, slot
        self.earlier_attempts = earlier_attempts
        self.log_began = size(spec.folder.log)
        self.pid: int | None = None
        self.began = time.monotonic()
        self._tell_server = stop

    @property
    def id(self) -> str:
        """Number of the job in its launcher."""
        return f"local-{self.number}"

    def _stop(self, at_once: bool) -> None:
        """SIGTERM and, after the launcher's grace_s, SIGKILL; `at_once` the latter alone."""
        self._tell_server(at_once)


class LocalLauncher:
    """Runs on this machine, `workers` at a time.

    `gpus` are ids as CUDA_VISIBLE_DEVICES takes them, none for runs on the CPU; a run sees exactly one, and a GPU has
    at most `runs_per_gpu` runs. `timeout_min` minutes after its start a run is stopped and counts as failed. `target`
    is what trains, as `module:function`; `preload` are modules that the fork server imports once for all runs,
    beginning now. A signal handler may call `cancel`.
    """

    def __init__(
        self,
        workers: int,
        threads: int,
        gpus: tuple[str, ...] = (),
        runs_per_gpu: int = 1,
        timeout_min: float | None = None,
        grace_s: float = 30.0,
        *,
        target: str = TRAIN,
        preload: Sequence[str] = ("trainers.preload",),
    ) -> None:
        self._places = [gpus[slot % len(gpus)] if gpus else None for slot in range(workers)]
        if gpus and workers > len(gpus) * runs_per_gpu:
            raise ValueError(f"{workers} workers on {len(gpus)} GPUs with {runs_per_gpu} runs each")
        self._threads, self._timeout_min, self._grace_s = threads, timeout_min, grace_s
        self._target, self._preload = target, tuple(preload)
        self._free = set(range(workers))
        self._numbers = itertools.count(1)
        self._some_ended = threading.Event()
        self._closed = False
        self._server = self._new_server()

    @property
    def capacity(self) -> int:
        """Runs at a time."""
        return len(self._places)

    @property
    def free(self) -> int:
        """Slots without a run."""
        return len(self._free)

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """Start the runs, each in a free slot. Raises RuntimeError where there is none, or after `close`."""
        if self._closed:
            raise RuntimeError("the launcher is closed")
        if len(specs) > len(self._free):
            raise RuntimeError(f"{len(specs)} runs submitted, {len(self._free)} of {self.capacity} slots are free")
        return [self._start(spec) for spec in specs]

    def _start(self, spec: RunSpec) -> Job:
        try:
            return self._begin(spec)
        except OSError as error:
            return Unstarted(spec, error)

    def _begin(self, spec: RunSpec) -> LocalJob:
        earlier = make_ready(spec.folder)
        slot = self._best_slot()
        number = next(self._numbers)
        job = LocalJob(number, spec, slot, earlier, lambda at_once: self._stop(number, at_once))
        self._free.discard(slot)
        gpu = self._places[slot]
        begin = Begin(
            job=number,
            run_dir=str(spec.run_dir.absolute()),
            target=self._target,
            log=str(spec.folder.log.absolute()),
            env={} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu},
            timeout_s=None if self._timeout_min is None else self._timeout_min * 60,
            grace_s=self._grace_s,
        )
        try:
            while not self._server.begin(job, begin):
                self._server.close()
                self._server = self._new_server()
        except OSError:
            self._free.add(slot)
            raise
        return job

    def _best_slot(self) -> int:
        """A free slot, on the GPU that has the fewest runs."""
        load = Counter(gpu for slot, gpu in enumerate(self._places) if slot not in self._free)
        return min(list(self._free), key=lambda slot: (load[self._places[slot]], slot))

    def _new_server(self) -> "_ForkServer":
        return _ForkServer(self._preload, run_environment(self._threads), self._take_note)

    def _stop(self, number: int, at_once: bool) -> None:
        self._server.stop(Stop(number, 0 if at_once else self._grace_s))

    def _take_note(self, job: LocalJob, how: Ended) -> None:
        """A job has ended; called in the thread that listens to the server."""
        try:
            result = outcome(job, how, self._timeout_min)
        except Exception as error:  # whatever it is, the study must not wait for this job for ever
            result = RunResult(job.spec.run_id, "failed", job.spec.params, error=f"its folder cannot be read: {error}")
        self._free.add(job.slot)  # before the job is done: who sees that may submit the next
        job.outcome = result
        self._some_ended.set()

    def wait(self, timeout_s: float) -> None:
        """Sleep until a run ends, unless one did since the last call, or nothing is under way."""
        if len(self._free) < self.capacity:
            self._some_ended.wait(timeout_s)
        self._some_ended.clear()

    outlives = False
    unsent = 0

    def news(self) -> list[str]:
        """None: what happens to its runs, their results tell."""
        return []

    def adopt(self, specs: Sequence[RunSpec]) -> list[Job]:  # noqa: ARG002 - the contract's
        """None: its runs die with it."""
        return []

    def close(self) -> None:
        """Kill what is under way, and the fork server. Jobs that were under way are cancelled."""
        self._closed = True
        self._server.close()


class _ForkServer:
    """This process's end of one fork server, from its start to its death.

    A thread listens to it, because a KeyboardInterrupt, which only the main thread gets, could lose a message.
    """

    def __init__(
        self, preload: Sequence[str], environment: dict[str, str], ended: Callable[[LocalJob, Ended], None]
    ) -> None:
        self._ended = ended
        self._jobs: dict[int, LocalJob] = {}
        # Re-entrant, because a signal handler may cancel a job while one is being submitted.
        self._lock = threading.RLock()
        self._gone = self._closing = False
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self._socket, theirs = socket.socketpair()
        self._connection = Connection(os.dup(self._socket.fileno()))
        with theirs:
            self._process = subprocess.Popen(
                command(theirs.fileno(), preload),
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in a terminal is the controller's to deal with
            )
        self._listener = threading.Thread(target=self._listen, name="fork server", daemon=True)
        self._listener.start()

    def begin(self, job: LocalJob, begin: Begin) -> bool:
        """Start a job; False where the server is dead. One that dies from now on ends the job."""
        with self._lock:
            if self._gone:
                return False
            self._jobs[job.number] = job
            with contextlib.suppress(OSError):  # the listener is about to hear of it
                self._connection.send(begin)
            return True

    def stop(self, stop: Stop) -> None:
        with self._lock:
            if stop.job in self._jobs and not self._gone:
                with contextlib.suppress(OSError):
                    self._connection.send(stop)

    def close(self) -> None:
        """End the server and with it every run; idempotent."""
        with self._lock:
            self._closing = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_CLOSE_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._hear(self._connection.recv())
        with self._lock:
            self._gone = True
            orphans = list(self._jobs.values())
            self._jobs.clear()
        self._bury(orphans)

    def _hear(self, message: Begun | Ended) -> None:
        if isinstance(message, Begun):
            job = self._jobs[message.job]
            job.pid, job.began = message.pid, time.monotonic()
            return
        with self._lock:
            job = self._jobs.pop(message.job)
        self._ended(job, message)

    def _bury(self, orphans: Sequence[LocalJob]) -> None:
        """The server is dead, its children are dying: make sure, and say so for each."""
        for job in orphans:
            if job.pid is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(job.pid, signal.SIGKILL)
        code = self._process.wait()
        self._connection.close()
        self._socket.close()
        with self._said:
            error = "the launcher was closed" if self._closing else f"the fork server died: {_death(code, self._said)}"
        for job in orphans:
            job.cancelled = job.cancelled or self._closing
            self._ended(job, Ended(job.number, -signal.SIGKILL, error=error))


class EndedJob(Protocol):
    """What must be known of a job whose process is gone."""

    spec: RunSpec
    earlier_attempts: int
    log_began: int
    began: float
    cancelled: bool

    @property
    def log_path(self) -> Path:
        """What it printed."""


def outcome(job: EndedJob, how: Ended, timeout_min: float | None) -> RunResult:
    """The result that this attempt wrote; else one that says how it died, which is then left in the folder."""
    written = RunResult.read(job.spec.folder)
    if written is not None and written.final:
        return written
    if written is None or written.attempts <= job.earlier_attempts or how.code == BUSY:
        result = _obituary(job, how, timeout_min)
    elif how.timed_out and written.status == "cancelled":
        result = dataclasses.replace(written, status="failed", error=f"timed out after {timeout_min:g} min")
    else:
        return written
    if how.code != BUSY:
        leave_behind(result, job.spec.folder)
    return result


def _obituary(job: EndedJob, how: Ended, timeout_min: float | None) -> RunResult:
    steps, metrics = last_metrics(job.spec.folder)
    status: Status = "failed"
    cause: Cause | None = _CAUSES.get(how.code)
    if how.timed_out:
        error, cause = f"timed out after {timeout_min:g} min", None
    elif job.cancelled:
        status, error, cause = "cancelled", how.error or "ended before it could save a checkpoint", None
    else:
        error = how.error or _how_it_died(job, how.code)
    seconds = time.monotonic() - job.began
    attempts = max(attempts_made(job.spec.folder), job.earlier_attempts + 1)
    return RunResult(job.spec.run_id, status, job.spec.params, metrics, steps, seconds, attempts, error, cause=cause)


def _how_it_died(job: EndedJob, code: int) -> str:
    try:
        with job.log_path.open("rb") as log:
            return _death(code, log, job.log_began)
    except OSError:
        return _death(code)


def _death(code: int, log: IO[bytes] | None = None, log_began: int = 0) -> str:
    """-9 -> "killed by signal 9 (out of memory?)", and the end of what it said."""
    if code == UNWRITTEN:
        how = "its result could not be written (is the disk full?)"
    elif code >= 0:
        how = f"exited with code {code}"
    elif code == -signal.SIGKILL:
        how = "killed by signal 9 (out of memory?)"
    else:
        how = f"killed by signal {-code} ({signal.strsignal(-code)})"
    last_words = last_lines(log, log_began) if log else ""
    return f"{how}; its log ends: {last_words}" if last_words else how


def run_environment(threads: int) -> dict[str, str]:
    """For the fork server and so for every run; libraries read these when they are imported."""
    libraries = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    return {
        **os.environ,
        **{f"{library}_NUM_THREADS": str(threads) for library in libraries},
        "TOKENIZERS_PARALLELISM": "false",
        # Ask the driver, not CUDA, whether there are GPUs: CUDA must not be awake when a run is forked.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    }


def size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
