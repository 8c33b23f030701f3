"""Storages that a controller dies in: writes that never happen, and journals that are cut."""

from collections.abc import Iterable, Iterator
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend


class Killed(Exception):
    """The controller is gone."""


class DyingBackend(BaseJournalBackend):
    """A journal that takes so many writes, and at the next the controller dies, before or after it is on disk."""

    def __init__(self, path: str, writes: int, *, after: bool) -> None:
        self._journal, self._left, self._after = JournalFileBackend(path), writes, after

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self._journal.read_logs(log_number_from))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._left == 0 and not self._after:
            raise Killed
        self._journal.append_logs(logs)
        if self._left == 0:
            raise Killed
        self._left -= 1


def dying(path: str, writes: int, *, after: bool) -> JournalStorage:
    return JournalStorage(DyingBackend(path, writes, after=after))


def numbers(trials: Iterable[Any]) -> list[int]:
    return [trial.number for trial in trials]
