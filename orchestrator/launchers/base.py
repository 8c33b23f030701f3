"""The contract that `tests/contracts/test_launchers.py` holds each launcher to, and what their jobs have in common.

launcher.submit([spec]) -> [job];  launcher.wait(1.0);  job.done() -> True;  job.result() -> RunResult(...)
"""

from abc import ABC, abstractmethod
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

    @property
    def state(self) -> str:
        """What people are told of a job that has not begun, as "pending (Priority)"; "" where the run can tell."""

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
        """How many runs it can have under way."""

    @property
    def free(self) -> int:
        """How many runs may be submitted now."""

    @property
    def unsent(self) -> int:
        """How many submitted runs wait to be taken by a scheduler that does not answer."""

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """Start an attempt at each run, whose folder holds its spec already; a job for each, in their order.

        A stop that an earlier attempt did not live to obey is forgotten. A run that cannot be started is a job that is
        done, with a failed result.
        """

    def adopt(self, specs: Sequence[RunSpec]) -> list[Job]:
        """The jobs for these runs that an earlier controller left, queued, running, or ended unheard; [] if none."""

    def wait(self, timeout_s: float) -> None:
        """Return as soon as some job may be done, or after `timeout_s`; at once where nothing is under way."""

    def news(self) -> list[str]:
        """What people should know that no job tells, each once."""

    @property
    def outlives(self) -> bool:
        """Whether its jobs go on when the controller ends, for `adopt` to find."""

    def close(self) -> None:
        """Give back what the launcher holds. Unless it `outlives`, nothing that it started goes on."""


class JobBase(ABC):
    """What jobs have in common: it is over with its outcome, which whoever carries it out sets."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.outcome: RunResult | None = None
        self.cancelled = False

    @property
    @abstractmethod
    def id(self) -> str:
        """Name of the job where it runs."""

    @property
    def log_path(self) -> Path:
        """The run's own."""
        return self.spec.folder.log

    @property
    def state(self) -> str:
        """Its folder tells."""
        return ""

    def done(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.outcome is not None

    def result(self) -> RunResult:
        """How it ended, once `done()`."""
        if self.outcome is None:
            raise RuntimeError(f"{self.id} ({self.spec.run_id}) is not done")
        return self.outcome

    def cancel(self, *, at_once: bool = False) -> None:
        """Ask the run to save a checkpoint and stop; `at_once` ends it. Nothing where it is over."""
        if self.outcome is None:
            self.cancelled = True
            self._stop(at_once)

    @abstractmethod
    def _stop(self, at_once: bool) -> None:
        """How to, called only while it is not over."""


class Unstarted(JobBase):
    """The job of a run that could not be started: over before it began."""

    def __init__(self, spec: RunSpec, error: OSError) -> None:
        super().__init__(spec)
        self.outcome = RunResult(spec.run_id, "failed", spec.params, error=f"could not start: {error}")

    @property
    def id(self) -> str:
        """There is no job."""
        return f"none-{self.spec.run_id}"

    def _stop(self, at_once: bool) -> None:
        """Nothing is there to stop."""
