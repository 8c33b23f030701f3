"""Keeps a run's folder to one process at a time, and counts the attempts made at the run.

Both are one small file, `lock`: held through the kernel, which forgets it with the process, and holding as JSON the
number of the latest attempt and who made it.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from orchestrator import ledger
from orchestrator.errors import OrchestratorError
from trainers.files import read_json
from trainers.spec import RunFolder, RunResult

# How long a process that is being killed may go on holding its run's folder.
_RELEASE_PATIENCE_S = 2.0
_TAIL_BYTES, _TAIL_CHARS = 4096, 500


class RunFolderBusy(OrchestratorError):
    """Another process works in the run's folder."""


@contextlib.contextmanager
def alone_in(folder: RunFolder) -> Iterator[int]:
    """Hold the run's folder; gives the file descriptor of its lock, for `count_attempt`.

    Raises RunFolderBusy where another process holds it, and OSError where the folder is missing or read-only.
    """
    descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(descriptor, folder)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: RunFolder) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held = _latest(folder)
        holder = f"process {held.get('pid', '?')} on {held.get('host', '?')}"
        raise RunFolderBusy(f"{holder} works in {folder.root}; this attempt changed nothing there") from None
    except OSError as error:  # a file system without locks, as some network mounts are
        print(f"{folder.root} cannot be locked ({error}): start no second attempt meanwhile", file=sys.stderr)


def is_busy(folder: RunFolder) -> bool:
    """Whether a process works in the run's folder now."""
    if not folder.lock.exists():
        return False
    try:
        with alone_in(folder):
            return False
    except RunFolderBusy:
        return True
    except OSError:  # a folder that one may only read
        return False


def count_attempt(descriptor: int, folder: RunFolder) -> int:
    """Note that an attempt begins here, and return its number, 1 for the first."""
    attempt = attempts_made(folder) + 1
    record = json.dumps({"attempt": attempt, "pid": os.getpid(), "host": socket.gethostname()})
    # One write over the old record, padded: a kill in between leaves one or the other.
    with contextlib.suppress(OSError):  # with a full disk the count falls behind, and no more
        os.pwrite(descriptor, record.ljust(200).encode(), 0)
    return attempt


def attempts_made(folder: RunFolder) -> int:
    """How many attempts at the run there were, those that died and the one under way included."""
    result = RunResult.read(folder)
    return max(int(_latest(folder).get("attempt", 0)), result.attempts if result else 0)


def make_ready(folder: RunFolder) -> int:
    """What a launcher does before it submits a run: forget a stop that an earlier attempt did not live to obey.

    From here on a stop is meant for the new attempt, also before that begins. Returns `attempts_made`, so that the
    launcher can tell a result of the new attempt from an older one.
    """
    with contextlib.suppress(RunFolderBusy), alone_in(folder):
        folder.stop.unlink(missing_ok=True)
    return attempts_made(folder)


def leave_behind(result: RunResult, folder: RunFolder) -> None:
    """Write the result for a run that could not, unless another process has taken over the folder."""
    give_up_at = time.monotonic() + _RELEASE_PATIENCE_S
    while True:
        try:
            with alone_in(folder):
                known = RunResult.read(folder)
                if known is None or not known.final:
                    result.write(folder)
                    ledger.note_ended(folder, result)
                return
        except RunFolderBusy:
            if time.monotonic() > give_up_at:
                return
            time.sleep(0.02)
        except OSError:  # the disk is full, or the folder gone: who asks the job is told all the same
            return


def _latest(folder: RunFolder) -> dict[str, Any]:
    record = read_json(folder.lock)
    return record if isinstance(record, dict) else {}


def last_lines(log: IO[bytes], begins: int = 0) -> str:
    """The last two lines of what was written from `begins` on."""
    log.seek(max(begins, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-2:])[-_TAIL_CHARS:]


def tail(path: Path) -> str:
    """The last two lines of a file, "" where it cannot be read."""
    try:
        with path.open("rb") as log:
            return last_lines(log)
    except OSError:
        return ""
