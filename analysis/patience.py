"""Asks a server again that answers "too many requests", fails or is silent: later each time, and not all at once.

The W&B client tries once more by itself; what is left is waited out here, by all threads together, so that a server
that asks for less gets less.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from analysis.errors import AnalysisError
from orchestrator.wording import one_line
from trainers.wandb_key import without_key

_T = TypeVar("_T")
# How the client says that a server may yet answer: after trying again itself, or waiting in vain.
_PASSING = ("giving up after", "did not respond in time", "timed out", "timeout")
# What no waiting mends.
_HOPELESS = ("connection refused", "no such host", "certificate", "network is unreachable")


class GaveUp(AnalysisError):
    """The server went on failing for as long as one waits."""


class Refused(AnalysisError):
    """The server understands, and will not, or is not there."""


class Patience:
    """Tries again what fails in passing: `tries` times in all, after `first_s` seconds, then twice as long each time.

    Waits are drawn between half and one and a half times that, and none is longer than `most_s` and its half. `say` is
    told of each. After `too_often` failures in a row, of whatever thread, nothing is tried any more.
    """

    def __init__(
        self,
        first_s: float = 2.0,
        most_s: float = 60.0,
        tries: int = 7,
        too_often: int = 3,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._first_s, self._most_s, self._tries, self._too_often = first_s, most_s, tries, too_often
        self.say = say
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._over = threading.Event()
        self._gave_up = 0

    def ask(self, what: Callable[[], _T]) -> _T:
        """What `what` returns. Raises GaveUp or Refused, with the server's own words; IndexError passes through."""
        for attempt in range(self._tries):
            self._wait()
            try:
                answer = what()
            except (IndexError, AnalysisError):
                raise
            except Exception as error:
                self._judge(error, attempt)
            else:
                self._gave_up = 0
                return answer
        raise AssertionError("the last attempt returns or raises")

    def end(self) -> None:
        """Nobody waits for an answer any more: who is still waiting is to give up."""
        self._over.set()

    def _judge(self, error: Exception, attempt: int) -> None:
        """Return to try again, or raise."""
        words = str(error)
        plain = one_line(without_key(words.rpartition("while retrying: ")[2]), 200)
        if not any(sign in words for sign in _PASSING) or any(sign in words for sign in _HOPELESS):
            raise Refused(plain) from None
        if attempt + 1 >= self._tries:
            with self._lock:
                self._gave_up += 1
            raise GaveUp(f"{plain}, {self._tries} times in a row") from None
        wait_s = min(self._first_s * 2**attempt, self._most_s) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + wait_s)
        self.say(f"{plain}: trying again in {wait_s:.0f} s")

    def _wait(self) -> None:
        if self._gave_up >= self._too_often:
            raise GaveUp("the server failed too often")
        while (left_s := self._not_before - time.monotonic()) > 0:
            # Threads that wait for the same moment come back one after the other.
            if self._over.wait(left_s + random.uniform(0, min(left_s, 0.2))):  # noqa: S311
                raise GaveUp("stopped")
