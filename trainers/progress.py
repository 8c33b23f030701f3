"""What a run has come to, told to its reporter and its tracker alike; and whether it is asked to stop."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from trainers import tracking
from trainers.distributed import World
from trainers.errors import Stopped
from trainers.evaluation.examine import Findings
from trainers.evaluation.pairs import check_finite
from trainers.evaluation_config import Evaluation
from trainers.spec import Reporter, Status


class Progress:
    """What the run has come to, told to the reporter and to the tracker alike.

    Whether to stop is asked of all ranks together, each time: one that was asked stops them all, at the same place.
    """

    def __init__(self, reporter: Reporter, world: World) -> None:
        self._reporter, self.world = reporter, world
        self.tracker = tracking.Tracker()
        self.steps = 0
        self.metrics: dict[str, float | None] = {}
        # Why the policy is degenerate, where it is.
        self.degenerate: str | None = None

    def begin(self, phase: str, steps: int | None = None) -> None:
        """Raises Stopped where the run is asked to stop instead."""
        self._reporter.begin(phase, steps)
        self.heed()

    def heed(self) -> None:
        """Raises Stopped where the run is asked to stop."""
        if self.world.any(self._reporter.stop_asked()):
            raise Stopped

    def report(self, step: int, values: Mapping[str, float]) -> bool:
        """True where the run is asked to stop. What is no finite number is None in the result, and told to nobody."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.steps = step
        self.metrics.update({name: finite.get(name) for name in values})
        self.tracker.log(step, finite)
        return self.world.any(self._reporter.report(step, finite))

    def sum_up(self, status: Status) -> None:
        """Tell the tracker what the run came to."""
        known = {name: value for name, value in self.metrics.items() if value is not None}
        self.tracker.sum_up({**known, "status": status, "degenerate": self.degenerate})


class Measuring(Protocol):
    """What is measured on the way; as `trainers.measures.Measures`."""

    def measure(self) -> dict[str, float]:
        """On the held-out pairs."""

    def examine(self) -> Findings:
        """On what the policy answers to held-out prompts."""


@dataclass(frozen=True)
class Watch:
    """Watches the training: tells of each step, and evaluates every so many, as the settings say."""

    progress: Progress
    evaluation: Measuring
    settings: Evaluation
    # Steps of the stages before.
    before: int = 0

    def step(self, step: int) -> bool:
        """As `trainers.trl_engine.Watch.step`; raises NonFiniteMetric."""
        step += self.before
        measured: dict[str, float] = {}
        try:
            if _due(step, self.settings.every):
                measured |= self.evaluation.measure()
                check_finite(measured)
            if _due(step, self.settings.samples_every):
                measured |= self.evaluation.examine().metrics
        except Stopped:
            # The step is done, and saved with a True; this one evaluation is left out.
            self.progress.report(step, {})
            return True
        return self.progress.report(step, measured)

    def logged(self, step: int, values: Mapping[str, float]) -> bool:
        """As `trainers.trl_engine.Watch.logged`."""
        return self.progress.report(self.before + step, values)


def _due(step: int, every: int) -> bool:
    """0 is never."""
    return every > 0 and step % every == 0
