"""Watches what runs report while they are under way, and has those pruned that are not worth going on with.

A run is asked through its folder, so it may be anywhere: its metrics.jsonl is read, and the file `prune` written. The
decision is a pruner's, which knows nothing of runs: pruner.report("t0003-s0-1a2b3c4d", 40, 0.52) -> True.
"""

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from orchestrator import pruned
from orchestrator.pruned import Decision
from orchestrator.wording import one_line
from trainers.files import read_json
from trainers.spec import RunFolder, RunResult, RunSpec

POLL_S = 0.2
SLOWEST_POLL_S = 10.0
# Of one core, at most; the more runs are under way, and the slower the pruner, the rarer they are looked at.
SHARE = 0.015

State = Literal["complete", "pruned", "fail"]
_STATES: dict[str, State] = {"completed": "complete", "pruned": "pruned", "failed": "fail"}


class Pruner(Protocol):
    """Decides which runs are pruned; as `sweeps.pruning.Pruner`. Never called from two threads at once."""

    def report(self, run: str, step: int, value: float) -> bool:
        """A run measured a value at a step, higher than those before; NaN where it was none. True: prune it."""

    def end(self, run: str, state: State, value: float | None) -> None:
        """A run has ended, with its last value."""


@dataclass
class _Followed:
    """How far the metrics of a run have been read, and told to the pruner."""

    spec: RunSpec
    # What the pruner calls it.
    name: str
    # The file as it was read: another one has taken its place where the number differs.
    inode: int = 0
    offset: int = 0
    told_step: int = -1
    # Whether the pruner has been told that it ended.
    ended: bool = False
    # A decision that could not be written yet.
    unwritten: Decision | None = None
    # Whether nothing is decided any more: it was, or it is too late.
    decided: bool = False


@dataclass(frozen=True, order=True)
class _Event:
    """What happened under earlier controllers: a report, or a run's end, where `line` is None."""

    time: float
    order: int
    followed: _Followed = field(compare=False)
    line: dict[str, Any] | None = field(compare=False)


