"""The grid sweeper: every combination of the swept values, the last key changing fastest.

{"method": ("dpo", "ipo"), "beta": (0.1, 0.5)} -> dpo 0.1, dpo 0.5, ipo 0.1, ipo 0.5
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from sweeps.errors import EmptySpace, UnknownTrial
from sweeps.types import Outcome, Scalar, Trial


class GridSweeper:
    """Hands out each point of the grid once, in a fixed order; what it is told does not change what comes next."""

    def __init__(self, space: Mapping[str, Sequence[Scalar]]) -> None:
        """Raises EmptySpace where a key has no values."""
        empty = [key for key, values in space.items() if not values]
        if empty:
            raise EmptySpace(f"no values to sweep for {', '.join(empty)}")
        self._points: Iterator[tuple[int, tuple[Scalar, ...]]] = enumerate(itertools.product(*space.values()))
        self._keys = tuple(space)
        self._untold: set[int] = set()

    def ask(self, n: int) -> Sequence[Trial]:
        """The next `n` points, fewer at the end of the grid."""
        trials = [
            Trial(number, dict(zip(self._keys, values, strict=True)))
            for number, values in itertools.islice(self._points, n)
        ]
        self._untold.update(trial.number for trial in trials)
        return trials

    def tell(self, trial: Trial, outcome: Outcome) -> None:  # noqa: ARG002 - a grid learns nothing from outcomes
        """Raises UnknownTrial where the trial does not wait for its outcome."""
        if trial.number not in self._untold:
            raise UnknownTrial(f"trial {trial.number} was not asked for, or was told before")
        self._untold.remove(trial.number)
