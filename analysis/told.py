"""Collects what a reader of runs should know, each kind of thing once, with how many and the first few it is of.

told.add("run", "no spec.json that can be read: left out", "t0001-s0-1a2b3c4d")  ...  told.sentences()
    -> ["3 runs: no spec.json that can be read: left out (t0001-s0-1a2b3c4d, t0002-s0-1a2b3c4d, ...)"]
"""

import threading
from collections.abc import Iterable

from orchestrator.wording import count, one_line

_NAMED = 3


class Told:
    """What was skipped or looks strange, so far. Several threads may add to it."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], dict[str, int]] = {}
        self._plain: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, what: str, of: str, times: int = 1) -> None:
        """Note `what` of one thing of a kind ("run", "study", "line"); `times` where it holds several of them."""
        with self._lock:
            found = self._of.setdefault((kind, what), {})
            found[of] = found.get(of, 0) + times

    def say(self, sentence: str) -> None:
        """A sentence of its own."""
        with self._lock:
            self._plain[sentence] = None

    def extend(self, sentences: Iterable[str]) -> None:
        """Sentences that somebody else has told."""
        for sentence in sentences:
            self.say(sentence)

    def merge(self, other: "Told") -> None:
        """What another one has noticed."""
        with self._lock:
            self._plain |= other._plain
            for key, named in other._of.items():
                found = self._of.setdefault(key, {})
                for name, times in named.items():
                    found[name] = found.get(name, 0) + times

    def __bool__(self) -> bool:
        return bool(self._of or self._plain)

    def sentences(self) -> list[str]:
        """All of it, in the order in which it was first noticed."""
        return [*self._plain, *(_sentence(kind, what, found) for (kind, what), found in self._of.items())]


def _sentence(kind: str, what: str, found: dict[str, int]) -> str:
    names = [one_line(name, 120) for name in sorted(found)[:_NAMED]]
    more = ", ..." if len(found) > _NAMED else ""
    return f"{count(sum(found.values()), kind)}: {what} ({', '.join(names)}{more})"
