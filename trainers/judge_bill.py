"""What a run has asked of its judge: a line for each reply, written as it comes.

    {"tokens_in": 212, "tokens_out": 6} -> judge_requests 1, judge_tokens_in 212, ... of all attempts together

What the judge had said before, to this run or to another, is found on disk and asked of nobody, and so not on the bill.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Spending(Protocol):
    """Where it is noted what a judge takes; several threads note at a time."""

    def add(self, tokens_in: int, tokens_out: int) -> None:
        """Note a reply. Raises OSError."""


class Count:
    """Replies that were paid for by this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.replies = self.tokens_in = self.tokens_out = 0

    def add(self, tokens_in: int, tokens_out: int) -> None:
        """Count a reply."""
        with self._lock:
            self.replies += 1
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out


class Bill:
    """Replies that were paid for, in a file of the run's folder."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def add(self, tokens_in: int, tokens_out: int) -> None:
        """Put a reply on the bill. Raises OSError."""
        line = json.dumps({"tokens_in": tokens_in, "tokens_out": tokens_out}).encode()
        with self._lock, self._path.open("ab") as file:
            # In front, because a killed attempt may have left half a line.
            file.write(b"\n" + line)

    def totals(self, price_in: float, price_out: float) -> dict[str, float]:
        """How many replies, of how many tokens, and what they cost; prices are dollars a million tokens.

        Raises OSError where the bill cannot be read.
        """
        replies = list(self._replies())
        tokens_in, tokens_out = sum(read for read, _ in replies), sum(written for _, written in replies)
        return {
            "judge_requests": float(len(replies)),
            "judge_tokens_in": float(tokens_in),
            "judge_tokens_out": float(tokens_out),
            "judge_cost_usd": (tokens_in * price_in + tokens_out * price_out) / 1e6,
        }

    def _replies(self) -> Iterator[tuple[int, int]]:
        for line in self._path.read_bytes().splitlines() if self._path.exists() else ():
            try:
                values = json.loads(line)
                yield int(values["tokens_in"]), int(values["tokens_out"])
            except (ValueError, KeyError, TypeError):
                continue
