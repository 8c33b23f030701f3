"""Carries out runs in the controller's own process, one after another: for debuggers, and for tests."""

from collections.abc import Sequence

from orchestrator.attempts import RunFolderBusy, attempts_made, make_ready
from orchestrator.launchers.base import Job, JobBase, Unstarted
from orchestrator.worker import TRAIN, carry_out, load_train
from trainers.spec import RunResult, RunSpec


class InlineJob(JobBase):
    """A run that begins when its launcher is waited for; what it prints goes to the terminal, not to its log."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__(spec)
        self.under_way = False

    @property
    def id(self) -> str:
        """All inline jobs share one process."""
        return f"inline-{self.spec.run_id}"

    def _stop(self, at_once: bool) -> None:
        """Ask the run to stop through its folder; `at_once`, from a signal's handler, interrupts it where it is."""
        if not self.under_way:
            self.outcome = _cancelled(self.spec)
        elif at_once:
            raise KeyboardInterrupt
        else:
            self.spec.folder.stop.touch()


class InlineLauncher:
    """Runs while it is waited for, with the terminal as it is, so that a breakpoint works."""

    capacity = 1

    def __init__(self, target: str = TRAIN) -> None:
        """`target` names what trains, as `module:function`."""
        self._train = load_train(target)
        self._jobs: list[InlineJob] = []

    @property
    def free(self) -> int:
        """One, when nothing waits."""
        return self.capacity - len(self._jobs)

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """Take the runs; `wait` carries them out."""
        return [self._take(spec) for spec in specs]

    def _take(self, spec: RunSpec) -> Job:
        try:
            make_ready(spec.folder)
        except OSError as error:
            return Unstarted(spec, error)
        job = InlineJob(spec)
        self._jobs.append(job)
        return job

    def wait(self, timeout_s: float) -> None:  # noqa: ARG002 - a run in this process cannot be left half-way
        """Carry out what was submitted, one after another."""
        while self._jobs:
            job = self._jobs.pop(0)
            if not job.done():
                job.under_way = True
                job.outcome = self._carry_out(job)

    def _carry_out(self, job: InlineJob) -> RunResult:
        spec = job.spec
        try:
            return carry_out(spec.run_dir, self._train, heed_signals=False)
        except KeyboardInterrupt:
            if not job.cancelled:
                raise
            return RunResult.read(spec.folder) or _cancelled(spec)
        except (RunFolderBusy, OSError) as error:
            return RunResult(spec.run_id, "failed", spec.params, attempts=attempts_made(spec.folder), error=str(error))

    outlives = False
    unsent = 0

    def news(self) -> list[str]:
        """None."""
        return []

    def adopt(self, specs: Sequence[RunSpec]) -> list[Job]:  # noqa: ARG002 - the contract's
        """None: its runs die with it."""
        return []

    def close(self) -> None:
        """Cancel what was submitted and has not begun."""
        for job in self._jobs:
            job.cancel()
        self._jobs.clear()


def _cancelled(spec: RunSpec) -> RunResult:
    attempts = attempts_made(spec.folder)
    return RunResult(spec.run_id, "cancelled", spec.params, attempts=attempts, error="ended before it had begun")
