"""What the launchers' tests train instead of a model: small, without torch, and importable by a run's process."""

import atexit
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainers.files import write_json
from trainers.spec import Reporter, RunResult, RunSpec

HERE = "tests.contracts.small_runs"


def _result(spec: RunSpec, steps: int = 1) -> RunResult:
    return RunResult(spec.run_id, "completed", spec.params, {"eval/margin_nats": 0.5}, steps, 0.01)


def nothing(spec: RunSpec, reporter: Reporter) -> RunResult:
    return _result(spec)


def three_steps(spec: RunSpec, reporter: Reporter) -> RunResult:
    reporter.begin("training", 3)
    for step in (1, 2, 3):
        reporter.report(step, {"train/loss": 1.0 / step})
    print("three steps done")
    return _result(spec, 3)


def raises(spec: RunSpec, reporter: Reporter) -> RunResult:
    raise ValueError("no such thing")


def until_stopped(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Steps until it is asked to stop, as a real run does at a checkpoint."""
    for step in range(1, 3000):
        if reporter.report(step, {"train/loss": 1.0}):
            return RunResult(spec.run_id, "cancelled", spec.params, {}, step, 0.1)
        time.sleep(0.01)
    return _result(spec)


def stops_itself(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Someone asks it to stop by file after its first step."""
    spec.folder.stop.touch()
    return until_stopped(spec, reporter)


def until_pruned(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Prunes itself, as a controller would, after its third step; leaves a checkpoint."""
    (spec.folder.checkpoints / "step-3").mkdir(parents=True)
    for step in range(1, 3000):
        if step == 4:
            write_json(spec.folder.prune, {"step": 3, "why": "too slow"})
        if reporter.report(step, {"train/loss": 1.0 / step}):
            return RunResult(spec.run_id, "cancelled", spec.params, {}, step, 0.1)
        time.sleep(0.01)
    return _result(spec)


class _Signals(dict[str, float | None]):
    """Metrics that are written while the process is asked to end."""

    def items(self) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().items()


def signalled_at_the_end(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Asked to stop when all that is left to do is to write its result."""
    return RunResult(spec.run_id, "completed", spec.params, _Signals({"eval/margin_nats": 0.5}))


def deaf(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Takes no notice of being asked to stop."""
    reporter.report(1, {"train/loss": 1.0})
    time.sleep(60)
    return _result(spec)


def with_grandchild(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Starts a process, and one in a session of its own, and says which; then hangs."""
    pids = [subprocess.Popen(["sleep", "61"], start_new_session=own).pid for own in (False, True)]
    (spec.run_dir / "grandchildren").write_text(" ".join(map(str, pids)))
    return deaf(spec, reporter)


def leaves_grandchild(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Ends well, and leaves a process behind."""
    (spec.run_dir / "grandchildren").write_text(str(subprocess.Popen(["sleep", "62"]).pid))
    return _result(spec)


def killed(spec: RunSpec, reporter: Reporter) -> RunResult:
    """As the kernel's out-of-memory killer would do it, unless the trial is even."""
    reporter.report(7, {"train/loss": 0.25})
    print("allocating", flush=True)
    if spec.trial % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return _result(spec)


def leaves_notes(spec: RunSpec, reporter: Reporter) -> RunResult:
    """What it wants done at exit is a file."""
    atexit.register((spec.run_dir / "atexit").touch)
    weakref.finalize(spec, (spec.run_dir / "finalize").touch)
    threading.Timer(0.1, (spec.run_dir / "thread").touch).start()
    return _result(spec)


def leaves_by_the_window(spec: RunSpec, reporter: Reporter) -> RunResult:
    print("cannot go on")
    sys.stdout.flush()
    os._exit(3)


def tells_environment(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Marks its GPU as in use for a while, and notes how many use it then."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
    marks = spec.cache_dir / f"gpu-{gpu}"
    marks.mkdir(parents=True, exist_ok=True)
    mark = marks / spec.run_id
    mark.touch()
    time.sleep(0.05)
    users = len(list(marks.iterdir()))
    mark.unlink()
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    seen = {
        "gpu": gpu,
        "users": users,
        "threads": os.environ["OMP_NUM_THREADS"],
        "main": main,
        "own session": os.getsid(0) == os.getpid(),
        "stdin": sys.stdin.read(),
        "torch": "torch" in sys.modules,
        "kept": os.path.isdir(os.environ.get("KEPT_FOLDER", "")),  # noqa: PTH112 - no folder is not this one
    }
    write_json(spec.run_dir / "seen.json", seen)
    return _result(spec)


def fills_the_disk(spec: RunSpec, reporter: Reporter) -> RunResult:
    """No file can grow beyond 250 bytes while it reports."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, most))
    for step in range(20):
        reporter.report(step, {"train/loss": 1.0})
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    return _result(spec)


def brief(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Reports for some hundredths of a second."""
    for step in range(1, 6):
        reporter.report(step, {"train/loss": 1.0})
        time.sleep(0.01)
    return _result(spec, 5)


def waits_for_file(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Goes on until the file `go` is in its folder."""
    reporter.report(1, {"train/loss": 1.0})
    with contextlib.suppress(TimeoutError):
        until((spec.run_dir / "go").exists, 20)
    return _result(spec)


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for something that will be so soon. Raises TimeoutError where it is not."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(0.005)


def spec_in(folder: Path, trial: int = 0, seed: int = 0) -> RunSpec:
    """A run whose folder holds its spec."""
    name = f"t{trial:04d}-s{seed}-0123abcd"
    spec = RunSpec("study", trial, seed, "dpo", {"beta": 0.1}, {}, "0123abcd", folder / "runs" / name, folder / "cache")
    spec.run_dir.mkdir(parents=True)
    spec.write()
    return spec
