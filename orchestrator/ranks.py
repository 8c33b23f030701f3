"""Carries out one run by several ranks: the program that torchrun starts once for each of them.

    torchrun --nproc-per-node=2 -m orchestrator.ranks RUN_DIR [--train MODULE:FUNCTION]

The first rank does what `orchestrator.worker` does: lock, attempt, metrics, result. The others train with it and write
nothing, but one that fails leaves its error in the run's folder, from where the first one takes it into the result.

Exits 0 where all ranks ended as agreed, completed or asked to stop, because torchrun ends the other ranks when one
exits otherwise; 1 failed; 2, 4, 5 as the worker does. How the run ended is in its result.
"""

import contextlib
import dataclasses
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator import ledger, worker
from orchestrator.attempts import attempts_made
from orchestrator.reporter import last_metrics
from orchestrator.retries import adjusted
from orchestrator.worker import NO_RUN, TRAIN, say
from trainers.distributed import RankLost, World
from trainers.files import write_whole
from trainers.spec import Reporter, RunFolder, RunResult, RunSpec

# The connection to a rank may break before its error is in the folder, and on a network mount be there before it.
ERROR_PATIENCE_S = 1.0
# Where a rank has failed, the first one notices by itself, unless it waits for a GPU that waits for the other.
NOTICE_PATIENCE_S = 15.0
LOOK_EVERY_S = 0.5


class SilentReporter:
    """The reporter of a rank whose run the first rank reports."""

    def __init__(self) -> None:
        self._asked = False

    def begin(self, phase: str, steps: int | None = None) -> None:
        """Told by the first rank."""

    def report(self, step: int, metrics: Mapping[str, float]) -> bool:  # noqa: ARG002
        """Whether this rank was asked to stop."""
        return self._asked

    def ask_to_stop(self) -> None:
        """From now on `report` says stop; safe to call from a signal handler."""
        self._asked = True

    def stop_asked(self) -> bool:
        """Whether this rank was asked to stop."""
        return self._asked

    def afterwards(self, work: Callable[[], None]) -> None:
        """Done by the first rank."""


def run(
    run_dir: Path, target: str = TRAIN, world: World | None = None, notice_patience_s: float = NOTICE_PATIENCE_S
) -> int:
    """Be one of the run's ranks as this process's only work; the exit code."""
    world = world or World.here()
    if world.first:
        return _be_first(run_dir, target, world, notice_patience_s)
    return _be_another(run_dir, target, world.rank)


def _be_first(run_dir: Path, target: str, world: World, notice_patience_s: float) -> int:
    errors = _Errors(run_dir, world)
    train = worker.load_train(target)

    def train_and_tell(spec: RunSpec, reporter: Reporter) -> RunResult:
        with _guarded(spec, errors, notice_patience_s):
            result = train(spec, reporter)
        return errors.explain(result)

    def carried_out() -> RunResult:
        return worker.carry_out(run_dir, train_and_tell, alone=False)

    return worker.exit_code(lambda: 1 if carried_out().status == "failed" else 0)


def _be_another(run_dir: Path, target: str, rank: int) -> int:
    path = RunFolder(run_dir).rank_error(rank)
    try:
        path.unlink(missing_ok=True)
        spec = adjusted(RunSpec.read(run_dir))
    except OSError as problem:
        return say(NO_RUN, problem)
    known = RunResult.read(spec.folder)
    if known is not None and known.final:  # the first rank leaves it as it is, and will not come
        return 0
    reporter = SilentReporter()
    for number in worker.STOP_SIGNALS:
        signal.signal(number, lambda *_: reporter.ask_to_stop())
    error: str | None = None
    try:
        result = worker.load_train(target)(spec, reporter)
        if result.status == "failed":
            error = result.error or "failed"
    except (Exception, SystemExit) as problem:
        traceback.print_exc()
        error = f"{type(problem).__name__}: {problem}"
    if error is None:
        return 0
    if not error.startswith(RankLost.__name__):  # then it only follows another, whose error is the one to know
        try:
            write_whole(path, error + "\n")
        except OSError as problem:
            say(1, f"{error} ({path} cannot be written: {problem})")
    return 1


class _Errors:
    """What other ranks have failed of in this attempt."""

    def __init__(self, run_dir: Path, world: World) -> None:
        self._paths = {rank: RunFolder(run_dir).rank_error(rank) for rank in range(1, world.size)}
        # A rank removes its own when it starts, which may be later than here.
        self._old = {path: _written(path) for path in self._paths.values()}

    def first(self) -> str | None:
        """The one that was told first, with its rank."""
        found = []
        for rank, path in self._paths.items():
            when = _written(path)
            if when is not None and when != self._old[path]:
                found.append((when, f"{path.read_text().strip()} (rank {rank})"))
        return min(found)[1] if found else None

    def explain(self, result: RunResult) -> RunResult:
        """The result, with the error of the rank that took this one with it."""
        if result.status != "failed" or not (result.error or "").startswith(RankLost.__name__):
            return result
        give_up_at = time.monotonic() + ERROR_PATIENCE_S
        while (error := self.first()) is None and time.monotonic() < give_up_at:
            time.sleep(0.05)
        if error is not None:
            return dataclasses.replace(result, error=error)
        told = f"{RankLost.__name__}: another rank of the run was killed, or died without a word; see the log"
        return dataclasses.replace(result, error=told, cause="killed")


@contextlib.contextmanager
def _guarded(spec: RunSpec, errors: _Errors, patience_s: float) -> Iterator[None]:
    """While in here, a thread sees to it that this process does not outlast for long a rank that has failed."""
    over = threading.Event()
    threading.Thread(target=_guard, args=(spec, errors, over, patience_s), name="guard", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _guard(spec: RunSpec, errors: _Errors, over: threading.Event, patience_s: float) -> None:
    began = time.monotonic()
    while (error := errors.first()) is None:
        if over.wait(LOOK_EVERY_S):
            return
    if over.wait(patience_s):
        return
    steps, metrics = last_metrics(spec.folder)
    seconds, attempts = time.monotonic() - began, attempts_made(spec.folder)
    result = RunResult(spec.run_id, "failed", spec.params, metrics, steps, seconds, attempts, error)
    result = dataclasses.replace(result, cause=worker.cause_of(result))
    result.write(spec.folder)
    ledger.note_ended(spec.folder, result)
    os._exit(1)


def _written(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return worker.command_line(run, "orchestrator.ranks", "Be one rank of a run.", arguments)


if __name__ == "__main__":
    faulthandler.enable()
    code = main()
    if code:
        # Threads that still talk to a rank that is gone could keep the process from ending.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