class Watch:
    """A thread between the runs under way and a pruner, from `start` to `close`.

    Each step of a run is reported once, in order: what an attempt repeats after a checkpoint is left out. A pruner
    that raises costs the pruning, not the study.
    """

    def __init__(self, pruner: Pruner, metric: str, *, name: str = "the pruner", poll_s: float = POLL_S) -> None:
        """`metric` is what the pruner is told, as metrics.jsonl calls it; `name` is what people know the pruner by."""
        self._pruner, self._metric, self._name, self._poll_s = pruner, metric, name, poll_s
        self._followed: dict[str, _Followed] = {}
        self._under_way: set[str] = set()
        self._news: list[str] = []
        # Around all that the thread shares with the study's, the pruner included.
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="pruning", daemon=True)
        self._off = False

    def start(self, known: Sequence[RunSpec]) -> None:
        """Tell the pruner what runs reported under earlier controllers, in the order of time; then look on.

        Of those that have not ended, the ones that it would prune now are.
        """

        def replay() -> None:
            for event in sorted(self._history(known)):
                self._replay(event)

        self._safely(replay)
        self._thread.start()

    def _history(self, known: Sequence[RunSpec]) -> list[_Event]:
        events: list[_Event] = []
        for spec in known:
            result = RunResult.read(spec.folder)
            if spec.step is not None or (result is not None and result.same_as):
                continue
            followed = self._followed.setdefault(spec.run_id, _Followed(spec, spec.run_id))
            followed.decided = (result is not None and result.status != "cancelled") or spec.folder.prune.exists()
            last = 0.0
            for line in self._new_lines(followed):
                # A clock that was set back does not change the order of a run's own lines.
                last = max(last, _time(line))
                events.append(_Event(last, len(events), followed, line))
            if result is not None and result.status in _STATES:
                with contextlib.suppress(OSError):
                    last = max(last, spec.folder.result.stat().st_mtime)
                events.append(_Event(last, len(events), followed, None))
        return events

    def _replay(self, event: _Event) -> None:
        if event.line is not None:
            self._report(event.followed, event.line)
            return
        result = RunResult.read(event.followed.spec.folder)
        if result is not None:
            self._tell_end(event.followed, result)

    def begin(self, spec: RunSpec) -> None:
        """A run is under way, perhaps again; to the pruner one that had ended is another run with the same history."""
        with self._lock:
            followed = self._followed.setdefault(spec.run_id, _Followed(spec, spec.run_id))
            if followed.ended:
                followed = self._followed[spec.run_id] = _Followed(spec, followed.name + "+")
            followed.decided = spec.folder.prune.exists()
            self._under_way.add(spec.run_id)

    def end(self, spec: RunSpec, result: RunResult) -> None:
        """A run has ended: what it reported last is told to the pruner, and then its end.

        Nothing is told of one that is another's copy, and of one whose end is known.
        """

        def tell() -> None:
            self._under_way.discard(spec.run_id)
            followed = self._followed.get(spec.run_id)
            if followed is None or followed.ended or result.same_as:
                return
            followed.decided, followed.unwritten = True, None
            self._read_on(followed)
            self._tell_end(followed, result)

        self._safely(tell)

    def _tell_end(self, followed: _Followed, result: RunResult) -> None:
        if result.status in _STATES:
            followed.ended = True
            self._pruner.end(followed.name, _STATES[result.status], result.metrics.get(self._metric))

    def news(self) -> list[str]:
        """What people should know, each once."""
        with self._lock:
            news, self._news = self._news, []
        return news

    def close(self) -> None:
        """Look no more; runs under way go on unwatched."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _keep_looking(self) -> None:
        pause_s = self._poll_s
        while not self._closed.wait(pause_s) and not self._off:
            began = time.thread_time()
            self.look()
            pause_s = min(max(self._poll_s, (time.thread_time() - began) / SHARE), max(SLOWEST_POLL_S, self._poll_s))

    def look(self) -> None:
        """Read what the runs under way have reported since the last time, and have decisions carried out."""
        with self._lock:
            under_way = [self._followed[run_id] for run_id in self._under_way]
        for followed in under_way:
            # A run at a time, so that the study, which tells of runs that begin and end, never waits for long.
            self._safely(lambda followed=followed: self._look_at(followed))  # type: ignore[misc]

    def _look_at(self, followed: _Followed) -> None:
        if followed.spec.run_id not in self._under_way:
            return
        if followed.unwritten is not None:
            self._carry_out(followed, followed.unwritten)
        self._read_on(followed)

    def _safely(self, work: Callable[[], None]) -> None:
        """Do something under the lock, unless anything has gone wrong in here before."""
        with self._lock:
            if self._off:
                return
            try:
                work()
            except Exception as error:
                self._off = True
                told = one_line(f"{type(error).__name__}: {error}")
                self._news.append(f"{self._name} has failed, and no more runs are pruned: {told}")

    def _read_on(self, followed: _Followed) -> None:
        for line in self._new_lines(followed):
            self._report(followed, line)

    def _report(self, followed: _Followed, line: dict[str, Any]) -> None:
        """Tell the pruner of a line, once for each step; what it decides is carried out, if it is not too late."""
        step, value = line["step"], line.get(self._metric, ...)
        if value is ... or step <= followed.told_step:
            return
        followed.told_step = step
        number = float(value) if isinstance(value, int | float) else math.nan
        prune = self._pruner.report(followed.name, step, number)
        if prune and not followed.decided:
            why = f"{self._metric} {number:.4g} at step {step}, by {self._name}"
            self._carry_out(followed, Decision(step, why))

    def _carry_out(self, followed: _Followed, decision: Decision) -> None:
        folder = followed.spec.folder
        followed.decided, followed.unwritten = True, None
        if _trained(folder):
            # Its last evaluation costs less than it tells.
            return
        try:
            pruned.decide(folder, decision)
        except OSError:
            followed.unwritten = decision

    def _new_lines(self, followed: _Followed) -> list[dict[str, Any]]:
        """The whole lines that were added to a run's metrics; all of them where the file was written anew."""
        path = followed.spec.folder.metrics
        try:
            now = path.stat()
            if (now.st_ino, now.st_size) == (followed.inode, followed.offset):
                return []
            with path.open("rb") as file:
                now = os.fstat(file.fileno())
                if now.st_ino != followed.inode or now.st_size < followed.offset:
                    followed.inode, followed.offset = now.st_ino, 0
                file.seek(followed.offset)
                added = file.read()
        except OSError:
            return []
        whole, newline, _ = added.rpartition(b"\n")
        followed.offset += len(whole) + len(newline)
        return [line for line in map(_parse, whole.splitlines()) if line is not None]


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def _time(line: dict[str, Any]) -> float:
    when = line.get("time")
    return float(when) if isinstance(when, int | float) else 0.0


def _trained(folder: RunFolder) -> bool:
    """Whether all that is left to a run is to be evaluated."""
    beat = read_json(folder.heartbeat)
    return isinstance(beat, dict) and beat.get("phase") == "evaluating"
