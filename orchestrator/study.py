"""The loop of a study: ask for trials, submit their runs, collect results, tell the sweeper.

One loop for every sweeper and every launcher, without a barrier: a free slot gets the next run at once, and a run that
fails is a result like another. Nothing is lost with the controller, because what counts is in the run folders.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from orchestrator.launchers.base import Job, Launcher
from orchestrator.objective import Objective
from orchestrator.store import StudyFolder
from sweeps.types import Outcome, Sweeper, Trial
from trainers.spec import RunResult, RunSpec, Status

TICK_S = 0.5
# How long runs that are to end at once may take; then the launcher's own end will end them.
END_AT_ONCE_S = 10.0


class Observer(Protocol):
    """Who looks on while a study goes on."""

    def started(self, spec: RunSpec) -> None:
        """An attempt at a run was submitted."""

    def ended(self, spec: RunSpec, result: RunResult) -> None:
        """A run ended, or was found to have ended before."""

    def tick(self, active: Sequence[RunSpec]) -> None:
        """Some time has passed."""

    def say(self, text: str) -> None:
        """Something a person should know."""


class Study:
    """A study under way; `carry_out` returns when every run has a result, or when it was asked to stop."""

    def __init__(
        self,
        folder: StudyFolder,
        runs: Mapping[int, Sequence[RunSpec]],
        *,
        sweeper: Sweeper,
        launcher: Launcher,
        objective: Objective,
        observer: Observer,
        fail_fast: bool = False,
        still_held: Callable[[], bool] = lambda: True,
    ) -> None:
        """`runs` maps the number of each trial to its runs, one a seed; `still_held` tells whether to go on."""
        self._folder, self._runs = folder, runs
        self._sweeper, self._launcher, self._objective, self._observer = sweeper, launcher, objective, observer
        self._fail_fast, self._still_held = fail_fast, still_held
        self._trials: dict[int, Trial] = {}
        self._queue: collections.deque[RunSpec] = collections.deque()
        self._active: dict[str, Job] = {}
        self._exhausted = False
        self._stopping = False
        self._give_up_at = math.inf
        # Whether it was a failed run, under fail_fast, that stopped it.
        self.failed_fast = False
        # Runs that compute the same are trained once: the first with a fingerprint leads, the others wait for it.
        self._leaders: dict[str, str] = {}
        self._followers: dict[str, list[RunSpec]] = collections.defaultdict(list)
        self.results: dict[str, RunResult] = {}

    def carry_out(self) -> None:
        """Run what is missing. The launcher is left open, with nothing under way."""
        while not self._over():
            self._refill()
            self._submit()
            if self._active:
                self._launcher.wait(TICK_S)
            self._collect()
            if not self._stopping and self._folder.cancel.exists():
                self.stop("cancel was asked for")
            if not self._stopping and not self._still_held():
                self.stop("another controller has taken the study over")
            self._observer.tick([job.spec for job in self._active.values()])

    def stop(self, why: str) -> None:
        """Start nothing more and let the runs under way save a checkpoint; called again, end them at once."""
        again = self._stopping
        if not again:
            saving = "; the runs under way save a checkpoint" if self._active else ""
            self._observer.say(f"stopping: {why}{saving}")
        self._stopping = True
        if again:
            self._give_up_at = min(self._give_up_at, time.monotonic() + END_AT_ONCE_S)
        for job in list(self._active.values()):
            job.cancel(at_once=again)

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop before its end."""
        return self._stopping

    def _over(self) -> bool:
        if time.monotonic() > self._give_up_at:
            return True
        return not self._active and (self._stopping or (self._exhausted and not self._queue))

    def _refill(self) -> None:
        """Keep as many runs at hand as there are slots."""
        while not self._exhausted and not self._stopping and len(self._queue) < self._launcher.capacity:
            trials = self._sweeper.ask(1)
            self._exhausted = not trials
            for trial in trials:
                self._trials[trial.number] = trial
                for spec in self._runs[trial.number]:
                    self._enlist(spec)

    def _enlist(self, spec: RunSpec) -> None:
        """Queue a run, unless its result is there, or another run is about to give it."""
        known = self._folder.result(spec.run_id)
        leader = self._leaders.setdefault(spec.fingerprint, spec.run_id)
        if known is not None and known.status == "completed":
            self._settle(spec, known)
        elif leader == spec.run_id:
            self._queue.append(spec)
        elif leader in self.results:
            self._settle_follower(spec, self.results[leader])
        else:
            self._followers[leader].append(spec)

    def _submit(self) -> None:
        while self._queue and not self._stopping and len(self._active) < self._launcher.capacity:
            if not self._folder.has_room():
                self.stop(f"the disk of {self._folder.root} is full")
                return
            spec = self._queue.popleft()
            self._observer.started(spec)
            try:
                (job,) = self._launcher.submit([spec])
            except OSError as error:
                self._settle(spec, _unstarted(spec, error))
                continue
            self._active[spec.run_id] = job
            if self._stopping:  # asked for by a signal while the job was being submitted
                job.cancel()

    def _collect(self) -> None:
        for run_id, job in list(self._active.items()):
            if job.done():
                del self._active[run_id]
                self._settle(job.spec, job.result())

    def _settle(self, spec: RunSpec, result: RunResult) -> None:
        """Take note of how a run ended, and of those that waited for it."""
        self.results[spec.run_id] = result
        self._observer.ended(spec, result)
        for follower in self._followers.pop(spec.run_id, []):
            self._settle_follower(follower, result)
        self._tell(spec.trial)
        if result.status == "failed" and self._fail_fast and not self._stopping:
            self.failed_fast = True
            self.stop(f"{spec.run_id} failed, and fail_fast=true")

    def _settle_follower(self, spec: RunSpec, result: RunResult) -> None:
        copied = dataclasses.replace(result, run_id=spec.run_id, params=spec.params, same_as=result.run_id)
        try:
            if copied.status != "cancelled":
                copied.write(spec.folder)
        except OSError as error:
            copied = _unstarted(spec, error)
        self._settle(spec, copied)

    def _tell(self, number: int) -> None:
        """Tell the sweeper of a trial once all its seeds have ended."""
        results = [self.results.get(spec.run_id) for spec in self._runs[number]]
        ended = [result for result in results if result is not None and result.status != "cancelled"]
        if len(ended) < len(results):
            return
        value = self._objective.value(ended)
        outcome = Outcome("fail") if value is None else Outcome("complete", value)
        self._sweeper.tell(self._trials[number], outcome)


def _unstarted(spec: RunSpec, error: OSError) -> RunResult:
    status: Status = "failed"
    return RunResult(spec.run_id, status, spec.params, error=f"could not start: {error}")


def by_trial(specs: Sequence[RunSpec]) -> dict[int, list[RunSpec]]:
    """The runs of each trial, one a seed."""
    runs: dict[int, list[RunSpec]] = {}
    for spec in specs:
        runs.setdefault(spec.trial, []).append(spec)
    return runs
