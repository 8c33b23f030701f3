"""What one key may be: one of some values, or a number of a range.

Both ends of a range always belong to it, for every sweeper. Where there is a step, the values are low, low + step, ...,
and `high` is brought down to the last of them: Integer(1, 8, step=3) is 1, 4, 7, and its `high` is 7.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from sweeps.errors import SpaceError
from sweeps.types import Scalar

Number = TypeVar("Number", int, float)
# How far from a step, in steps, a number may lie that means it.
TOLERANCE = 1e-8


def same(one: Scalar, other: Scalar) -> bool:
    """Equal, where true is no 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


@dataclass(frozen=True)
class Choice:
    """One of some values; true and 1 are two."""

    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        faults = [] if self.values else ["a choice needs at least one value"]
        for place, value in enumerate(self.values):
            if not isinstance(value, str | int | float | bool | None):
                faults.append(f"{value!r} is no value of a choice: texts, numbers, true, false and null are")
            elif isinstance(value, float) and not math.isfinite(value):
                faults.append(f"{value} is no value of a choice: numbers must be finite")
            elif any(same(value, other) for other in self.values[:place]):
                faults.append(f"{value!r} is there more than once")
        if faults:
            raise SpaceError(faults)

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    def all(self) -> Iterator[Scalar]:
        """Every value, in the order given."""
        return iter(self.values)

    def corners(self) -> tuple[Scalar, ...]:
        """Values that between them show whether the dimension works: all."""
        return self.values

    def sample(self, rng: random.Random) -> Scalar:
        """A value, each as likely."""
        return rng.choice(self.values)

    def read(self, value: Scalar) -> Scalar:
        """The dimension's own value that is meant. Raises ValueError where there is none."""
        found = [own for own in self.values if same(own, value)]
        if not found:
            raise ValueError(f"{value!r} is none of {', '.join(map(repr, self.values))}")
        return found[0]


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, both included; with `log`, each order of magnitude is as likely."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check(self.low, self.high, self.step, log=self.log)
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if self.step is not None:
            object.__setattr__(self, "step", float(self.step))
            object.__setattr__(self, "high", self._at(self._steps))

    @property
    def count(self) -> int | None:
        """How many values there are; None without end."""
        if self.step is None:
            return 1 if self.low == self.high else None
        return self._steps + 1

    @property
    def _steps(self) -> int:
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step or 1))

    def _at(self, steps: int) -> float:
        # In decimals, as people write them: 0.1 and two steps of 0.1 are 0.3.
        return float(_exact(self.low) + steps * _exact(self.step or 0))

    def all(self) -> Iterator[float]:
        """Every value, from low to high. Raises ValueError where there is no end to them."""
        if self.count is None:
            raise ValueError("a range without step has no last value")
        return (self._at(steps) for steps in range(self.count))

    def corners(self) -> tuple[float, ...]:
        """Both ends."""
        return tuple(dict.fromkeys((self.low, self.high)))

    def sample(self, rng: random.Random) -> float:
        """A value, evenly over the range or its logarithm."""
        if self.count is not None:
            return self._at(rng.randrange(self.count))
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = rng.uniform(self.low, self.high)
        return min(max(drawn, self.low), self.high)

    def read(self, value: Scalar) -> float:
        """The dimension's own value that is meant. Raises ValueError where there is none."""
        number = _within(value, self.low, self.high)
        return number if self.step is None else self._at(_step(number, self.low, self.step))


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`, both included; with `log`, each order of magnitude is as likely."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        numbers = {"low": self.low, "high": self.high, "step": self.step}
        broken = [f"{name} {value!r} is no whole number" for name, value in numbers.items() if not _whole(value)]
        if broken:
            raise SpaceError(broken)
        _check(self.low, self.high, self.step, log=self.log and self.step != 1)
        _check(self.low, self.high, None, log=self.log)
        object.__setattr__(self, "high", self.low + (self.high - self.low) // self.step * self.step)

    @property
    def count(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def all(self) -> Iterator[int]:
        """Every value, from low to high."""
        return iter(range(self.low, self.high + 1, self.step))

    def corners(self) -> tuple[int, ...]:
        """Both ends."""
        return tuple(dict.fromkeys((self.low, self.high)))

    def sample(self, rng: random.Random) -> int:
        """A value, evenly over the range or its logarithm."""
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
            return min(max(round(drawn), self.low), self.high)
        return self.low + self.step * rng.randrange(self.count)

    def read(self, value: Scalar) -> int:
        """The dimension's own value that is meant. Raises ValueError where there is none."""
        number = _within(value, self.low, self.high)
        return self.low + self.step * _step(number, self.low, self.step)


Dimension = Choice | Real | Integer


def _exact(number: float) -> Decimal:
    return Decimal(str(number))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check(low: float, high: float, step: float | None, *, log: bool) -> None:
    """Raises SpaceError with what is wrong with a range."""
    numbers = {"low": low, "high": high} | ({} if step is None else {"step": step})
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SpaceError([f"{name} {value!r} is no finite number"])
    faults = []
    if low > high:
        faults.append(f"low {low} is above high {high}")
    if step is not None and step <= 0:
        faults.append(f"step {step} is not above 0")
    if step is not None and log:
        faults.append(f"step {step} and log do not go together: leave out one of them")
    if log and low <= 0:
        faults.append(f"low {low} is not above 0, as log needs it")
    if faults:
        raise SpaceError(faults)


def _within(value: Scalar, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{value!r} is no number from {low} to {high}")
    return float(value)


def _step(number: float, low: float, step: float) -> int:
    steps = (number - low) / step
    if abs(steps - round(steps)) > TOLERANCE * max(1.0, abs(steps)):
        raise ValueError(f"{number!r} is no whole number of steps of {step} from {low}")
    return round(steps)
