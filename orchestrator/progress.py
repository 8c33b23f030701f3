"""What a person sees while a study goes on: a live table in a terminal, plain lines elsewhere.

Both read the run folders of the runs under way, and so show the same for every launcher.
"""

import contextlib
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.launchers.base import Job
from orchestrator.store import StudyFolder
from orchestrator.wording import clock, duration, one_line, short
from trainers.files import read_json
from trainers.spec import FINAL, RunResult, RunSpec

_TAIL_BYTES = 4096
# Rows of the live table: more would not fit a screen, and each costs two files read four times a second.
_MOST_SHOWN = 16
_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "pruned": "cyan"}


class Screen(Console):
    """A console whose reader may go away (`| head`, a closed terminal): it falls silent, and the study goes on."""

    def print(self, *args: Any, **kwargs: Any) -> None:
        """As rich prints, until that fails for good."""
        try:
            super().print(*args, **kwargs)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Nobody reads any more."""
        self.quiet = True
        # What is left in buffers must not fail when the interpreter ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def screen() -> Screen:
    """The user's terminal; a pipe or a file has no width, and there a table gets what it needs."""
    with contextlib.suppress(AttributeError, ValueError):
        # A terminal that cannot show ± or Δ shows something else, and no traceback.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    made = Screen()
    return made if made.is_terminal or "COLUMNS" in os.environ else Screen(width=200)


@dataclass
class Tally:
    """How far a study is: what ended how, how long runs take, and when it may be over."""

    # None where only time ends the study.
    total: int | None
    capacity: int
    ended: Counter[str] = field(default_factory=Counter)
    _seconds: list[float] = field(default_factory=list)

    def add(self, result: RunResult, *, now: bool) -> None:
        """`now` tells a run that has just ended from one that was found done."""
        self.ended[result.status] += 1
        if now and result.status == "completed":
            self._seconds.append(result.seconds)

    def eta_s(self) -> float | None:
        """Seconds to the end by the median run so far; None before the first has ended."""
        if not self._seconds or self.total is None:
            return None
        left = self.total - self.ended.total()
        return statistics.median(self._seconds) * max(left, 0) / self.capacity

    def line(self, active: int) -> str:
        """ "5/18 runs: 4 completed, 1 failed, 2 under way, about 40 s left"."""
        parts = [f"{n} {status}" for status, n in self.ended.items()]
        parts += [f"{active} under way"] if active else []
        eta = self.eta_s()
        told = f", about {duration(eta)} left" if eta else ""
        return f"{self.counted()} runs: {', '.join(parts) or 'starting'}{told}"

    def counted(self) -> str:
        """ "5/18"; "5" where nobody knows of how many."""
        return str(self.ended.total()) if self.total is None else f"{self.ended.total()}/{self.total}"


