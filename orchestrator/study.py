"""The loop of a study: ask for trials, submit their runs, collect results, tell the sweeper.

One loop for every sweeper and every launcher, without a barrier: a free slot gets the next run at once, and a run that
fails is a result like another. Nothing is lost with the controller, because what counts is in the run folders.
"""

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from orchestrator import ledger, pruned, retries
from orchestrator.launchers.base import Job, Launcher, Unstarted
from orchestrator.limits import Clock, Limits
from orchestrator.onlookers import Observer, RunWatch, Unwatched
from orchestrator.store import StudyFolder
from orchestrator.trial_flow import TrialFlow
from orchestrator.trial_runs import TrialRuns
from orchestrator.waiting import Alike, Dependents, Steps
from sweeps.types import Sweeper
from trainers.spec import RunResult, RunSpec

TICK_S = 0.5
# How long runs that are to end at once may take; then the launcher's own end will end them.
END_AT_ONCE_S = 10.0
# How long a study that is to be left waits for a scheduler that does not answer.
DETACH_PATIENCE_S = 60.0


# What to do about a run that did not complete: None lets its result stand.
Retry = Callable[[RunSpec, RunResult], retries.Retry | None]


class Study:
    """A study under way; `carry_out` returns when every trial has ended, or when it was asked to stop."""

    def __init__(
        self,
        folder: StudyFolder,
        runs: TrialRuns,
        *,
        sweeper: Sweeper,
        launcher: Launcher,
        observer: Observer,
        limits: Limits | None = None,
        watch: RunWatch | None = None,
        fail_fast: bool = False,
        detach: bool = False,
        retry: Retry = lambda spec, result: None,  # noqa: ARG005 - what most launchers need
        failed_again: bool = True,
        still_held: Callable[[], bool] = lambda: True,
        steps: Sequence[RunSpec] = (),
    ) -> None:
        """`runs` makes runs of the sweeper's trials; `still_held` tells whether to go on.

        With `failed_again` runs that have failed are tried once more, because a person asks for it.
        With `detach` the study is left as soon as all that can be submitted is. `retry` decides what becomes of a run
        that did not complete. `steps` come before the runs that name them; a run does without one that failed.
        """
        self._folder, self._runs, self._launcher = folder, runs, launcher
        self._observer, self._watch = observer, watch or Unwatched()
        self._fail_fast, self._detach, self._retry, self._still_held = fail_fast, detach, retry, still_held
        self._failed_again = failed_again
        self._limits = limits or Limits()
        self._clock = Clock(folder.clock)
        self._trials = TrialFlow(runs, sweeper, self._limits, self._clock, observer.say)
        self._queue: collections.deque[RunSpec] = collections.deque()
        self._active: dict[str, Job] = {}
        # What an earlier controller left under way, by run.
        self._adopted: dict[str, Job] = {}
        self._taken_up: set[str] = set()
        # Results that were there from the start, by run.
        self._found: dict[str, RunResult] = {}
        self._stopping = False
        # Why it ends with jobs left under way, for another controller to take up; "" where it does not.
        self.left = ""
        self._give_up_at = math.inf
        # Whether it was failures, under fail_fast or max_failure_rate, that stopped it.
        self.failed_fast = False
        self._alike, self._dependents, self._steps = Alike(), Dependents(), Steps(steps)
        # Of the runs of trials that this controller was given; see `all_results`.
        self.results: dict[str, RunResult] = {}

    def carry_out(self) -> None:
        """Run what is missing. The launcher is left open, with nothing under way but what it was told to leave."""
        try:
            known = self._runs.known()
            self._watch.start(known)
            self._take_up(known)
            self._begin_steps(known)
            self._go_on()
        finally:
            self._clock.keep(at_once=True)
            self._watch.close()
            self._tell_news()

    def _go_on(self) -> None:
        patient_until = time.monotonic() + DETACH_PATIENCE_S
        while not self._over():
            self._refill()
            self._submit()
            self._tell_news()
            under_way = self._active or self._queue
            if self._detach and under_way and not self._stopping and not self.left and self._may_leave(patient_until):
                self.leave("what may be is submitted")
            # Also where nothing is under way: a job whose runs have ended may still take the place of another.
            if (under_way or self._trials.may_ask) and (self._stopping or not self.left):
                self._launcher.wait(TICK_S)
            self._collect()
            self._tell_news()
            self._heed()
            self._clock.keep()
            self._observer.tick(list(self._active.values()))

    def _heed(self) -> None:
        """Stop or leave where that is asked for, or cannot be helped."""
        if self._stopping:
            return
        if self._trials.halt:
            self.failed_fast = self.failed_fast or self._trials.too_many_failed
            self.stop(self._trials.halt)
        elif self._folder.cancel.exists():
            self.stop("cancel was asked for")
        elif not self.left and not self._still_held():
            # Jobs that outlive this controller are the other's by now.
            why = "another controller has taken the study over"
            self.leave(why) if self._launcher.outlives else self.stop(why)

    def _tell_news(self) -> None:
        for text in [*self._launcher.news(), *self._watch.news()]:
            self._observer.say(text)

    def _may_leave(self, patient_until: float) -> bool:
        """Whether, to detach, the scheduler has all that was submitted, or has been waited for long enough."""
        return self._launcher.unsent == 0 or time.monotonic() > patient_until

    def _take_up(self, known: Sequence[RunSpec]) -> None:
        """Find the jobs that an earlier controller left, and what has ended by now."""
        found = {job.spec.run_id: job for job in self._launcher.adopt([*self._steps.all(), *known])}
        self._found = self._folder.results(known)
        for spec in known:
            if self._ended(spec.run_id) is not None:
                self._alike.leader(spec)
        self._adopted = {run_id: job for run_id, job in found.items() if not self._is_final(run_id)}
        if self._adopted:
            self._observer.say(f"found {len(self._adopted)} runs submitted before")
        self._trials.take_up(known, self._found, self._adopted)

    def _ended(self, run_id: str) -> RunResult | None:
        """How a run ended, in this controller's time or, for good, before."""
        before = self._found.get(run_id)
        return self.results.get(run_id) or (before if before is not None and before.final else None)

    def _begin_steps(self, known: Sequence[RunSpec]) -> None:
        """Queue the steps that a known run still waits for; runs to come ask for theirs."""
        wanted = {step for spec in known if not self._ended(spec.run_id) for step in spec.after}
        for step in self._steps.all():
            if self._is_final(step.run_id):
                self._steps.ended(step.run_id)
            elif step.run_id in wanted:
                self._begin_step(step.run_id)

    def _begin_step(self, step_id: str) -> None:
        step = self._steps.begin(step_id)
        if step is not None and step_id in self._adopted:
            self._active[step_id] = self._adopted.pop(step_id)
            self._observer.started(step)
        elif step is not None:
            self._queue.append(step)

    def _is_final(self, run_id: str) -> bool:
        known = self._folder.result(run_id)
        return known is not None and known.final

    def interrupt(self, why: str) -> None:
        """Somebody wants the controller to end: leave the jobs to themselves where they can be, else stop them."""
        if self._launcher.outlives and not self._stopping:
            self.leave(why)
        else:
            self.stop(f"{why}; once more to stop at once")

    def all_results(self) -> dict[str, RunResult]:
        """How every run ended that has, also those of trials that were over before this controller came."""
        before = {run_id: result for run_id, result in self._found.items() if result.status != "cancelled"}
        return {**before, **self.results}

    def under_way(self) -> set[str]:
        """The runs that have a job, or will have one when the scheduler answers."""
        return set(self._active)

    @property
    def unsent(self) -> int:
        """Of them, those that the scheduler has not taken yet."""
        return self._launcher.unsent

    @property
    def out_of_time(self) -> bool:
        """Whether no new trial was begun any more because the study's time was over."""
        return self._trials.out_of_time

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
        more = self._queue or self._trials.may_ask or self._trials.halt
        return not self._active and (self._stopping or not more)

    def _refill(self) -> None:
        """Ask for as many trials as there is room for: what is asked later is asked with more outcomes told."""
        # Jobs of before wait for their trials, and take up room already.
        while any(job.spec.step is None for job in self._adopted.values()) and self._asks(self._launcher.capacity):
            pass
        room = self._room()
        while self._asks(room):
            pass
        if self._trials.halt:
            self._heed()

    def _asks(self, at_hand: int) -> bool:
        """Ask for a trial, unless so many runs are at hand, or none is to be had now."""
        if self._stopping or not self._trials.may_ask or len(self._queue) >= at_hand:
            return False
        for spec in self._trials.ask():
            self._enlist(spec)
        return True

    def _room(self) -> int:
        """How many runs may be submitted now."""
        free, most = self._launcher.free, self._limits.max_parallel
        return free if most is None else min(free, most - len(self._active))

    def _enlist(self, spec: RunSpec) -> None:
        """Queue a run, unless its result is there, or another run is about to give it."""
        if not self._may_begin(spec):
            return
        known = self._ended(spec.run_id) or self._folder.result(spec.run_id)
        leader = self._alike.leader(spec)
        if known is not None and known.final:
            self._settle(spec, known)
        elif spec.run_id in self._adopted:
            self._active[spec.run_id] = self._adopted.pop(spec.run_id)
            self._taken_up.add(spec.run_id)
            self._start(spec)
        elif (decided := pruned.without_attempt(spec, known)) is not None:
            self._settle(spec, decided)
        elif known is not None and known.status == "failed" and not self._failed_again:
            self._take(spec, known)
        elif leader == spec.run_id:
            if self._failed_again:
                ledger.note_anew(spec.folder)
            self._queue.append(spec)
        elif (ended := self._ended(leader)) is not None:
            self._settle_follower(spec, ended)
        else:
            self._alike.follow(leader, spec)

    def _start(self, spec: RunSpec) -> None:
        self._observer.started(spec)
        if spec.step is None:
            self._watch.begin(spec)

    def _may_begin(self, spec: RunSpec) -> bool:
        """Whether what it waits for has come about; if not yet, it is enlisted again when it has."""
        if not (spec.needs or spec.after) or self._is_final(spec.run_id):
            return True
        step_id = self._steps.awaited(spec)
        if step_id is not None:
            self._dependents.wait(step_id, spec)
            self._begin_step(step_id)
            return False
        for needed in spec.needs:
            result = self._ended(needed)
            if result is None:
                self._dependents.wait(needed, spec)
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
        count = min(len(self._queue), self._room())
        if count <= 0 or self._stopping or self.left:
            return
        if not self._folder.has_room():
            self.stop(f"the disk of {self._folder.root} is full")
            return
        specs = [self._queue.popleft() for _ in range(count)]
        for spec in specs:
            self._start(spec)
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
        if not result.final:
            result = pruned.without_attempt(spec, result) or result
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
        self._watch.end(spec, result)
        self._observer.ended(spec, result)
        for follower in self._alike.pop(spec.run_id):
            self._settle_follower(follower, result)
        for dependent in [] if result.status == "cancelled" else self._dependents.pop(spec.run_id):
            self._enlist(dependent)
        for further in self._trials.run_ended(spec.trial, self.results):
            self._enlist(further)
        if result.status == "failed" and self._fail_fast and not self._stopping:
            self.failed_fast = True
            self.stop(f"{spec.run_id} failed, and fail_fast=true")

    def _settle_step(self, step: RunSpec, result: RunResult) -> None:
        """Let the runs that waited for it begin; where it failed each does its work by itself."""
        self._observer.ended(step, result)
        if result.status == "failed":
            self._observer.say(f"{step.run_id} failed, so each run does its work by itself: {result.error}")
        if result.status != "cancelled":
            self._steps.ended(step.run_id)
            for dependent in self._dependents.pop(step.run_id):
                self._enlist(dependent)

    def _settle_follower(self, spec: RunSpec, result: RunResult) -> None:
        copied = dataclasses.replace(result, run_id=spec.run_id, params=spec.params, same_as=result.run_id)
        try:
            if copied.status != "cancelled":
                copied.write(spec.folder)
        except OSError as error:
            copied = Unstarted(spec, error).result()
        self._settle(spec, copied)
