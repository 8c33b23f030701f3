"""The step before a study's runs that computes, once, what they share of a reference: its log-probabilities.

nine dpo runs with reference=model -> a step reference-1a2b3c4d, and the nine runs with after=("reference-1a2b3c4d",)
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.settings import StudySettings
from orchestrator.worker import TRAIN
from trainers.methods import METHODS
from trainers.spec import RunSpec

# References that are the policy itself, at its start or on its way: the policy is in memory anyway.
_OWN = frozenset({"self", "moving", "none"})
# Those that know nothing of where the policy begins.
_OTHERS = frozenset({"model", "adapter", "checkpoint"})
_BASE = {"kind": "base"}


def reference_steps(runs: Sequence[RunSpec], settings: StudySettings) -> tuple[list[RunSpec], list[RunSpec]]:
    """The steps, and the runs that come after them; none where each run does as well by itself."""
    if settings.reference_step is False or settings.launcher_detaches or settings.launcher.target != TRAIN:
        return [], list(runs)
    sharing: dict[str, list[RunSpec]] = {}
    for run in runs:
        if _worth_it(run, settings):
            sharing.setdefault(_shared(run), []).append(run)
    steps: list[RunSpec] = []
    after: dict[str, tuple[str, ...]] = {}
    for digest, group in sharing.items():
        if len({run.fingerprint for run in group}) > 1:
            step = _step(digest, group)
            steps.append(step)
            after |= {run.run_id: (step.run_id,) for run in group}
    return steps, [dataclasses.replace(run, after=after.get(run.run_id, ())) for run in runs]


def _worth_it(run: RunSpec, settings: StudySettings) -> bool:
    """Whether a step may do what the run needs of a reference."""
    kind = run.config["reference"]["kind"]
    # Another run of the study is there only later; a reference that moves is asked on the way.
    if kind in ("run", "moving") or METHODS[run.method].reference != "fixed":
        return False
    if _start(run)["kind"] == "run":
        return False
    return settings.reference_step is True or kind not in _OWN or settings.launcher.kind == "slurm"


def _shared(run: RunSpec) -> str:
    """A digest of all that decides on the reference's log-probabilities of the run's pairs."""
    config: Mapping[str, Any] = run.config
    training = {key: config["training"][key] for key in ("max_length", "precision")}
    model = {key: value for key, value in config["model"].items() if key not in ("name", "parameters_b")}
    # Weights that are trained are kept in other precisions than those that are not.
    weights = [config["quantization"], config["peft"]["kind"]]
    start = [] if _start(run)["kind"] == "base" else [_start(run)]
    what = [model, config["reference"], config["data"], weights, training, _inputs(run), *start]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _start(run: RunSpec) -> Mapping[str, Any]:
    """Where the policy begins, as far as that matters to its reference."""
    start: Mapping[str, Any] = run.config.get("start", _BASE)
    return _BASE if run.config["reference"]["kind"] in _OTHERS else start


def _inputs(run: RunSpec) -> dict[str, str]:
    unasked = run.config["reference"]["kind"] in _OTHERS
    return {key: digest for key, digest in run.inputs.items() if not (unasked and key.startswith("start."))}


def _step(digest: str, group: Sequence[RunSpec]) -> RunSpec:
    """A step like the first of the runs, but for what it does."""
    first = group[0]
    config = {**first.config, "start": dict(_start(first))}
    step = dataclasses.replace(first, trial=0, params={}, fingerprint=digest, needs=(), step="reference")
    step = dataclasses.replace(step, config=config, inputs=_inputs(first))
    return step.at(first.run_dir.parent / step.run_id)
