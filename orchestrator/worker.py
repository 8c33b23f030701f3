"""Carries out one run in its folder: reads the spec, trains, and leaves a result whatever happens.

    python -m orchestrator.worker RUN_DIR [--train MODULE:FUNCTION]

exits 0 completed or pruned, 1 failed, 3 cancelled; 2 no run there, 4 another process works in the folder, 5 the result
cannot be written. SIGTERM, SIGINT, SIGUSR2 or a file `stop` in the folder ask for a checkpoint and an end (3), a file
`prune` for an end that stands (0).
"""

import argparse
import contextlib
import dataclasses
import errno
import faulthandler
import importlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from orchestrator import ledger, pruned
from orchestrator.attempts import RunFolderBusy, alone_in, count_attempt
from orchestrator.reporter import FileReporter, finite, last_metrics
from orchestrator.retries import adjusted
from trainers.spec import Cause, Reporter, RunFolder, RunResult, RunSpec, Status

Train = Callable[[RunSpec, Reporter], RunResult]

# What carries out a run, unless told otherwise; imported when a run begins, because it is heavy.
TRAIN = "trainers.train:train"
EXIT_CODES: dict[Status, int] = {"completed": 0, "pruned": 0, "failed": 1, "cancelled": 3}
NO_RUN, BUSY, UNWRITTEN = 2, 4, 5
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
# Python's and torch's; torch itself is not imported here.
OUT_OF_MEMORY = ("MemoryError", "OutOfMemoryError", "torch.OutOfMemoryError", "CUDA out of memory")
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
WRITE_AGAIN_AFTER_S = (0.2, 1.0, 3.0)


def carry_out(run_dir: Path, train: Train | None = None, *, heed_signals: bool = True, alone: bool = True) -> RunResult:
    """Make one attempt at the run, and write its result; a run that has completed or was pruned is left as it is.

    A run that is to be pruned ends before it begins, unless other ranks wait for this one (`alone`): then all of them
    find out together. One that was pruned loses its checkpoints, which only serve to go on.

    Whatever `train` raises is a failed result. Raises FileNotFoundError where the folder has no spec, RunFolderBusy
    where another process works in it, and OSError where the result cannot be written.
    """
    spec = adjusted(RunSpec.read(run_dir))
    with alone_in(spec.folder) as lock:
        known = RunResult.read(spec.folder)
        if known is not None and known.final:  # by a job that was given up for lost
            return known
        _clear_leftovers(spec.folder)
        attempt = count_attempt(lock, spec.folder)
        ledger.note_began(spec.folder, attempt)
        if attempt > 1:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            print(f"[attempt {attempt}, {now}, process {os.getpid()} on {socket.gethostname()}]", flush=True)
        # To the end, because what is asked to stop while it writes its result has completed all the same.
        with FileReporter(spec.folder) as reporter, _heeding(reporter, heed_signals):
            try:
                if alone and spec.folder.prune.exists():
                    result = _unfinished(spec, "cancelled", "pruned before it had begun", 0.0)
                else:
                    result = _attempt(spec, train or load_train(TRAIN), reporter)
                result = pruned.as_decided(result, spec.folder)
            except KeyboardInterrupt:
                interrupted = _unfinished(spec, "cancelled", "interrupted", 0.0)
                _write(pruned.as_decided(interrupted, spec.folder), attempt, spec.folder)
                raise
            result = _write(result, attempt, spec.folder)
            ledger.note_ended(spec.folder, result)
            if result.status == "pruned":
                reporter.afterwards(lambda: shutil.rmtree(spec.folder.checkpoints, ignore_errors=True))
            reporter.do_what_is_left()
        spec.folder.stop.unlink(missing_ok=True)
        return result


def load_train(target: str) -> Train:
    """The function that `module:function` names, imported when it is called."""

    def train(spec: RunSpec, reporter: Reporter) -> RunResult:
        module, _, function = target.partition(":")
        return cast(Train, getattr(importlib.import_module(module), function))(spec, reporter)

    return train


def _clear_leftovers(folder: RunFolder) -> None:
    """Drop what an earlier attempt was killed in the middle of writing."""
    for part in folder.root.glob(".*.part"):
        part.unlink(missing_ok=True)


