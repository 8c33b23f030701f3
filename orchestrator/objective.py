"""By which number trials are compared: a metric, a direction, and the mean over a trial's seeds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from trainers.spec import RunResult


@dataclass(frozen=True)
class Objective:
    """One metric to be made large or small."""

    metric: str
    direction: Literal["maximize", "minimize"]

    def value(self, results: Sequence[RunResult]) -> float | None:
        """Mean of the metric over the seeds of a trial; None where a seed failed or lacks it."""
        if not results or any(result.status != "completed" for result in results):
            return None
        return mean(result.metrics.get(self.metric) for result in results)

    def best(self, values: Iterable[float | None]) -> float | None:
        """The best of the values that there are."""
        finite = [value for value in values if value is not None]
        if not finite:
            return None
        return max(finite) if self.direction == "maximize" else min(finite)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean, or None where a value is missing or not finite."""
    known = list(values)
    if not known or any(value is None or not math.isfinite(value) for value in known):
        return None
    return statistics.fmean(value for value in known if value is not None)
