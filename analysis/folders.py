"""Reads runs from study folders: what a run's files say, as a row of `analysis.runs.Runs`."""

import hashlib
import os
import socket
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from analysis.errors import NoRuns
from analysis.evaluation_files import Verdict, read_parts, verdict
from analysis.find import find_runs
from analysis.frame import Row, is_part, make_frame
from analysis.gather import Asked, Gathered, metrics, together
from analysis.history import history_of_file
from analysis.identity import identity
from analysis.runs import Part, Runs
from analysis.told import Told
from orchestrator.reporter import last_metrics
from trainers.files import read_json
from trainers.spec import RunFolder, RunResult, RunSpec

# A heartbeat is written every two seconds, through steps of any length; network file systems show it later.
_ALIVE_S = 60.0
# The parsers leave the interpreter alone, so that threads do share the work; more of them would only take memory.
_THREADS = min(os.cpu_count() or 1, 8)


@dataclass(frozen=True)
class _Found:
    """A run without its parts. `folder` has these, another run's where both are one."""

    row: Row
    folder: RunFolder
    evaluated: bool
    same_as: Path | None


def read_folders(roots: Collection[Path], parts: Collection[Part] = ()) -> Runs:
    """The runs of some studies. Raises NoRuns where a folder is none, or has none."""
    told, found = Told(), Gathered()
    for root in roots:
        found = found + gather_folder(root, Asked(parts), told)
    if not found.rows:
        raise NoRuns(f"{', '.join(map(str, roots))}: no runs")
    found = found.without_doubles(told)
    return Runs(make_frame(found.rows, parts), told.sentences())


def gather_folder(root: Path, asked: Asked, told: Told) -> Gathered:
    """The runs below a folder. Raises NoRuns where it is no folder of runs."""
    there = {run: found for run in find_runs(root, told) if (found := _read(RunFolder(run), told)) is not None}
    for found in there.values():
        if found.same_as in there:
            told.add("run", "the same as another of its study, and counted once", found.row["run_id"])
    single = [found for found in there.values() if found.same_as not in there]
    wanted = [found for found, is_wanted in zip(single, asked.wanted([one.row for one in single]), strict=True)
              if is_wanted]  # fmt: skip
    asked.progress.expect(len(wanted))

    def whole(found: _Found) -> tuple[Gathered, Told]:
        of_this = Told()
        cells, mark = _parts(found, asked, of_this)
        asked.progress.done()
        settled = not of_this and found.row["status"] != "running"
        return Gathered([{**found.row, **cells}], [mark if settled else ""]), of_this

    with ThreadPoolExecutor(_THREADS) as threads:
        return together(threads.map(whole, wanted), told)


def _read(folder: RunFolder, told: Told) -> _Found | None:
    """A run but for its parts; None, and told, where it cannot be said what it is."""
    name = folder.root.name
    try:
        spec = RunSpec.read(folder.root)
        if spec.step is not None:
            return None
        known = identity(spec.config, spec.params)
    except FileNotFoundError:
        told.add("run", "spec.json is missing or damaged: left out", name)
        return None
    except (KeyError, AttributeError, TypeError):
        told.add("run", "spec.json lacks a part of the config: left out", name)
        return None
    result = RunResult.read(folder)
    if result is None and folder.result.exists():
        told.add("run", "result.json is damaged, and taken for missing", name)
    ended, last = _ended(folder, result)
    same_as = None if result is None or result.same_as is None else folder.root.parent / result.same_as
    place = folder if same_as is None else RunFolder(same_as)
    said = verdict(place.evaluation, name, told)
    newer = {} if said is None else said.metrics
    row = {
        "source": str(folder.root),
        "study": spec.study,
        "run_id": spec.run_id,
        "trial": spec.trial,
        **known,
        **ended,
        # As of its end, unless it was evaluated again.
        "degenerate": getattr(result, "degenerate", None) if said is None or not _judged(said) else said.degenerate,
        "evaluated": None if said is None else said.settings,
        # A measure that could not be taken any more has no older value either.
        **metrics({name: value for name, value in {**last, **newer}.items() if value is not None}, name, told),
    }
    return _Found(row, place, said is not None, same_as)


def _judged(said: Verdict) -> bool:
    """Whether an evaluation has looked at answers, without which nothing is known of degeneracy."""
    return said.degenerate is not None or "eval/degenerate" in said.metrics


def _ended(folder: RunFolder, result: RunResult | None) -> tuple[Row, dict[str, float | None]]:
    """How a run ended, or that it has not, and the last value of each metric."""
    if (result is None or not result.final) and _is_alive(folder):
        steps, last = last_metrics(folder)
        return {"status": "running", "steps": steps}, last
    if result is None:
        return {"status": "missing"}, {}
    ended = {name: getattr(result, name) for name in ("status", "error", "steps", "seconds", "tracking_url")}
    return ended, dict(result.metrics)


def _is_alive(folder: RunFolder) -> bool:
    """Whether a process works on the run, by the heartbeat that it writes all the time."""
    beat = read_json(folder.heartbeat)
    try:
        age_s = time.time() - folder.heartbeat.stat().st_mtime
    except OSError:
        return False
    pid = beat.get("pid") if isinstance(beat, dict) else None
    if isinstance(pid, int) and isinstance(beat, dict) and beat.get("host") == socket.gethostname():
        return abs(age_s) < _ALIVE_S and psutil.pid_exists(pid)
    return abs(age_s) < _ALIVE_S


def _parts(found: _Found, asked: Asked, told: Told) -> tuple[Row, str]:
    """The cells of the parts, and the mark of what they were read from."""
    folder, name = found.folder, found.row["run_id"]
    mark = _mark(folder, asked.parts)
    mark_before, before = asked.kept.get(found.row["source"], ("", {}))
    if mark == mark_before:
        return {name: cell for name, cell in before.items() if is_part(name)}, mark
    cells: Row = {}
    if "history" in asked.parts:
        cells |= _history(folder, found.row["status"], name, told)
    if found.evaluated:
        cells |= read_parts(folder.evaluation, asked.parts, name, told)
    return cells, mark


def _history(folder: RunFolder, status: str, run: str, told: Told) -> Row:
    try:
        content = folder.metrics.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        told.add("run", f"metrics.jsonl cannot be read ({error.strerror}): no history", run)
        return {}
    cells, damaged = history_of_file(content)
    # A line that is being written is not damaged.
    if damaged > (status == "running"):
        told.add("line", "damaged in metrics.jsonl, and left out", run, damaged)
    elif not cells and status == "completed":
        told.add("run", "logged nothing: no history", run)
    return cells


def _mark(folder: RunFolder, parts: Collection[Part]) -> str:
    return hashlib.sha256("\n".join([*sorted(parts), *_states(folder)]).encode()).hexdigest()[:32]


def _states(folder: RunFolder) -> Iterator[str]:
    """Size and time of each file that parts are read from."""
    evaluation = folder.evaluation
    for path in (folder.metrics, evaluation.metrics, evaluation.pairs, evaluation.answers, evaluation.tokens):
        try:
            state = path.stat()
            yield f"{path.name} {state.st_size} {state.st_mtime_ns}"
        except OSError:
            yield f"{path.name} -"
