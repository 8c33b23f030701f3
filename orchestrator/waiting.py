"""Which runs of a study wait, and for what: one alike, one whose policy they need, a step before them."""

import collections
from collections.abc import Iterable, Sequence

from trainers.spec import RunSpec


class Alike:
    """Runs that compute the same are trained once: the first with a fingerprint leads, the others wait for it."""

    def __init__(self) -> None:
        self._leaders: dict[str, str] = {}
        self._followers: dict[str, list[RunSpec]] = collections.defaultdict(list)

    def leader(self, spec: RunSpec) -> str:
        """The id of the run that is trained for all with this one's fingerprint: its own, unless another came first."""
        return self._leaders.setdefault(spec.fingerprint, spec.run_id)

    def follow(self, leader: str, spec: RunSpec) -> None:
        """A run waits for its leader."""
        self._followers[leader].append(spec)

    def pop(self, leader: str) -> list[RunSpec]:
        """The runs that waited for a leader, which has ended."""
        return self._followers.pop(leader, [])


class Dependents:
    """Runs that wait for another run of the study, or for a step, by its id."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[RunSpec]] = collections.defaultdict(list)

    def wait(self, for_id: str, spec: RunSpec) -> None:
        """A run cannot begin before another."""
        self._waiting[for_id].append(spec)

    def pop(self, for_id: str) -> list[RunSpec]:
        """The runs that waited for one, which has ended."""
        return self._waiting.pop(for_id, [])


class Steps:
    """The steps of a study that have not ended: each is begun when a run first asks for it."""

    def __init__(self, steps: Iterable[RunSpec]) -> None:
        self._steps = {step.run_id: step for step in steps}
        self._begun: set[str] = set()

    def all(self) -> Sequence[RunSpec]:
        """Those that have not ended."""
        return list(self._steps.values())

    def awaited(self, spec: RunSpec) -> str | None:
        """The id of a step that has to end before the run, None where there is none, or none any more."""
        return next((step_id for step_id in spec.after if step_id in self._steps), None)

    def begin(self, step_id: str) -> RunSpec | None:
        """The step, for whoever asks first."""
        if step_id in self._begun:
            return None
        self._begun.add(step_id)
        return self._steps[step_id]

    def ended(self, step_id: str) -> None:
        """Nobody has to wait for it any more."""
        self._steps.pop(step_id, None)
