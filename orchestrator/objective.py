"""By which numbers trials are compared: metrics, each with its better way, and the mean over a trial's seeds.

Objective("eval/reward", "maximize").leaders({0: (2.1,), 1: (3.4,), 2: None}) -> {1}
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trainers.spec import RunResult

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """A metric to be made large or small; with `also`, further ones that are weighed against it."""

    metric: str
    direction: Direction
    also: tuple["Objective", ...] = ()

    @classmethod
    def of(cls, directions: Mapping[str, Direction]) -> "Objective":
        """Of metrics with their better ways, one at least."""
        first, *also = (cls(metric, direction) for metric, direction in directions.items())
        return cls(first.metric, first.direction, tuple(also))

    @property
    def parts(self) -> tuple["Objective", ...]:
        """Each of them alone."""
        return (Objective(self.metric, self.direction), *self.also)

    def values(self, results: Sequence[RunResult]) -> tuple[float, ...] | None:
        """Mean of each metric over the seeds of a trial; None where a seed failed or lacks one of them."""
        if not results or any(result.status != "completed" for result in results):
            return None
        means = [mean(result.metrics.get(part.metric) for result in results) for part in self.parts]
        known = tuple(value for value in means if value is not None)
        return known if len(known) == len(means) else None

    def leaders(self, points: Mapping[int, Sequence[float] | None]) -> frozenset[int]:
        """The best ones; of several metrics those that no other is as good as in all and better than in one."""
        known = {number: self._upwards(values) for number, values in points.items() if values is not None}
        return frozenset(
            number for number, own in known.items() if not any(_dominates(other, own) for other in known.values())
        )

    def _upwards(self, values: Sequence[float]) -> tuple[float, ...]:
        """The values so that larger ones are better."""
        return tuple(
            value if part.direction == "maximize" else -value for part, value in zip(self.parts, values, strict=True)
        )

    def told(self) -> str:
        """ "largest eval/reward", "largest eval/reward against smallest eval/kl"."""
        return " against ".join(
            f"{'largest' if part.direction == 'maximize' else 'smallest'} {part.metric}" for part in self.parts
        )


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean, or None where a value is missing or not finite."""
    known = list(values)
    if not known or any(value is None or not math.isfinite(value) for value in known):
        return None
    return statistics.fmean(value for value in known if value is not None)
