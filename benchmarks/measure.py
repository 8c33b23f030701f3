"""Runs a command and tells what it cost, with all the processes that it started, also those that it left behind.

measure(["make"], log, env) -> Cost(wall_s=3.1, cpu_s=5.9, peak_rss_mb=812.0, peak_pss_mb=640.0)
"""

import ctypes
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from benchmarks.work import ROOT

SAMPLE_S = 0.2
# Proportional memory is dear to read, more so for many processes.
PSS_EVERY = 5
GRACE_S = 15
MB = 2**20


class CommandFailed(Exception):
    """The command ended with another code than 0; the message has the end of its log."""


@dataclass
class Cost:
    """`wall_s` from the start of the first process to its end; the rest is summed over all processes.

    RSS counts a page once for each process that maps it, PSS (proportional) once in all.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mb: float = 0.0
    peak_pss_mb: float = 0.0


def measure(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Cost:
    """Raises CommandFailed. Nothing that the command started is left when this returns."""
    adopt_orphans()
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=ROOT)
        sampler = Sampler(process.pid)
        code = process.wait()
        wall_s = time.perf_counter() - start
    cost = sampler.stop()
    end_descendants()
    if code:
        end = log.read_text(errors="replace")[-3000:]
        raise CommandFailed(f"{' '.join(command)}\nexited with {code}:\n{end}")
    return replace(cost, wall_s=wall_s)


class Sampler(threading.Thread):
    """Adds up what our descendants use, five times a second, until `stop`.

    CPU time is each process' own, as last seen: up to a fifth of a second at the end of each is missed.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.cost, self.done = root, Cost(), threading.Event()
        self.cpu_s: dict[tuple[int, float], float] = {}
        self.start()

    def stop(self) -> Cost:
        self.done.set()
        self.join()
        return replace(self.cost, cpu_s=sum(self.cpu_s.values()))

    def run(self) -> None:
        turn = 0
        while not self.done.wait(SAMPLE_S):
            seen = [self._visit(process, with_pss=turn % PSS_EVERY == 0) for process in descendants()]
            self.cost.peak_rss_mb = max(self.cost.peak_rss_mb, sum(rss for rss, _ in seen) / MB)
            self.cost.peak_pss_mb = max(self.cost.peak_pss_mb, sum(pss for _, pss in seen) / MB)
            turn += 1

    def _visit(self, process: psutil.Process, *, with_pss: bool) -> tuple[int, int]:
        """Note the CPU time of a process; returns its RSS and, where asked, its PSS in bytes."""
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                self._reap(process)
                return 0, 0
            with process.oneshot():
                times = process.cpu_times()
                self.cpu_s[process.pid, process.create_time()] = times.user + times.system
                return process.memory_info().rss, process.memory_full_info().pss if with_pss else 0
        except psutil.Error:
            return 0, 0

    def _reap(self, process: psutil.Process) -> None:
        """Do for an adopted orphan what init would: some programs wait until a daemon's pid is gone."""
        if process.pid != self.root and process.ppid() == os.getpid():
            process.wait(timeout=0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended, so that daemons are counted, and ended, too."""
    pr_set_child_subreaper = 36
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def end_descendants() -> None:
    """Wait for what the command left behind, and end what does not: it must not disturb the next measurement."""
    left = descendants()
    _, alive = psutil.wait_procs(left, timeout=GRACE_S)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=GRACE_S)


def wait_keeping(pid: int, each: Callable[[], None]) -> psutil.Process:
    """Call `each` now and then until process `pid` ends; its times can still be read, for it is not reaped."""
    process = psutil.Process(pid)
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        each()
        time.sleep(SAMPLE_S)
    return process


def machine() -> dict[str, Any]:
    """What the numbers hold for: processor, system and date."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "date": date.today().isoformat(),
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions(python: str, names: Sequence[str]) -> dict[str, str]:
    """Versions of distributions as `python` sees them."""
    code = "import sys; from importlib.metadata import version as v; print(*[f'{n}={v(n)}' for n in sys.argv[1:]])"
    found = subprocess.check_output([python, "-c", code, *names], text=True)
    return dict(pair.split("=", 1) for pair in found.split())


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
