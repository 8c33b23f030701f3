"""Carries out evaluations through a launcher, as many at a time as it takes.

Each is a step of the study (`trainers.evaluation_step`) with a folder beside the run's, runs/evaluation-1a2b3c4d: its
lock keeps two commands from measuring one policy at once, its log.txt says what went wrong.
"""

import collections
import contextlib
import dataclasses
import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import ledger, retries
from orchestrator.attempts import RunFolderBusy, alone_in
from orchestrator.evaluation.sources import Subject
from orchestrator.launchers.base import Job, Launcher, Unstarted
from orchestrator.onlookers import Observer
from orchestrator.study import END_AT_ONCE_S, TICK_S, Retry
from trainers.spec import RunResult, RunSpec


def step_of(subject: Subject, config: Mapping[str, Any], cache_dir: Path) -> RunSpec:
    """The step that measures a policy by a config."""
    spec = subject.spec
    # Where two studies have runs of the same id, their W&B ids tell them apart.
    named = f"{spec.run_dir.name} {spec.tracking_id} {subject.policy}"
    step = dataclasses.replace(
        spec,
        step="evaluation",
        policy=subject.policy,
        fingerprint=hashlib.sha256(named.encode()).hexdigest(),
        config=config,
        needs=(spec.run_dir.name,),
        after=(),
        cache_dir=cache_dir,
    )
    return step.at(spec.run_dir.parent / step.run_id)


class Evaluations:
    """Steps under way; `carry_out` returns when each has a result, or when it was asked to stop."""

    def __init__(self, steps: Sequence[RunSpec], launcher: Launcher, observer: Observer, retry: Retry) -> None:
        self._launcher, self._observer, self._retry = launcher, observer, retry
        self._queue = collections.deque(steps)
        self._active: list[Job] = []
        # Those that may be tried again.
        self._begun: set[Path] = set()
        self._give_up_at = math.inf
        self.stopped = False
        # By the steps' folders.
        self.results: dict[Path, RunResult] = {}

    def carry_out(self) -> None:
        """Measure. The launcher is left open."""
        while not self._over():
            self._submit()
            for text in self._launcher.news():
                self._observer.say(text)
            if self._active:
                self._launcher.wait(TICK_S)
            self._collect()
            self._observer.tick(self._active)

    @property
    def completed(self) -> set[Path]:
        """Folders of the steps that have measured their policy."""
        return {folder for folder, result in self.results.items() if result.status == "completed"}

    @property
    def failed(self) -> set[Path]:
        """Folders of those that have not, though nobody stopped them."""
        return {folder for folder, result in self.results.items() if result.status == "failed"}

    def interrupt(self, why: str) -> None:
        """Start nothing more, and stop what is under way; called again, at once."""
        again, self.stopped = self.stopped, True
        if again:
            self._give_up_at = min(self._give_up_at, time.monotonic() + END_AT_ONCE_S)
        else:
            self._observer.say(f"stopping: {why}; what is measured stays, once more to stop at once")
        for job in list(self._active):
            job.cancel(at_once=again)

    def _over(self) -> bool:
        if time.monotonic() > self._give_up_at:
            return True
        return not self._active and (self.stopped or not self._queue)

    def _submit(self) -> None:
        ready: list[RunSpec] = []
        while self._queue and len(ready) < self._launcher.free and not self.stopped:
            step = self._queue.popleft()
            self._observer.started(step)
            try:
                if step.run_dir not in self._begun:
                    _make_ready(step)
                self._begun.add(step.run_dir)
                ready.append(step)
            except RunFolderBusy as error:
                self._settle(step, RunResult(step.run_id, "failed", step.params, error=f"measured already: {error}"))
            except OSError as error:
                self._settle(step, Unstarted(step, error).result())
        for job in self._launcher.submit(ready) if ready else ():
            self._active.append(job)
            if self.stopped:  # asked for by a signal while the job was being submitted
                job.cancel()

    def _collect(self) -> None:
        for job in [job for job in self._active if job.done()]:
            self._active.remove(job)
            step, result = job.spec, job.result()
            retry = None if self.stopped else self._retry(step, result)
            if retry is None:
                self._settle(step, result)
                continue
            with contextlib.suppress(OSError):
                retries.adjust(step.folder, retry)
            self._observer.say(f"{step.needs[0]} is tried again after {(result.cause or '').replace('_', ' ')}")
            self._queue.appendleft(step)

    def _settle(self, step: RunSpec, result: RunResult) -> None:
        self.results[step.run_dir] = result
        self._observer.ended(step, result)


def _make_ready(step: RunSpec) -> None:
    """Write the step's folder anew. Raises RunFolderBusy where another command measures the same, and OSError."""
    step.run_dir.mkdir(exist_ok=True)
    with alone_in(step.folder):
        for leftover in (step.folder.result, step.folder.adjusted):
            leftover.unlink(missing_ok=True)
        ledger.note_anew(step.folder)
        step.write()
