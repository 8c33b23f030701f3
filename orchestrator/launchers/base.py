"""The contract that every launcher keeps, and that `tests/contracts/test_launchers.py` holds each one to.

launcher.submit([spec]) -> [job];  launcher.wait(1.0);  job.done() -> True;  job.result() -> RunResult(...)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from trainers.spec import RunResult, RunSpec


class Job(Protocol):
    """One attempt to carry out one run."""

    spec: RunSpec

    @property
    def id(self) -> str:
        """Name of the job where it runs, for people: a process or a Slurm job id."""

    @property
    def log_path(self) -> Path:
        """Where what the run prints is kept."""

    def done(self) -> bool:
        """Whether the attempt is over; cheap, called many times a second."""

    def result(self) -> RunResult:
        """How it ended, to be called once `done()`.

        A run that crashed, was killed or timed out is a result with status failed and the reason as its error, never an
        exception.
        """

    def cancel(self, *, at_once: bool = False) -> None:
        """Ask the run to save a checkpoint and stop; `at_once` ends it here and now. No error where it is over."""


class Launcher(Protocol):
    """Carries out runs somewhere."""

    @property
    def capacity(self) -> int:
        """How many runs it can have under way; more may not be submitted."""

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """Start an attempt at each run, whose folder holds its spec already.

        A stop that an earlier attempt did not live to obey is forgotten. Raises OSError where a run cannot be started.
        """

    def wait(self, timeout_s: float) -> None:
        """Return as soon as some job may be done, or after `timeout_s`; at once where nothing is under way."""

    def close(self) -> None:
        """End what is still running, and give back what the launcher holds; nothing it started outlives this."""
