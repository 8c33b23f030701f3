"""Signals that end a process, told to what is under way in it instead."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

# SIGUSR2 is what Slurm sends a controller that is a job, before its time is over.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)


class Interruptible(Protocol):
    """What goes on for long, and can be asked to end."""

    def interrupt(self, why: str) -> None:
        """Asked once, end in an orderly way; again, at once. Called in a signal's handler."""


@contextlib.contextmanager
def interrupting(work: Interruptible) -> Iterator[None]:
    """Ctrl-C, SIGTERM or a closed terminal ask the work to stop, and the second time to stop at once.

    A study whose jobs outlive it is left instead.
    """

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        work.interrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, ask) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