class PlainProgress:
    """A line when a run ends: for logs and pipes."""

    def __init__(self, console: Console, folder: StudyFolder | None, total: int | None, capacity: int) -> None:
        """Lines go to the log of the study as well, where there is one."""
        self._console, self._folder = console, folder
        self._tally = Tally(total, capacity)
        self._started: set[str] = set()

    def started(self, spec: RunSpec) -> None:
        """Kept, to tell a run that ends from one that was done before."""
        self._started.add(spec.run_id)

    def found(self, results: Iterable[RunResult]) -> None:
        """Count what was over before, and is not told again."""
        for result in results:
            self._tally.add(result, now=False)

    def ended(self, spec: RunSpec, result: RunResult) -> None:
        """Say how, and keep it in study.log."""
        now = spec.run_id in self._started
        before = spec.step == "reference"
        if not before:
            self._tally.add(result, now=now)
        if now or result.same_as:
            text = ended_line(spec, result)
            self._log(text)
            place = "before" if before else self._tally.counted()
            self._show(Text(f"[{place}] {text}", _STYLES.get(result.status, "")))

    def tick(self, active: Sequence[Job]) -> None:
        """Nothing: lines are for what happens."""

    def say(self, text: str) -> None:
        """A line, in study.log too."""
        self._log(text)
        self._show(Text(text, "bold"))

    def close(self) -> None:
        """Nothing is held."""

    def _log(self, text: str) -> None:
        if self._folder is not None:
            log(self._folder, text)

    def _show(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


class LiveProgress(PlainProgress):
    """The same lines above a table of the runs under way that keeps itself up to date."""

    def __init__(self, console: Console, folder: StudyFolder | None, total: int | None, capacity: int) -> None:
        super().__init__(console, folder, total, capacity)
        self._live = Live(Text("starting"), console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def tick(self, active: Sequence[Job]) -> None:
        """Draw the runs under way anew."""
        if self._console.quiet:
            return
        self._live.update(Group(_active_table(active), Text(self._tally.line(len(active)), "bold")))

    def close(self) -> None:
        """Give the terminal back, if it is still there."""
        with contextlib.suppress(OSError):
            self._live.stop()


def progress(console: Console, folder: StudyFolder | None, total: int | None, capacity: int) -> PlainProgress:
    """The progress that suits the console."""
    kind = LiveProgress if console.is_terminal else PlainProgress
    return kind(console, folder, total, capacity)


def ended_line(spec: RunSpec, result: RunResult) -> str:
    """ "t0001-s0-1a2b3c4d method=ipo beta=0.1 seed=0: completed in 6.1 s"."""
    label = values_of(spec)
    how = f"{result.status}, the same run as {result.same_as}" if result.same_as else result.status
    took = "" if result.same_as else f" in {duration(result.seconds)}"
    reason = result.error or result.why
    told = f": {one_line(reason)}" if reason else ""
    return f"{name_of(spec)} {label}: {how}{took}{told}"


def name_of(spec: RunSpec) -> str:
    """ "t0001-s0-1a2b3c4d", of the evaluation of another of its policies "t0001-s0-1a2b3c4d checkpoint-40"."""
    if spec.step != "evaluation":
        return spec.run_id
    return spec.needs[0] if spec.policy == FINAL else f"{spec.needs[0]} {spec.policy}"


def values_of(spec: RunSpec) -> str:
    """ "method=ipo beta=0.1 seed=0", of a step what it is for."""
    if spec.step == "reference":
        return f"log-probabilities of reference={spec.config['reference']['kind']}, for the runs that share them"
    return one_line(" ".join(f"{key}={short(value)}" for key, value in {**spec.params, "seed": spec.seed}.items()))


def log(folder: StudyFolder, text: str) -> None:
    """Add a line to study.log; a full disk does not stop the study."""
    try:
        with folder.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{clock()} {text}\n")
    except OSError:
        return


def _active_table(active: Sequence[Job]) -> Table:
    """The runs that have begun, and how many wait for what; no longer than a screen."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("run", "values", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("step", "loss", "ETA"):
        table.add_column(heading, justify="right", no_wrap=True)
    begun = [job.spec for job in active if not job.state]
    for spec in begun[:_MOST_SHOWN]:
        now = State.of(spec)
        table.add_row(escape(name_of(spec)), escape(values_of(spec)), now.phase, now.step, now.loss, now.eta)
    if len(begun) > _MOST_SHOWN:
        table.add_row(f"and {len(begun) - _MOST_SHOWN} more")
    for state, number in Counter(job.state for job in active if job.state).most_common(5):
        table.add_row(f"{number} of them", "", escape(one_line(state)))
    return table


def under_way(spec: RunSpec) -> bool:
    """Whether a process works on the run: its heartbeat is newer than any result."""
    try:
        beat = spec.folder.heartbeat.stat().st_mtime
    except OSError:
        return False
    try:
        return beat > spec.folder.result.stat().st_mtime
    except OSError:
        return True


@dataclass(frozen=True)
class State:
    """Where a run under way stands, as its folder tells it."""

    phase: str
    step: str = ""
    loss: str = ""
    eta: str = ""

    @classmethod
    def of(cls, spec: RunSpec) -> "State":
        """Read the heartbeat and the newest metrics."""
        beat = read_json(spec.folder.heartbeat)
        if not isinstance(beat, dict):
            return cls("starting")
        step, steps = beat.get("step") or 0, beat.get("steps")
        last = last_metrics(spec.folder.metrics)
        loss = last.get("train/loss")
        return cls(
            str(beat.get("phase", "")),
            f"{step}/{steps}" if steps else str(step or ""),
            f"{loss:.4f}" if isinstance(loss, float) else "",
            _eta(beat, int(step), steps),
        )


def _eta(beat: Mapping[str, Any], step: int, steps: int | None) -> str:
    since = beat.get("since")
    if not steps or not step or not isinstance(since, float) or beat.get("phase") != "training":
        return ""
    return duration((time.time() - since) / step * max(steps - step, 0))


def last_metrics(path: Path) -> dict[str, Any]:
    """The newest whole line of a metrics.jsonl, without reading the rest of it."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - _TAIL_BYTES, 0))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and "train/loss" in values:
            return values
    return {}
