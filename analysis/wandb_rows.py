"""Rows of the runs at W&B, `wandb:entity/project[/group]`: ours as folders have them, others' as far as is known.

The list of runs comes in pages, with config and summary; histories and files are fetched by a few threads, and only
for runs of which something has changed.
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import NoRuns
from analysis.evaluation_files import read_parts, verdict
from analysis.foreign import Recognised, recognise, translate
from analysis.frame import Row, is_part, number
from analysis.gather import Asked, Gathered, metrics, together
from analysis.history import history_of_rows
from analysis.identity import as_text, identity
from analysis.patience import GaveUp, Patience, Refused
from analysis.runs import is_metric
from analysis.told import Told
from analysis.wandb_runs import Server
from trainers.spec import EvaluationFolder

PREFIX = "wandb:"
# Few, because the server counts requests: more would only wait more.
_THREADS = 4
_STATES = {"finished": "completed", "failed": "failed", "crashed": "failed", "killed": "cancelled",
           "preempted": "cancelled", "preempting": "running", "running": "running", "pending": "missing"}  # fmt: skip
_ENDS = ("completed", "failed", "pruned", "cancelled")
# What our runs have in their config there besides their config.
_BESIDE = ("params", "trial", "fingerprint")
_FOLDER = "evaluation"
# Columns that the files of an evaluation tell newer than the run itself.
_OF_FILES = ("degenerate", "evaluated")
# Of what is read of a run; a file of pull that was made by another is fetched again.
_READING = 2


@dataclass(frozen=True)
class Source:
    """`wandb:entity/project/group`, the group being the study, or any."""

    entity: str
    project: str
    group: str | None

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Raises NoRuns where it is none."""
        parts = text.removeprefix(PREFIX).split("/", 2)
        if len(parts) < 2 or not all(parts):
            raise NoRuns(f"{text}: a source at W&B is {PREFIX}entity/project or {PREFIX}entity/project/group")
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else None)

    def __str__(self) -> str:
        return f"{PREFIX}{self.entity}/{self.project}" + (f"/{self.group}" if self.group else "")


@dataclass(frozen=True)
class _Found:
    """A run without its parts. `known` is what was recognised of one that is not ours."""

    row: Row
    run: Any
    known: Recognised | None
    mark: str


def gather_wandb(
    text: str, asked: Asked, told: Told, filters: Collection[Mapping[str, Any]] = (), patience: Patience | None = None
) -> Gathered:
    """The runs of a source at W&B, of those that the server's own `filters` let through.

    Raises NoRuns where there are none, AnalysisError where the server cannot be asked.
    """
    source = Source.parse(text)
    everything = [*filters, *([{"group": source.group}] if source.group else [])]
    with Server(source.entity, patience or Patience(say=asked.progress.note)) as server:
        listed = [_read(source, run, asked.parts, told) for run in server.runs(source.project, _all(everything))]
        if not listed:
            raise NoRuns(f"{source}: no runs there" + (", or none that the filters let through" if filters else ""))
        listed.sort(key=_order)
        wanted = [found for found, is_wanted in zip(listed, asked.wanted([found.row for found in listed]), strict=True)
                  if is_wanted]  # fmt: skip
        asked.progress.expect(len(wanted))

        def whole(found: _Found) -> tuple[Gathered, Told]:
            of_this = Told()
            one = _whole(found, asked, server, of_this)
            asked.progress.done()
            return Gathered(one.rows, [""] if of_this else one.marks, one.missed), of_this

        with ThreadPoolExecutor(_THREADS) as threads, server.waited_for():
            return together(threads.map(whole, wanted), told)


def _order(found: _Found) -> tuple[bool, str, str]:
    """Ours as in folders, by study and name, whichever began first; others' after them, as the server lists them."""
    if found.known is not None:
        return True, "", ""
    return False, str(found.row["study"]), str(found.row["run_id"])


