"""Carries out runs in the controller's own process, one after another: for debuggers, and for tests."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.attempts import RunFolderBusy, attempts_made, make_ready
from orchestrator.launchers.base import Job
from orchestrator.worker import TRAIN, carry_out, load_train
from trainers.spec import RunResult, RunSpec


class InlineJob:
    """A run that was over before anyone could ask."""

    def __init__(self, spec: RunSpec, result: RunResult) -> None:
        self.spec = spec
        self._result = result

    @property
    def id(self) -> str:
        """All inline jobs share one process."""
        return f"inline-{self.spec.run_id}"

    @property
    def log_path(self) -> Path:
        """Where a log would be; what the run printed went to the terminal."""
        return self.spec.folder.log

    def done(self) -> bool:
        """Always."""
        return True

    def result(self) -> RunResult:
        """How it ended."""
        return self._result

    def cancel(self, *, at_once: bool = False) -> None:
        """It is over."""


class InlineLauncher:
    """Runs at `submit`, with the terminal as it is, so that a breakpoint works. Ctrl-C raises KeyboardInterrupt."""

    capacity = 1

    def __init__(self, target: str = TRAIN) -> None:
        """`target` names what trains, as `module:function`."""
        self._train = load_train(target)

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """Carry out the runs, one after another."""
        return [InlineJob(spec, self._carry_out(spec)) for spec in specs]

    def _carry_out(self, spec: RunSpec) -> RunResult:
        try:
            make_ready(spec.folder)
            return carry_out(spec.run_dir, self._train, heed_signals=False)
        except (RunFolderBusy, OSError) as error:
            return RunResult(spec.run_id, "failed", spec.params, attempts=attempts_made(spec.folder), error=str(error))

    def wait(self, timeout_s: float) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        """Nothing is held."""
