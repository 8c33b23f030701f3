"""A launcher whose runs end as a script says, without a process: for tests of what happens around launchers."""

from collections.abc import Callable, Sequence

from orchestrator.launchers.base import Job, JobBase
from trainers.spec import RunResult, RunSpec

Script = Callable[[RunSpec], RunResult]


def completes(spec: RunSpec) -> RunResult:
    """A run that completes with metrics made from its values, so that a table shows which is which."""
    accuracy = float(spec.params.get("beta", 0) or 0) + spec.seed / 100
    return RunResult(spec.run_id, "completed", spec.params, {"eval/reward_accuracy": accuracy}, steps=3, seconds=1.0)


def fails(spec: RunSpec) -> RunResult:
    return RunResult(spec.run_id, "failed", spec.params, error="it broke")


class InstantJob(JobBase):
    """Over once it is ready, or cancelled; what it did is then asked of the script."""

    def __init__(self, spec: RunSpec, script: Script) -> None:
        super().__init__(spec)
        self.script, self.ready = script, False
        # Whether at once, each time it was cancelled.
        self.cancels: list[bool] = []

    @property
    def id(self) -> str:
        return self.spec.run_id

    def done(self) -> bool:
        return self.ready

    def result(self) -> RunResult:
        if self.outcome is None and self.cancels:
            self.outcome = RunResult(self.spec.run_id, "cancelled", self.spec.params)
        elif self.outcome is None:
            self.outcome = self.script(self.spec)
            self.outcome.write(self.spec.folder)
        return self.outcome

    def _stop(self, at_once: bool) -> None:
        self.cancels.append(at_once)
        self.ready = True


class InstantLauncher:
    """Each wait ends one job, the newest first, so that results come out of order."""

    def __init__(self, script: Script = completes, capacity: int = 2) -> None:
        self.capacity = capacity
        self.submitted: list[str] = []
        self.most_at_once = 0
        self._script = script
        self._open: list[InstantJob] = []

    outlives = False
    unsent = 0

    def news(self) -> list[str]:
        return []

    @property
    def free(self) -> int:
        return self.capacity - sum(not job.ready for job in self._open)

    def adopt(self, specs: Sequence[RunSpec]) -> list[InstantJob]:
        return []

    def submit(self, specs: Sequence[RunSpec]) -> list[InstantJob]:
        jobs = [InstantJob(spec, self._script) for spec in specs]
        self._open += jobs
        self.submitted += [spec.run_id for spec in specs]
        self.most_at_once = max(self.most_at_once, sum(not job.ready for job in self._open))
        return jobs

    def wait(self, timeout_s: float) -> None:
        waiting = [job for job in self._open if not job.ready]
        if waiting:
            waiting[-1].ready = True

    def close(self) -> None:
        self._open.clear()


class Witness:
    """An observer that remembers what it saw."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []
        self.said: list[str] = []

    def started(self, spec: RunSpec) -> None:
        pass

    def ended(self, spec: RunSpec, result: RunResult) -> None:
        self.ends.append((spec.run_id, result.status))

    def tick(self, active: Sequence[Job]) -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)
