"""The step before a study's runs that computes, once, what they share of a reference: its log-probabilities.

nine dpo runs with reference=model -> a step reference-1a2b3c4d, and the nine runs with after=("reference-1a2b3c4d",)
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from orchestrator.settings import StudySettings
from orchestrator.worker import TRAIN
from trainers.config import RunConfig
from trainers.inputs import resolved
from trainers.methods import METHODS
from trainers.spec import RunSpec

# References that are the policy itself, at its start or on its way: the policy is in memory anyway.
_OWN = frozenset({"self", "moving", "none"})
# Those that know nothing of where the policy begins.
_OTHERS = frozenset({"model", "adapter", "checkpoint"})
_BASE = {"kind": "base"}
Run = TypeVar("Run")


def reference_steps(runs: Sequence[RunSpec], settings: StudySettings) -> tuple[list[RunSpec], list[RunSpec]]:
    """The steps, and the runs that come after them; none where each run does as well by itself."""
    steps: list[RunSpec] = []
    after: dict[str, tuple[str, ...]] = {}
    known = [_Known(run, run.fingerprint, run.config, run.inputs) for run in runs]
    for digest, group in _groups(known, settings).items():
        step = _step(digest, [one.run for one in group])
        steps.append(step)
        after |= {one.run.run_id: (step.run_id,) for one in group}
    return steps, [dataclasses.replace(run, after=after.get(run.run_id, ())) for run in runs]


def scored_before(configs: Mapping[str, RunConfig], settings: StudySettings) -> dict[str, bool]:
    """The fingerprints of runs whose reference a step will have scored, and whether the step is made like that run.

    `configs` are those of a study's runs, by fingerprint: for what has to be known of steps before there are any.
    """
    known = [_Known(None, fingerprint, resolved(config), {}) for fingerprint, config in configs.items()]
    groups = _groups(known, settings).values()
    return {one.fingerprint: place == 0 for group in groups for place, one in enumerate(group)}


@dataclasses.dataclass(frozen=True)
class _Known(Generic[Run]):
    """What decides on whether a run shares a step, and with whom."""

    run: Run
    fingerprint: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]


def _groups(runs: Sequence[_Known[Run]], settings: StudySettings) -> dict[str, list[_Known[Run]]]:
    """Different runs that share a step, by the digest of what they share."""
    if settings.reference_step is False or settings.launcher_detaches or settings.launcher.target != TRAIN:
        return {}
    sharing: dict[str, list[_Known[Run]]] = {}
    for run in runs:
        if _worth_it(run.config, settings):
            sharing.setdefault(_shared(run.config, run.inputs), []).append(run)
    return {digest: group for digest, group in sharing.items() if len({run.fingerprint for run in group}) > 1}


def _worth_it(config: Mapping[str, Any], settings: StudySettings) -> bool:
    """Whether a step may do what the run needs of a reference."""
    kind = config["reference"]["kind"]
    # Another run of the study is there only later; a reference that moves is asked on the way.
    if kind in ("run", "moving") or METHODS[config["method"]["name"]].reference != "fixed":
        return False
    if _start(config)["kind"] == "run":
        return False
    return settings.reference_step is True or kind not in _OWN or settings.launcher.kind == "slurm"


def _shared(config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """A digest of all that decides on the reference's log-probabilities of the run's pairs."""
    training = {key: config["training"][key] for key in ("max_length", "precision")}
    model = {key: value for key, value in config["model"].items() if key not in ("name", "parameters_b")}
    # Weights that are trained are kept in other precisions than those that are not.
    weights = [config["quantization"], config["peft"]["kind"]]
    start = [] if _start(config)["kind"] == "base" else [_start(config)]
    what = [model, config["reference"], config["data"], weights, training, _inputs(config, inputs), *start]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _start(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the policy begins, as far as that matters to its reference."""
    start: Mapping[str, Any] = config.get("start", _BASE)
    return _BASE if config["reference"]["kind"] in _OTHERS else start


def _inputs(config: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, str]:
    unasked = config["reference"]["kind"] in _OTHERS
    return {key: digest for key, digest in inputs.items() if not (unasked and key.startswith("start."))}


def _step(digest: str, group: Sequence[RunSpec]) -> RunSpec:
    """A step like the first of the runs, but for what it does."""
    first = group[0]
    config = {**first.config, "start": dict(_start(first.config))}
    step = dataclasses.replace(first, trial=0, params={}, fingerprint=digest, needs=(), step="reference")
    step = dataclasses.replace(step, config=config, inputs=_inputs(first.config, first.inputs))
    return step.at(first.run_dir.parent / step.run_id)