def _attempt(spec: RunSpec, train: Train, reporter: FileReporter) -> RunResult:
    began = time.monotonic()
    try:
        return _sound(train(spec, reporter))
    except (Exception, SystemExit) as error:  # what ends a run must not end the study
        traceback.print_exc()
        return _unfinished(spec, "failed", f"{type(error).__name__}: {error}", time.monotonic() - began)


def cause_of(result: RunResult) -> Cause | None:
    """Why a run failed, by its error: what trains may be anybody's code, and tells no more than that."""
    if result.status != "failed" or result.cause is not None:
        return result.cause
    error = result.error or ""
    if error.startswith(OUT_OF_MEMORY) or "CUDA error: out of memory" in error:
        return "out_of_memory"
    return "disk_full" if any(sign in error for sign in DISK_FULL) else "error"


def _sound(result: Any) -> RunResult:
    """What `train` returned; raises TypeError where that cannot be a result, because the target may be anybody's."""
    if isinstance(result, RunResult) and result.is_sound():
        return result
    raise TypeError(
        f"launcher.target returned {result!r:.200}: it must return a RunResult, whose metrics are a mapping and whose "
        f"status is one of {', '.join(EXIT_CODES)}"
    )


@contextlib.contextmanager
def _heeding(reporter: FileReporter, wanted: bool) -> Iterator[None]:
    """While in here, signals that end a process ask for a checkpoint instead."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: reporter.ask_to_stop()) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _unfinished(spec: RunSpec, status: Status, error: str, seconds: float) -> RunResult:
    steps, metrics = last_metrics(spec.folder)
    return RunResult(spec.run_id, status, spec.params, metrics, steps, seconds, error=error)


def _write(result: RunResult, attempt: int, folder: RunFolder) -> RunResult:
    """Write the result as this attempt's; what JSON cannot hold is a failure of the run."""
    try:
        metrics = {name: finite(value) for name, value in result.metrics.items()}
        result = dataclasses.replace(result, metrics=metrics, attempts=attempt, cause=cause_of(result))
        _persistently(lambda: result.write(folder))
    except (TypeError, ValueError) as error:
        traceback.print_exc()
        text = f"the run's result cannot be written as JSON: {error}"
        result = RunResult(result.run_id, "failed", attempts=attempt, error=text, cause="error")
        _persistently(lambda: result.write(folder))
    return result


def _persistently(write: Callable[[], None]) -> None:
    """A full disk or a network mount may recover, and a result is worth waiting for."""
    for pause_s in WRITE_AGAIN_AFTER_S:
        try:
            return write()
        except OSError as error:
            print(f"the result cannot be written, trying again in {pause_s} s: {error}", file=sys.stderr, flush=True)
            time.sleep(pause_s)
    return write()


def run(run_dir: Path, target: str = TRAIN) -> int:
    """Carry out a run as this process's only work; the exit code."""
    return exit_code(lambda: EXIT_CODES[carry_out(run_dir, load_train(target)).status])


def exit_code(work: Callable[[], int]) -> int:
    """What `work` returns, or the code for what kept a run from being carried out, which is told."""
    try:
        return work()
    except FileNotFoundError as error:
        return say(NO_RUN, error)
    except RunFolderBusy as error:
        return say(BUSY, error)
    except OSError as error:
        return say(UNWRITTEN, f"the result is lost: {error}")


def say(code: int, what: object) -> int:
    """Tell on stderr, should anybody listen, why the exit code is this one."""
    with contextlib.suppress(OSError):
        print(what, file=sys.stderr, flush=True)
    return code


def command_line(
    work: Callable[[Path, str], int], name: str, description: str, arguments: Sequence[str] | None = None
) -> int:
    """Parse RUN_DIR and --train of the program `name`, and do its work."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("run_dir", type=Path, help="the run's folder, with its spec.json")
    parser.add_argument("--train", default=TRAIN, metavar="MODULE:FUNCTION", help="what trains (%(default)s)")
    given = parser.parse_args(arguments)
    return work(given.run_dir, given.train)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(run, "orchestrator.worker", "Carry out one run.", arguments)


if __name__ == "__main__":
    faulthandler.enable()
    sys.exit(main())
