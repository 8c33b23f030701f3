"""The loop of a study: ask for trials, submit their runs, collect results, tell the sweeper.

One loop for every sweeper and every launcher, without a barrier: a free slot gets the next run at once, and a run that
fails is a result like another. Nothing is lost with the controller, because what counts is in the run folders.
"""

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from orchestrator import ledger, retries
from orchestrator.launchers.base import Job, Launcher, Unstarted
from orchestrator.objective import Objective
from orchestrator.store import StudyFolder
from sweeps.types import Outcome, Sweeper, Trial
from trainers.spec import RunResult, RunSpec

TICK_S = 0.5
# How long runs that are to end at once may take; then the launcher's own end will end them.
END_AT_ONCE_S = 10.0
# How long a study that is to be left waits for a scheduler that does not answer.
DETACH_PATIENCE_S = 60.0


# What to do about a run that did not complete: None lets its result stand.
Retry = Callable[[RunSpec, RunResult], retries.Retry | None]


class Observer(Protocol):
    """Who looks on while a study goes on."""

    def started(self, spec: RunSpec) -> None:
        """An attempt at a run was submitted."""

    def ended(self, spec: RunSpec, result: RunResult) -> None:
        """A run ended, or was found to have ended before."""

    def tick(self, active: Sequence[Job]) -> None:
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
        detach: bool = False,
        retry: Retry = lambda spec, result: None,  # noqa: ARG005 - what most launchers need
        failed_again: bool = True,
        still_held: Callable[[], bool] = lambda: True,
        steps: Sequence[RunSpec] = (),
    ) -> None:
        """`runs` maps the number of each trial to its runs, one a seed; `still_held` tells whether to go on.

        With `failed_again` runs that have failed are tried once more, because a person asks for it.
        With `detach` the study is left as soon as all that can be submitted is. `retry` decides what becomes of a run
        that did not complete. `steps` come before the runs that name them; a run does without one that failed.
        """
        self._folder, self._runs = folder, runs
        self._sweeper, self._launcher, self._objective, self._observer = sweeper, launcher, objective, observer
        self._fail_fast, self._detach, self._retry, self._still_held = fail_fast, detach, retry, still_held
        self._failed_again = failed_again
        self._trials: dict[int, Trial] = {}
        self._queue: collections.deque[RunSpec] = collections.deque()
        self._active: dict[str, Job] = {}
        # What an earlier controller left under way, by run.
        self._adopted: dict[str, Job] = {}
        self._taken_up: set[str] = set()
        self._exhausted = False
        self._stopping = False
        # Why it ends with jobs left under way, for another controller to take up; "" where it does not.
        self.left = ""
        self._give_up_at = math.inf
        # Whether it was a failed run, under fail_fast, that stopped it.
        self.failed_fast = False
        # Runs that compute the same are trained once: the first with a fingerprint leads, the others wait for it.
        self._leaders: dict[str, str] = {}
        self._followers: dict[str, list[RunSpec]] = collections.defaultdict(list)
        # Steps that have not ended, by id.
        self._steps = {step.run_id: step for step in steps}
        # Runs that wait for another, or for a step, by its id.
        self._dependents: dict[str, list[RunSpec]] = collections.defaultdict(list)
        self.results: dict[str, RunResult] = {}

    def carry_out(self) -> None:
        """Run what is missing. The launcher is left open, with nothing under way but what it was told to leave."""
        self._take_up()
        self._begin_steps()
        patient_until = time.monotonic() + DETACH_PATIENCE_S
        while not self._over():
            self._refill()
            self._submit()
            self._tell_news()
            under_way = self._active or self._queue
            if self._detach and under_way and not self._stopping and not self.left and self._may_leave(patient_until):
                self.leave("what may be is submitted")
            # Also where nothing is under way: a job whose runs have ended may still take the place of another.
            if (self._active or self._queue) and (self._stopping or not self.left):
                self._launcher.wait(TICK_S)
            self._collect()
            self._tell_news()
            if not self._stopping and self._folder.cancel.exists():
                self.stop("cancel was asked for")
            if not self._stopping and not self.left and not self._still_held():
                # Jobs that outlive this controller are the other's by now.
                self._end_or_leave("another controller has taken the study over")
            self._observer.tick(list(self._active.values()))

    def _tell_news(self) -> None:
        for text in self._launcher.news():
            self._observer.say(text)

    def _may_leave(self, patient_until: float) -> bool:
        """Whether, to detach, the scheduler has all that was submitted, or has been waited for long enough."""
        return self._launcher.unsent == 0 or time.monotonic() > patient_until

    def _end_or_leave(self, why: str) -> None:
        if self._launcher.outlives:
            self.leave(why)
        else:
            self.stop(why)

    def _take_up(self) -> None:
        """Find the jobs that an earlier controller left."""
        runs = [*self._steps.values(), *(spec for specs in self._runs.values() for spec in specs)]
        found = {job.spec.run_id: job for job in self._launcher.adopt(runs)}
        self._adopted = {run_id: job for run_id, job in found.items() if not self._completed(run_id)}
        if self._adopted:
            self._observer.say(f"found {len(self._adopted)} runs submitted before")

    def _begin_steps(self) -> None:
        """Queue the steps that some run still waits for."""
        for step in list(self._steps.values()):
            wanted = any(
                step.run_id in spec.after and not self._completed(spec.run_id)
                for specs in self._runs.values()
                for spec in specs
            )
            if not wanted or self._completed(step.run_id):
                del self._steps[step.run_id]
            elif step.run_id in self._adopted:
                self._active[step.run_id] = self._adopted.pop(step.run_id)
                self._observer.started(step)
            else:
                self._queue.append(step)

    def _completed(self, run_id: str) -> bool:
        known = self._folder.result(run_id)
        return known is not None and known.status == "completed"

    def interrupt(self, why: str) -> None:
        """Somebody wants the controller to end: leave the jobs to themselves where they can be, else stop them."""
        if self._launcher.outlives and not self._stopping:
            self.leave(why)
        else:
            self.stop(f"{why}; once more to stop at once")

    def under_way(self) -> set[str]:
        """The runs that have a job, or will have one when the scheduler answers."""
        return set(self._active)

    @property
    def unsent(self) -> int:
        """Of them, those that the scheduler has not taken yet."""
        return self._launcher.unsent

    def leave(self, why: str) -> None:
        """End, with the jobs that are under way left to themselves."""
        if not self.left:
            self._observer.say(f"leaving: {why}")
        self.left = self.left or why

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
        if time.monotonic() > self._give_up_at or (self.left and not self._stopping):
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
        if not self._may_begin(spec):
            return
        known = self._folder.result(spec.run_id)
        leader = self._leaders.setdefault(spec.fingerprint, spec.run_id)
        if known is not None and known.status == "completed":
            self._settle(spec, known)
        elif spec.run_id in self._adopted:
            self._active[spec.run_id] = self._adopted.pop(spec.run_id)
            self._taken_up.add(spec.run_id)
            self._observer.started(spec)
        elif known is not None and known.status == "failed" and not self._failed_again:
            self._take(spec, known)
        elif leader == spec.run_id:
            if self._failed_again:
                ledger.note_anew(spec.folder)
            self._queue.append(spec)
        elif leader in self.results:
            self._settle_follower(spec, self.results[leader])
        else:
            self._followers[leader].append(spec)

    def _may_begin(self, spec: RunSpec) -> bool:
        """Whether what it waits for has come about; if not yet, it is enlisted again when it has."""
        if not (spec.needs or spec.after) or self._completed(spec.run_id):
            return True
        for step_id in spec.after:
            if step_id in self._steps:
                self._dependents[step_id].append(spec)
                return False
        for needed in spec.needs:
            result = self.results.get(needed)
            if result is None:
                self._dependents[needed].append(spec)
                return False
            if result.status != "completed":
                self._give_up(spec, result)
                return False
        return True

    def _give_up(self, spec: RunSpec, needed: RunResult) -> None:
        """A run that lacks what it was to begin at, or to be held to."""
        error = f"not started: {needed.run_id}, which it needs, {needed.status}"
        result = RunResult(spec.run_id, "failed", spec.params, error=error, cause="error")
        with contextlib.suppress(OSError):
            result.write(spec.folder)
        self._settle(spec, result)

    def _submit(self) -> None:
        """Submit as many as there is room for, together: what goes on a cluster is submitted in few large pieces."""
        count = min(len(self._queue), self._launcher.free)
        if count <= 0 or self._stopping or self.left:
            return
        if not self._folder.has_room():
            self.stop(f"the disk of {self._folder.root} is full")
            return
        specs = [self._queue.popleft() for _ in range(count)]
        for spec in specs:
            self._observer.started(spec)
        for job in self._launcher.submit(specs):
            self._active[job.spec.run_id] = job
            if self._stopping:  # asked for by a signal while the job was being submitted
                job.cancel()

    def _collect(self) -> None:
        for run_id, job in list(self._active.items()):
            if job.done():
                del self._active[run_id]
                self._take(job.spec, job.result())

    def _take(self, spec: RunSpec, result: RunResult) -> None:
        """Let the result stand, or try the run again."""
        if result.status == "cancelled" and spec.run_id in self._taken_up and not self._stopping:
            # By whoever ended the study before it was resumed.
            self._taken_up.discard(spec.run_id)
            self._queue.append(spec)
            return
        retry = None if self._stopping else self._retry(spec, result)
        if retry is None:
            self._settle(spec, result)
            return
        changed = ", ".join(f"{key}={value}" for key, value in retry.adjustments.items())
        why = (result.cause or "").replace("_", " ")
        try:
            retries.adjust(spec.folder, retry)
        except OSError as error:
            self._settle(spec, Unstarted(spec, error).result())
            return
        self._observer.say(f"{spec.run_id} is tried again after {why}" + (f", with {changed}" if changed else ""))
        self._queue.appendleft(spec)

    def _settle(self, spec: RunSpec, result: RunResult) -> None:
        """Take note of how a run ended, and of those that waited for it."""
        if spec.step is not None:
            self._settle_step(spec, result)
            return
        self.results[spec.run_id] = result
        self._observer.ended(spec, result)
        for follower in self._followers.pop(spec.run_id, []):
            self._settle_follower(follower, result)
        for dependent in [] if result.status == "cancelled" else self._dependents.pop(spec.run_id, []):
            self._enlist(dependent)
        self._tell(spec.trial)
        if result.status == "failed" and self._fail_fast and not self._stopping:
            self.failed_fast = True
            self.stop(f"{spec.run_id} failed, and fail_fast=true")

    def _settle_step(self, step: RunSpec, result: RunResult) -> None:
        """Let the runs that waited for it begin; where it failed each does its work by itself."""
        self._observer.ended(step, result)
        if result.status == "failed":
            self._observer.say(f"{step.run_id} failed, so each run does its work by itself: {result.error}")
        if result.status != "cancelled":
            self._steps.pop(step.run_id, None)
            for dependent in self._dependents.pop(step.run_id, []):
                self._enlist(dependent)

    def _settle_follower(self, spec: RunSpec, result: RunResult) -> None:
        copied = dataclasses.replace(result, run_id=spec.run_id, params=spec.params, same_as=result.run_id)
        try:
            if copied.status != "cancelled":
                copied.write(spec.folder)
        except OSError as error:
            copied = Unstarted(spec, error).result()
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


def by_trial(specs: Sequence[RunSpec]) -> dict[int, list[RunSpec]]:
    """The runs of each trial, one a seed."""
    runs: dict[int, list[RunSpec]] = {}
    for spec in specs:
        runs.setdefault(spec.trial, []).append(spec)
    return runs