def _all(filters: Collection[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {"$and": [dict(one) for one in filters]} if filters else {}


def _read(source: Source, run: Any, parts: Collection[str], told: Told) -> _Found:
    config, summary = dict(run.config), dict(run.summary_metrics)
    name = run.name or run.id
    row: Row = {
        "source": f"{PREFIX}{source.entity}/{source.project}/{run.id}",
        "study": run.group or source.project,
        "tracking_url": run.url,
        **_ended(run, summary),
    }
    ours = _ours(config)
    if ours is not None:
        known = None
        row |= {"run_id": name, **ours, **metrics(summary, name, told)}
    else:
        known = recognise(config, summary)
        # Names are what people know runs by, but W&B lets many have the same.
        name = name if name == run.id else f"{name}-{run.id}"
        row |= {"run_id": name, **_theirs(config, known), **metrics(translate(summary, known), name, told)}
        for what in known.unknown:
            told.add("run", what, name)
    return _Found(row, run, known, _mark(run, config, summary, parts))


def _ours(config: Mapping[str, Any]) -> Row | None:
    """Identity columns of a run that prefsweep has trained; None for others."""
    if not all(key in config for key in _BESIDE) or not isinstance(config["params"], dict):
        return None
    own = {key: value for key, value in config.items() if key not in _BESIDE}
    try:
        return {"trial": int(config["trial"]), **identity(own, config["params"])}
    except (KeyError, AttributeError, TypeError, ValueError):
        return None


def _theirs(config: Mapping[str, Any], known: Recognised) -> Row:
    columns = ("method", "model", "reference", "data", "beta", "seed")
    return {**{name: getattr(known, name) for name in columns}, "config": as_text(config), "params": "{}"}


def _ended(run: Any, summary: Mapping[str, Any]) -> Row:
    own = summary.get("status")
    status = own if own in _ENDS and run.state != "running" else _STATES.get(run.state, "missing")
    error = summary.get("error")
    if error is None and status == "failed":
        error = f"{run.state} at W&B, which has heard of it last at {run.heartbeatAt}"
    steps = number(summary.get("steps", summary.get("train/global_step", summary.get("_step"))))
    degenerate = summary.get("degenerate")
    return {
        "status": status,
        "error": str(error) if error is not None and status != "completed" else None,
        "degenerate": degenerate if isinstance(degenerate, str) else None,
        "steps": None if math.isnan(steps) else steps,
        "seconds": number(summary.get("seconds", summary.get("_runtime"))),
    }


def _mark(run: Any, config: object, summary: object, parts: Collection[str]) -> str:
    """What a run is like now: whatever it logs or uploads changes its heartbeat, if nothing else."""
    state = [_READING, run.state, run.heartbeatAt, run.historyLineCount, config, summary, sorted(parts)]
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _whole(found: _Found, asked: Asked, server: Server, told: Told) -> Gathered:
    mark, before = asked.kept.get(found.row["source"], ("", {}))
    if mark == found.mark:
        # What came from files is newer than the summary, and as it was.
        kept = {name: before[name] for name in before if is_part(name) or is_metric(name) or name in _OF_FILES}
        return Gathered([found.row | kept], [mark])
    row, missed = dict(found.row), 0
    try:
        if "history" in asked.parts:
            row |= _history(found, server, told)
        if found.known is None and (set(asked.parts) - {"history"} or row.get("eval/degenerate") == 1):
            row |= _evaluation(found, asked, server, told)
    except (GaveUp, Refused) as error:
        told.add("run", f"not all of its history and files could be fetched ({error})", row["run_id"])
        missed = 1
    # A measure that could not be taken any more has no older value either.
    row = {name: value for name, value in row.items() if value is not None or not is_metric(name)}
    return Gathered([row], ["" if row["status"] == "running" else found.mark], missed)


def _history(found: _Found, server: Server, told: Told) -> Row:
    rows = server.history(found.run)
    step = "_step"
    if found.known is not None:
        # The trainer's own count, where it is told: W&B's is of calls.
        step = "train/global_step" if any("train/global_step" in row for row in rows) else step
        rows = [{step: row.get(step), **translate(row, found.known)} for row in rows]
    if not rows and found.row["status"] == "completed":
        told.add("run", "logged nothing: no history", found.row["run_id"])
    return history_of_rows(rows, step)


def _evaluation(found: _Found, asked: Asked, server: Server, told: Told) -> Row:
    """Cells of the parts that are files, and the evaluation's own metrics, which are newer than the summary's."""
    with tempfile.TemporaryDirectory(prefix="prefsweep-files-") as folder:
        place = EvaluationFolder(Path(folder) / _FOLDER)
        paths = {"metrics": place.metrics, "pairs": place.pairs, "answers": place.answers, "tokens": place.tokens}
        names = [f"{_FOLDER}/{path.name}" for part, path in paths.items() if part == "metrics" or part in asked.parts]
        server.files(found.run, names, Path(folder))
        name = found.row["run_id"]
        said = verdict(place, name, told)
        if said is None:
            return {}
        newer = dict.fromkeys(said.metrics) | metrics(said.metrics, name, told)
        return {
            **newer,
            "degenerate": said.degenerate,
            "evaluated": said.settings,
            **read_parts(place, asked.parts, name, told),
        }
