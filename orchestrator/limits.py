"""How far a study goes: how many runs at a time, for how long, and how many of its trials may fail."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainers.files import read_json, write_json

# Of a clock that is killed, at most so much time is lost.
KEEP_EVERY_S = 5.0
# Fewer trials than this say nothing of how many fail.
FEWEST_ENDED = 5


@dataclass(frozen=True)
class Limits:
    """None is no limit. `max_parallel` counts runs under way; `max_failure_rate` is a share of the ended trials."""

    max_parallel: int | None = None
    # Of all controllers together: afterwards no new trial is begun.
    timeout_s: float | None = None
    max_failure_rate: float | None = None

    def too_many_failed(self, failed: int, ended: int) -> str:
        """Why so many failures end the study; "" where they do not."""
        if self.max_failure_rate is None or ended < FEWEST_ENDED or failed <= self.max_failure_rate * ended:
            return ""
        return f"{failed} of {ended} trials failed, more than max_failure_rate={self.max_failure_rate:g} allows"


class Clock:
    """How long controllers have worked on a study, kept in a file so that the next one goes on counting."""

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        """`now` tells seconds."""
        self._path, self._now = path, now
        self._before = _kept(path)
        self._began = now()
        self._kept_at = -math.inf

    def spent_s(self) -> float:
        """Seconds of this controller and of those before it."""
        return self._before + self._now() - self._began

    def keep(self, *, at_once: bool = False) -> None:
        """Write it down, at most every `KEEP_EVERY_S` unless `at_once`; a full disk costs the time since the last."""
        if at_once or self._now() - self._kept_at >= KEEP_EVERY_S:
            self._kept_at = self._now()
            with contextlib.suppress(OSError):
                write_json(self._path, {"spent_s": round(self.spent_s(), 3)}, durable=False)


def _kept(path: Path) -> float:
    kept = read_json(path)
    spent = kept.get("spent_s") if isinstance(kept, dict) else None
    return float(spent) if isinstance(spent, int | float) and math.isfinite(spent) and spent > 0 else 0.0
