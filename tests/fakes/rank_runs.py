"""Targets for runs on several ranks, in which something happens to one of them at its third step."""

import os
import signal
import time
from collections.abc import Callable, Mapping

from trainers.distributed import World
from trainers.files import write_json
from trainers.spec import Reporter, RunResult, RunSpec
from trainers.train import train

STEP = 3


class _Third:
    """A reporter that does something at the third step, then passes it on."""

    def __init__(self, reporter: Reporter, happens: Callable[[], None]) -> None:
        self._reporter, self._happens = reporter, happens
        self.begin, self.stop_asked = reporter.begin, reporter.stop_asked
        self.afterwards = reporter.afterwards

    def report(self, step: int, metrics: Mapping[str, float]) -> bool:
        if step == STEP and not metrics:
            self._happens()
        return self._reporter.report(step, metrics)


def _on(rank: int, happens: Callable[[], None], spec: RunSpec, reporter: Reporter) -> RunResult:
    return train(spec, _Third(reporter, happens) if World.here().rank == rank else reporter)


def stop_file(spec: RunSpec, reporter: Reporter) -> RunResult:
    """A person asks the run to stop."""

    def touch() -> None:
        spec.folder.stop.touch()
        time.sleep(0.25)  # the file is looked for a few times a second

    return _on(0, touch, spec, reporter)


def prune_file(spec: RunSpec, reporter: Reporter) -> RunResult:
    """The controller has the run pruned."""

    def decide() -> None:
        write_json(spec.folder.prune, {"step": STEP, "why": "too low"})
        time.sleep(0.25)

    return _on(0, decide, spec, reporter)


def signal_to_the_second(spec: RunSpec, reporter: Reporter) -> RunResult:
    return _on(1, lambda: os.kill(os.getpid(), signal.SIGUSR2), spec, reporter)


def error_on_the_second(spec: RunSpec, reporter: Reporter) -> RunResult:
    def fail() -> None:
        raise ValueError("the second rank is out of luck")

    return _on(1, fail, spec, reporter)


def death_of_the_second(spec: RunSpec, reporter: Reporter) -> RunResult:
    return _on(1, lambda: os.kill(os.getpid(), signal.SIGKILL), spec, reporter)
