"""Writes down what a run tells of itself while it goes on, and reads it back: metrics.jsonl and the heartbeat.

reporter.report(3, {"train/loss": nan})  appends  {"step": 3, "time": 1751367600.2, "train/loss": null}
"""

import contextlib
import json
import math
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trainers.files import write_json, write_whole
from trainers.spec import RunFolder

# The heartbeat is written anew at most so often while steps go by, and at least so often when a step takes long.
BEAT_AT_MOST_S = 1.0
BEAT_AT_LEAST_S = 2.0
STOP_CHECK_S = 0.2


class FileReporter:
    """The reporter of a run that works in its folder; a context, whose end closes the files.

    A disk that is full or gone costs metrics and heartbeats, not the run; stderr is told once.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._complained = False
        self._phase = "loading"
        self._asked = False
        self._stop_checked = -math.inf
        self._put_off: list[Callable[[], None]] = []
        self._metrics = MetricsFile(folder.metrics)
        self._heartbeat = _Heartbeat(folder.heartbeat, self._complain)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heartbeat.end()
        self._metrics.close()

    def begin(self, phase: str, steps: int | None = None) -> None:
        """The run enters a phase."""
        self._phase = phase
        self._heartbeat.tell({"phase": phase, "step": 0, "steps": steps, "since": time.time()}, at_once=True)

    def report(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Tell of a step; whether the run shall stop now."""
        try:
            self._metrics.supersede(step, metrics, steps_go_on=self._phase != "evaluating")
            if metrics:
                self._metrics.append(step, metrics)
        except OSError as error:
            self._complain(error)
        self._heartbeat.tell({"step": step})
        return self.stop_asked()

    def ask_to_stop(self) -> None:
        """From now on `report` says stop; safe to call from a signal handler."""
        self._asked = True

    def stop_asked(self) -> bool:
        """Whether the file `stop` or `prune` is there, or `ask_to_stop` was called."""
        now = time.monotonic()
        if not self._asked and now - self._stop_checked >= STOP_CHECK_S:
            self._stop_checked = now
            self._asked = self._folder.stop.exists() or self._folder.prune.exists()
        return self._asked

    def afterwards(self, work: Callable[[], None]) -> None:
        """Put something off until `do_what_is_left`."""
        self._put_off.append(work)

    def do_what_is_left(self) -> None:
        """Do what the run put off until its result is on disk, which stands whatever comes of this."""
        while self._put_off:
            try:
                self._put_off.pop(0)()
            except Exception:
                traceback.print_exc()

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            with contextlib.suppress(OSError):
                print(f"metrics or heartbeat cannot be written, the run goes on: {error}", file=sys.stderr, flush=True)


class MetricsFile:
    """metrics.jsonl, appended to line by line.

    A run that resumes from a checkpoint repeats the steps that an earlier attempt did after it. Lines of that attempt
    are dropped when their steps are reported again, so that each step counts once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        whole, damaged = _read(path)
        self._earlier = len(whole)
        self._last_earlier = max((line["step"] for line in whole), default=-1)
        if damaged:
            with contextlib.suppress(OSError):
                self._rewrite(whole)

    def supersede(self, step: int, metrics: Iterable[str], *, steps_go_on: bool) -> None:
        """Drop what an earlier attempt wrote of this step's metrics and, where training goes on, of later steps."""
        if step > self._last_earlier:
            return
        names = set(metrics)

        def stays(line: dict[str, Any]) -> bool:
            return not (line["step"] == step and names & line.keys()) and not (steps_go_on and line["step"] > step)

        lines, _ = _read(self._path)
        earlier = [line for line in lines[: self._earlier] if stays(line)]
        if len(earlier) < self._earlier:
            self._rewrite(earlier + lines[self._earlier :])
        self._earlier = len(earlier)
        self._last_earlier = max((line["step"] for line in earlier), default=-1)

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a line in one call, or not at all."""
        values = {name: finite(value) for name, value in metrics.items()}
        line = (json.dumps({"step": step, "time": round(time.time(), 3), **values}) + "\n").encode()
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        written = os.write(self._descriptor, line)
        if written < len(line):  # the disk filled up in the middle
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(f"{self._path}: no space for a whole line")

    def close(self) -> None:
        """Give back the file; `append` would open it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _rewrite(self, lines: list[dict[str, Any]]) -> None:
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in lines))
        self.close()


def finite(value: float | None) -> float | None:
    """The number, or None where JSON has none for it."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int | float) else float(value)  # numbers of NumPy and torch


def last_metrics(folder: RunFolder) -> tuple[int, dict[str, float | None]]:
    """The last step in metrics.jsonl, and the last value of each metric."""
    lines, _ = _read(folder.metrics)
    values = {name: value for line in lines for name, value in line.items() if name not in ("step", "time")}
    return max((line["step"] for line in lines), default=0), values


def reported(folder: RunFolder, metric: str) -> dict[int, float]:
    """The finite values of a metric in metrics.jsonl, by step; of a step that was come to twice the later one."""
    found = ((line["step"], line.get(metric)) for line in _read(folder.metrics)[0])
    return {step: float(value) for step, value in found if isinstance(value, int | float) and math.isfinite(value)}


def _read(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The lines of metrics.jsonl, and whether there is more in it: a kill may have left half a line."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], False
    *raw, rest = content.split(b"\n")
    lines = [line for line in map(_parse, raw) if line is not None]
    return lines, bool(rest) or len(lines) < len(raw)


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


class _Heartbeat:
    """Writes the heartbeat when told of something new, and from a thread of its own while a step takes long."""

    def __init__(self, path: Path, complain: Callable[[OSError], None]) -> None:
        self._path, self._complain = path, complain
        self._state: dict[str, Any] = {"phase": "loading", "step": 0, "steps": None}
        self._who = {"pid": os.getpid(), "host": socket.gethostname()}
        self._written = -math.inf
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._write()
        self._thread.start()

    def tell(self, news: Mapping[str, Any], *, at_once: bool = False) -> None:
        self._state = {**self._state, **news}
        if at_once or time.monotonic() - self._written >= BEAT_AT_MOST_S:
            self._write()

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._write()

    def _keep_beating(self) -> None:
        while not self._over.wait(BEAT_AT_LEAST_S / 2):
            if time.monotonic() - self._written >= BEAT_AT_LEAST_S / 2:
                self._write()

    def _write(self) -> None:
        with self._lock:
            self._written = time.monotonic()
            beat = {**self._state, "time": round(time.time(), 3), **self._who}
            try:
                write_json(self._path, beat, durable=False)
            except OSError as error:
                self._complain(error)
