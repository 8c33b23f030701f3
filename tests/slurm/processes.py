"""The processes of a cluster and of its jobs, told from everybody else's, and their end.

As a program it kills what a cluster has started as soon as its standard input closes: `python processes.py HOME`. It
imports nothing of ours, because it is started by its path.
"""

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

NODES = (1, 2)
# By this variable a cluster's daemons are told from everybody else's.
MARK = "SLURM_TEST_CLUSTER"
PATIENCE_S = 30.0


def job_processes(home: Path, node: int) -> list[psutil.Process]:
    """What runs for jobs on a node: each slurmstepd, which tells the controller how a job ended, before its job."""
    steps, jobs = [], []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # slurmstepd writes its title over its environment: it is known by the socket that it listens at.
            if process.name() == "slurmstepd":
                if any(str(end.laddr).startswith(f"{home}/node{node}/") for end in process.net_connections("unix")):
                    steps.append(process)
                    jobs += process.children(recursive=True)
                continue
            # A job whose slurmstepd is dead.
            environment = process.environ()
            if environment.get("SLURM_CONF") == f"{home}/slurm.conf":
                jobs += [process] if environment.get("SLURMD_NODENAME") == f"node{node}" else []
    return list(dict.fromkeys([*steps, *jobs]))


def _of(home: Path) -> list[psutil.Process]:
    """What belongs to a cluster, but its clients."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(home):
                found.append(process)
    return found + [process for node in NODES for process in job_processes(home, node)]


def kill(processes: Sequence[psutil.Process]) -> None:
    """Kill them, and wait until none of them runs."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    until = time.monotonic() + PATIENCE_S
    while left := [process for process in processes if _runs(process)]:
        if time.monotonic() > until:
            raise RuntimeError(f"cannot be killed: {left}")
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    # A zombie is dead, though whoever is to take note of it may be slow to.
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def kill_all(home: Path) -> None:
    """Kill what belongs to a cluster, and what that starts while it is being killed."""
    while processes := [process for process in _of(home) if _runs(process)]:
        kill(processes)


def guard(home: Path) -> None:
    """Wait until the owner closes its end, or dies; then nothing of its cluster is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.read()
    kill_all(home)
    shutil.rmtree(home.parent, ignore_errors=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
