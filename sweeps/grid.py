"""The grid sweeper: every point of a grid once, and the grid that swept values span.

{"method": ("dpo", "ipo"), "beta": (0.1, 0.5)} -> dpo 0.1, dpo 0.5, ipo 0.1, ipo 0.5
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from sweeps.errors import EmptySpace, UnknownTrial
from sweeps.types import Outcome, Scalar, Trial

Point = Mapping[str, Scalar]


def combinations(space: Mapping[str, Sequence[Scalar]]) -> Iterator[dict[str, Scalar]]:
    """Every combination of the swept values, the last key changing fastest. Raises EmptySpace.

    A space without keys has one, which is empty.
    """
    empty = [key for key, values in space.items() if not values]
    if empty:
        raise EmptySpace(f"no values to sweep for {', '.join(empty)}")
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*space.values()))


class GridSweeper:
    """Hands out points in the order given, each once; what it is told does not change what comes next.

    Points need not have the same keys: one lacks those that mean nothing there, as sft has no beta.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        """The number of a trial is the place of its point."""
        self._points: Iterator[tuple[int, Point]] = enumerate(tuple(points))
        self._untold: set[int] = set()

    def ask(self, n: int) -> Sequence[Trial]:
        """The next `n` points, fewer at the end of the grid."""
        trials = [Trial(number, dict(point)) for number, point in itertools.islice(self._points, n)]
        self._untold.update(trial.number for trial in trials)
        return trials

    def tell(self, trial: Trial, outcome: Outcome) -> None:  # noqa: ARG002 - a grid learns nothing from outcomes
        """Raises UnknownTrial where the trial does not wait for its outcome."""
        if trial.number not in self._untold:
            raise UnknownTrial(f"trial {trial.number} was not asked for, or was told before")
        self._untold.remove(trial.number)
