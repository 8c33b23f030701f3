"""Study folders as a sweep leaves them, without its training: for tests of what is learnt from them.

finished_study(root, [Finished("dpo", beta=0.1, metrics={"eval/reward": 1.0}, pairs=..., answers=..., history=...)])
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.store import StudyFolder, StudyRecord
from tests.fakes.small_configs import run_config
from trainers.spec import RunResult, RunSpec, Status


@dataclass(frozen=True)
class Finished:
    """One run as it ended; None as status is a run that has no result."""

    method: str = "dpo"
    beta: float = 0.1
    seed: int = 0
    status: Status | None = "completed"
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None
    degenerate: str | None = None
    # Changes of the run's config, as `small_configs.run_config` takes them, and swept keys besides method and beta.
    config: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    # Lines of metrics.jsonl: {"step": 1, "time": ..., "train/loss": ...}.
    history: Sequence[Mapping[str, Any]] = ()
    # Columns of evaluation/pairs.parquet, and lines of evaluation/answers.jsonl.
    pairs: Mapping[str, Sequence[Any]] | None = None
    answers: Sequence[Mapping[str, Any]] = ()
    tokens: Mapping[str, Any] | None = None
    # What the newest evaluation had for settings.
    evaluated: Mapping[str, Any] = field(default_factory=dict)


def finished_study(root: Path, runs: Sequence[Finished], name: str = "study") -> Path:
    """The study's folder, root/NAME; one trial for each method, beta, swept value and config, in their order."""
    folder = StudyFolder(root / name)
    trials: dict[str, int] = {}
    specs = []
    for run in runs:
        params = {"method": run.method, "beta": run.beta, **run.params}
        # A changed config is another setting, swept or not.
        trial = trials.setdefault(json.dumps([params, dict(run.config)], sort_keys=True), len(trials))
        specs.append(_write(folder, name, trial, params, run))
    record = StudyRecord(
        name=name,
        identity="0" * 64,
        command=f"python -m orchestrator study={name}",
        created="2026-01-01T00:00:00",
        # A study checks that its space has as many points as it has trials.
        space={"trial": list(range(len(trials)))},
        settings={},
        source={"config_name": "config", "config_dir": None},
        runs=[spec.run_id for spec in specs],
        data={},
    )
    folder.rewrite(record)
    return folder.root


def _write(folder: StudyFolder, study: str, trial: int, params: Mapping[str, Any], run: Finished) -> RunSpec:
    config = run_config(run.method, seed=run.seed, **run.config)
    strength = {"ipo": "tau", "orpo": "lambda"}.get(run.method, "beta")
    if strength in config["method"]:
        config["method"][strength] = run.beta
    digits = f"{trial:04x}{run.seed:04x}"
    spec = RunSpec(study, trial, run.seed, run.method, params, config, digits * 8, folder.root, folder.root)
    spec = spec.at(folder.run(spec.run_id))
    spec.run_dir.mkdir(parents=True)
    spec.write()
    if run.history:
        spec.folder.metrics.write_text("".join(json.dumps(dict(line)) + "\n" for line in run.history))
    if run.status is not None:
        RunResult(spec.run_id, run.status, params, run.metrics, 10, 2.5, error=run.error).write(spec.folder)
    _evaluation(spec, run)
    return spec


def _evaluation(spec: RunSpec, run: Finished) -> None:
    place = spec.folder.evaluation
    if run.pairs is not None:
        place.root.mkdir(exist_ok=True)
        pq.write_table(pa.table({name: list(values) for name, values in run.pairs.items()}), place.pairs)
    if run.answers:
        place.root.mkdir(exist_ok=True)
        place.answers.write_text("".join(json.dumps(dict(line)) + "\n" for line in run.answers))
    if run.tokens is not None:
        place.root.mkdir(exist_ok=True)
        place.tokens.write_text(json.dumps(dict(run.tokens)))
    if place.root.exists() or run.degenerate or run.evaluated:
        place.root.mkdir(exist_ok=True)
        told = {"metrics": dict(run.metrics), "degenerate": run.degenerate, "policy": "final"}
        told["settings"] = dict(run.evaluated)
        place.metrics.write_text(json.dumps(told))


def changed(run: Finished, **values: Any) -> Finished:
    """The same run with something else about it."""
    return dataclasses.replace(run, **values)
