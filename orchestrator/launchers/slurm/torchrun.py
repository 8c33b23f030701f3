"""Carries out runs that take several processes each, which train together, through torchrun.

torchrun ends its processes when it is signalled; a run must save a checkpoint instead. So it is started deaf, and runs
are asked to stop through their folders.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence

from orchestrator.attempts import make_ready
from orchestrator.launchers.base import Job, JobBase, Unstarted
from orchestrator.launchers.fork_server import Ended
from orchestrator.launchers.local import outcome, run_environment, size
from orchestrator.launchers.slurm.batches import Allocation, touch
from trainers.spec import RunSpec

_PR_SET_PDEATHSIG = 1
_DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
_FIRST_PORT, _PORTS = 20000, 20000


class TorchrunJob(JobBase):
    """A run of several processes, which print to one log."""

    def __init__(self, spec: RunSpec, process: subprocess.Popen[bytes], earlier_attempts: int, slot: int) -> None:
        super().__init__(spec)
        self.slot, self.earlier_attempts = slot, earlier_attempts
        self.log_began = size(spec.folder.log)
        self.began = time.monotonic()
        self.process = process
        self.kill_at: float | None = None

    @property
    def id(self) -> str:
        """The number of torchrun's process."""
        return f"torchrun-{self.process.pid}"

    def _stop(self, at_once: bool) -> None:
        """Ask through its folder."""
        if at_once:
            self.kill()
        else:
            touch(self.spec.folder.stop)

    def kill(self) -> None:
        """All of its processes."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class TorchrunLauncher:
    """Runs of `allocation.ranks` processes on each of its nodes, `runs_at_a_time` of them on this one."""

    def __init__(self, allocation: Allocation, gpus: Sequence[str], node_rank: int, first_host: str) -> None:
        self._allocation, self._gpus = allocation, gpus
        self._node_rank, self._first_host = node_rank, first_host
        self._active: list[TorchrunJob] = []

    @property
    def free(self) -> int:
        """Places without a run."""
        return self._allocation.runs_at_a_time - len(self._active)

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """Start the runs."""
        return [self._start(spec) for spec in specs]

    def _start(self, spec: RunSpec) -> Job:
        slot = min(set(range(self._allocation.runs_at_a_time)) - {job.slot for job in self._active})
        try:
            earlier = make_ready(spec.folder) if self._node_rank == 0 else 0
            job = TorchrunJob(spec, self._popen(spec, slot), earlier, slot)
        except OSError as error:
            return Unstarted(spec, error)
        self._active.append(job)
        return job

    def _popen(self, spec: RunSpec, slot: int) -> subprocess.Popen[bytes]:
        environment = run_environment(self._allocation.threads)
        if self._gpus:
            share = self._gpus[slot * self._allocation.gpus : (slot + 1) * self._allocation.gpus]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share)
        with spec.folder.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", __spec__.name, *self._arguments(spec)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _arguments(self, spec: RunSpec) -> list[str]:
        """Of torchrun."""
        given = self._allocation
        whose = f"{spec.study}/{spec.run_id}/{os.environ.get('SLURM_JOB_ID')}"
        port = _FIRST_PORT + zlib.crc32(whose.encode()) % _PORTS
        meeting = (
            ["--standalone"]
            if given.nodes == 1
            else [f"--node-rank={self._node_rank}", f"--master-addr={self._first_host}", f"--master-port={port}"]
        )
        return [
            *("--nnodes", str(given.nodes), "--nproc-per-node", str(given.ranks), *meeting),
            *("--signals-to-handle", "SIGHUP"),
            *("-m", "orchestrator.ranks", str(spec.run_dir), "--train", given.target),
        ]

    def wait(self, timeout_s: float) -> None:
        """Until one ends."""
        give_up_at = time.monotonic() + timeout_s
        while not any(self._look(job) for job in list(self._active)) and time.monotonic() < give_up_at:
            time.sleep(0.05)

    def _look(self, job: TorchrunJob) -> bool:
        """Whether it has ended."""
        code = job.process.poll()
        if code is None:
            if job.cancelled and job.kill_at is None:
                job.kill_at = time.monotonic() + self._allocation.grace_s
            if job.kill_at is not None and time.monotonic() > job.kill_at:
                job.kill()
            return False
        job.kill()  # what it left behind
        self._active.remove(job)
        job.outcome = outcome(job, Ended(0, code), None)
        return True

    def close(self) -> None:
        """Kill what is under way."""
        for job in self._active:
            job.kill()
            job.process.wait()
        self._active.clear()


def main(arguments: Sequence[str]) -> None:
    """Become a torchrun that hears no signal and dies with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", *arguments])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
