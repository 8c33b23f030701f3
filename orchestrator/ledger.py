"""The history of a run, attempt by attempt, in its attempts.jsonl: when and where each began, how it ended, and why.

{"attempt": 1, "event": "began", "time": 1751367600.2, "host": "node1", "pid": 4711, "job": "17_3"}
{"attempt": 1, "event": "ended", "time": 1751367660.9, "status": "cancelled", "cause": "time_limit"}

Lines are only ever appended, by the process that holds the run's folder or, where that one is dead, by whoever finds
out. The last `ended` line of an attempt counts: a launcher may know better than the run why it ended.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

from trainers.spec import Cause, RunFolder, RunResult, Status

# In the environment of a run: the name of the job that carries it out, as its scheduler knows it.
JOB = "PREFSWEEP_JOB"


@dataclass(frozen=True)
class Attempt:
    """One attempt; `status` is None where nothing is known of its end."""

    number: int
    host: str = ""
    job: str = ""
    began: float | None = None
    status: Status | None = None
    cause: Cause | None = None
    # Optimiser steps done by its end.
    steps: int = 0


def node() -> str:
    """The name of this machine: as Slurm calls it, which may run several nodes on one."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def note_began(folder: RunFolder, attempt: int) -> None:
    """An attempt begins in this process."""
    job = os.environ.get(JOB, "")
    _append(folder, {"attempt": attempt, "event": "began", "host": node(), "pid": os.getpid(), "job": job})


def note_ended(folder: RunFolder, result: RunResult) -> None:
    """The attempt that the result is of has ended."""
    told = {"status": result.status, "cause": result.cause, "steps": result.steps}
    _append(folder, {"attempt": result.attempts, "event": "ended", **told})


def note_anew(folder: RunFolder) -> None:
    """A person asks for the run again: what was before does not count against its limits."""
    if folder.attempts.exists():
        _append(folder, {"event": "anew", "attempts": max((a.number for a in _all(folder)), default=0)})


def before(folder: RunFolder) -> int:
    """How many attempts there were when the run was last asked for anew."""
    return max((line["attempts"] for line in _lines(folder) if isinstance(line.get("attempts"), int)), default=0)


def history(folder: RunFolder) -> list[Attempt]:
    """The attempts since the run was last asked for anew, in order; lines that cannot be read are left out."""
    lines = _lines(folder)
    last = max((place for place, line in enumerate(lines) if line.get("event") == "anew"), default=-1)
    return _attempts(lines[last + 1 :])


def _all(folder: RunFolder) -> list[Attempt]:
    return _attempts(_lines(folder))


def _attempts(lines: list[dict[str, Any]]) -> list[Attempt]:
    found: dict[int, Attempt] = {}
    for line in lines:
        number = line.get("attempt")
        if isinstance(number, int):
            found[number] = _with(found.get(number, Attempt(number)), line)
    return [found[number] for number in sorted(found)]


def causes(folder: RunFolder) -> Counter[Cause]:
    """How many of these attempts ended for which cause."""
    return Counter(attempt.cause for attempt in history(folder) if attempt.cause is not None)


def retried(folder: RunFolder) -> Counter[Cause]:
    """How often the run was tried again, by the cause that made it so."""
    return Counter(attempt.cause for attempt in history(folder)[:-1] if attempt.cause is not None)


def told_retries(folder: RunFolder) -> str:
    """ "tried again after node failure, out of memory (2 times)"; "" where it was not."""
    told = [
        cause.replace("_", " ") + (f" ({n} times)" if n > 1 else "") for cause, n in sorted(retried(folder).items())
    ]
    return "tried again after " + ", ".join(told) if told else ""


def _with(attempt: Attempt, line: dict[str, Any]) -> Attempt:
    match line:
        case {"event": "began", "host": str(host), "job": str(job), "time": float(began)}:
            return dataclasses.replace(attempt, host=host, job=job, began=began)
        case {"event": "ended", "status": status, "cause": cause} if status in get_args(Status):
            known, steps = cause if cause in get_args(Cause) else None, line.get("steps")
            return dataclasses.replace(
                attempt, status=status, cause=known, steps=steps if isinstance(steps, int) else attempt.steps
            )
    return attempt


def _append(folder: RunFolder, line: dict[str, Any]) -> None:
    """In one write; a full disk costs the line, not the run."""
    text = json.dumps({**line, "time": round(time.time(), 3)}) + "\n"
    with contextlib.suppress(OSError):
        descriptor = os.open(folder.attempts, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            # After half a line that a full disk left behind, a new one begins.
            broken = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (("\n" if broken else "") + text).encode())
        finally:
            os.close(descriptor)


def _lines(folder: RunFolder) -> list[dict[str, Any]]:
    try:
        raw = folder.attempts.read_bytes().splitlines()
    except OSError:
        return []
    lines = []
    for text in raw:
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict):
                lines.append(line)
    return lines
