"""Who looks on while a study goes on: one who tells people, and one who may have runs pruned."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.launchers.base import Job
from trainers.spec import RunResult, RunSpec


class Observer(Protocol):
    """Tells people."""

    def started(self, spec: RunSpec) -> None:
        """An attempt at a run was submitted."""

    def ended(self, spec: RunSpec, result: RunResult) -> None:
        """A run ended, or was found to have ended before."""

    def tick(self, active: Sequence[Job]) -> None:
        """Some time has passed."""

    def say(self, text: str) -> None:
        """Something a person should know."""


class RunWatch(Protocol):
    """Watches what runs report while they are under way; as `orchestrator.pruning.Watch`."""

    def start(self, known: Sequence[RunSpec]) -> None:
        """The study begins, or goes on: `known` are all its runs that are on disk."""

    def begin(self, spec: RunSpec) -> None:
        """A run is under way, perhaps again."""

    def end(self, spec: RunSpec, result: RunResult) -> None:
        """A run has ended, and its result stands; also one that never was under way."""

    def news(self) -> list[str]:
        """What people should know, each once."""

    def close(self) -> None:
        """The study ends, or is left."""


class Unwatched:
    """Nobody watches."""

    def start(self, known: Sequence[RunSpec]) -> None:
        """Nothing."""

    def begin(self, spec: RunSpec) -> None:
        """Nothing."""

    def end(self, spec: RunSpec, result: RunResult) -> None:
        """Nothing."""

    def news(self) -> list[str]:
        """None."""
        return []

    def close(self) -> None:
        """Nothing."""
