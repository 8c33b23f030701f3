"""Reads runs from study folders: what a run's files say, as a row of `analysis.runs.Runs`."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import NoRuns
from analysis.runs import IDENTITY, Part, Runs
from orchestrator.errors import NoStudy
from orchestrator.published import setting
from orchestrator.store import open_study
from trainers.spec import RunResult, RunSpec


def read_folders(roots: Collection[Path], parts: Collection[Part] = ()) -> Runs:  # noqa: ARG001 - parts come next
    """The runs of some studies. Raises NoRuns where a folder is none, or has none."""
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    for root in roots:
        try:
            folder, record = open_study(root)
            specs = folder.specs(record)
        except NoStudy as error:
            raise NoRuns(str(error)) from None
        rows += [_row(record.name, spec, folder.result(spec.run_id)) for spec in specs]
    if not rows:
        raise NoRuns(f"{', '.join(map(str, roots))}: no runs")
    frame = pd.DataFrame(rows)
    order = [*IDENTITY, *sorted(set(frame.columns) - set(IDENTITY))]
    return Runs(frame.reindex(columns=order), told)


def _row(study: str, spec: RunSpec, result: RunResult | None) -> dict[str, Any]:
    return {
        "source": str(spec.run_dir),
        "study": study,
        "run_id": spec.run_id,
        "trial": spec.trial,
        "seed": spec.seed,
        "method": spec.method,
        "model": setting(spec.config, "model"),
        "reference": reference_label(spec.config),
        "data": setting(spec.config, "data"),
        "beta": setting(spec.config, "beta"),
        "status": "missing" if result is None else result.status,
        "error": None if result is None else result.error,
        "degenerate": None,
        "steps": None if result is None else result.steps,
        "seconds": None if result is None else result.seconds,
        "tracking_url": None if result is None else result.tracking_url,
        "config": json.dumps(spec.config, sort_keys=True),
        "params": json.dumps(dict(spec.params), sort_keys=True),
        **dict(_metrics(result)),
    }


def _metrics(result: RunResult | None) -> Iterator[tuple[str, float]]:
    for name, value in {}.items() if result is None else result.metrics.items():
        if value is not None and name.startswith(("eval/", "train/")):
            yield name, float(value)


def reference_label(config: Mapping[str, Any]) -> str:
    """A reference in a few words: self, none, moving, model:NAME, run:method=sft, mixture:self+NAME@0.5."""
    reference = config.get("reference", {})
    kind = str(reference.get("kind", "self"))
    match kind:
        case "model" | "adapter" | "checkpoint":
            return f"{kind}:{Path(str(reference.get('path', ''))).name}"
        case "run":
            return "run:" + ",".join(f"{key}={value}" for key, value in (reference.get("run") or {}).items())
        case "mixture":
            first, second = (Path(str(reference.get(side))).name for side in ("first", "second"))
            return f"mixture:{first}+{second}@{reference.get('weight')}"
        case _:
            return kind
