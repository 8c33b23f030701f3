"""The grid sweeper: every point of a grid once, and the grid that swept values span.

{"method": ("dpo", "ipo"), "beta": (0.1, 0.5)} -> dpo 0.1, dpo 0.5, ipo 0.1, ipo 0.5
"""

import collections
import itertools
from collections.abc import Iterator, Mapping, Sequence

from sweeps.errors import EmptySpace, SweepsError, UnknownTrial
from sweeps.types import Known, Outcome, Params, Scalar, Trial


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

    waits = False

    def __init__(self, points: Sequence[Params]) -> None:
        """The number of a trial is the place of its point."""
        self._points = tuple(points)
        self._left = collections.deque(enumerate(self._points))
        self._untold: set[int] = set()
        self._asked = False

    def restore(self, known: Known) -> None:
        """Leave out the points of known trials. Where their numbers are of another grid, new ones come after them."""
        if self._asked:
            raise SweepsError("restore comes before the first ask")
        tried = {trial.number: _identity(trial.params) for trial, _ in known}
        had = set(tried.values())
        places = dict(enumerate(map(_identity, self._points)))
        left = [place for place, identity in places.items() if identity not in had]
        if any(places.get(number) != identity for number, identity in tried.items()):
            numbers = itertools.count(max(tried) + 1)
            self._left = collections.deque(zip(numbers, (self._points[place] for place in left), strict=False))
        else:
            self._left = collections.deque((place, self._points[place]) for place in left)
        self._untold = {trial.number for trial, outcome in known if outcome is None}

    def ask(self, n: int) -> Sequence[Trial]:
        """The next `n` points, fewer at the end of the grid."""
        self._asked = True
        trials = [Trial(number, dict(point)) for number, point in self._next(n)]
        self._untold.update(trial.number for trial in trials)
        return trials

    def _next(self, n: int) -> Iterator[tuple[int, Params]]:
        for _ in range(min(n, len(self._left))):
            yield self._left.popleft()

    def tell(self, trial: Trial, outcome: Outcome) -> None:  # noqa: ARG002 - a grid learns nothing from outcomes
        """Raises UnknownTrial where the trial does not wait for its outcome."""
        if trial.number not in self._untold:
            raise UnknownTrial(f"trial {trial.number} was not asked for, or was told before")
        self._untold.remove(trial.number)


def _identity(params: Params) -> str:
    return repr(sorted((key, repr(value)) for key, value in params.items()))
