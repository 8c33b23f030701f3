"""What the ranks' tests train instead of a model: small, without torch, and found by name."""

import os
import signal
import time

from trainers.spec import Reporter, RunResult, RunSpec

HERE = "tests.fakes.small_ranks"
_LOST = "RankLost: Connection closed by peer"


def completes(spec: RunSpec, reporter: Reporter) -> RunResult:
    reporter.begin("training", 1)
    reporter.report(1, {"train/loss": 1.0})
    return RunResult(spec.run_id, "completed", steps=1)


def stops(spec: RunSpec, reporter: Reporter) -> RunResult:
    os.kill(os.getpid(), signal.SIGUSR2)
    return RunResult(spec.run_id, "cancelled" if reporter.stop_asked() else "failed")


def tells_whether_asked(spec: RunSpec, reporter: Reporter) -> RunResult:
    (spec.run_dir / "begun").touch()
    return RunResult(spec.run_id, "cancelled" if reporter.stop_asked() else "failed")


def fails(spec: RunSpec, reporter: Reporter) -> RunResult:
    return RunResult(spec.run_id, "failed", error="ValueError: no such thing")


def raises(spec: RunSpec, reporter: Reporter) -> RunResult:
    raise ValueError("no such thing")


def loses_another(spec: RunSpec, reporter: Reporter) -> RunResult:
    return RunResult(spec.run_id, "failed", error=_LOST)


def another_fails(spec: RunSpec, reporter: Reporter) -> RunResult:
    (spec.run_dir / "rank-1.error").write_text("OutOfMemoryError: the GPU's memory is full\n")
    return RunResult(spec.run_id, "failed", error=_LOST)


def both_fail(spec: RunSpec, reporter: Reporter) -> RunResult:
    another_fails(spec, reporter)
    return fails(spec, reporter)


def waits_for_ever_for_another(spec: RunSpec, reporter: Reporter) -> RunResult:
    another_fails(spec, reporter)
    time.sleep(60)
    return completes(spec, reporter)
