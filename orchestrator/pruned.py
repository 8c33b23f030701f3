"""The decision to prune a run: a file in its folder, and the result of a run that ended by it.

decide(folder, Decision(40, "eval/reward_accuracy 0.52 at step 40 (asha)"))  ->  prune: {"step": 40, "why": "eval/..."}

The file outlives the run, its job and the controller: whoever begins the run again ends it at once, as pruned. Who
wants the run after all deletes `prune` and `result.json`.
"""

import dataclasses
from dataclasses import dataclass

from orchestrator.attempts import attempts_made, leave_behind
from orchestrator.reporter import last_metrics
from trainers.files import read_json, write_json
from trainers.spec import RunFolder, RunResult, RunSpec


@dataclass(frozen=True)
class Decision:
    """At which step a run was found not worth going on with, and why."""

    step: int
    why: str


def decide(folder: RunFolder, decision: Decision) -> None:
    """Have the run stop at its next step, for good. Raises OSError where that cannot be written."""
    write_json(folder.prune, dataclasses.asdict(decision))


def decision(folder: RunFolder) -> Decision | None:
    """None where the run is not to be pruned; a file without sense, as made by hand, is a decision without a reason."""
    match read_json(folder.prune):
        case {"step": int(step), "why": str(why)}:
            return Decision(step, why)
    return Decision(0, "no reason told") if folder.prune.exists() else None


def as_decided(result: RunResult, folder: RunFolder) -> RunResult:
    """A result "cancelled" of a run that is to be pruned becomes "pruned", with what the run measured until then.

    Others stay as they are: a run that completed all the same has completed.
    """
    if result.status not in ("cancelled", "pruned"):
        return result
    decided = decision(folder)
    if decided is None:
        return result
    steps, metrics = last_metrics(folder)
    return dataclasses.replace(
        result,
        status="pruned",
        metrics={**result.metrics, **metrics},
        steps=max(steps, result.steps),
        error=None,
        cause=None,
        why=decided.why,
    )


def without_attempt(spec: RunSpec, ended: RunResult | None) -> RunResult | None:
    """The result of a run that is to be pruned and has no job, also left in its folder; None where it is not.

    `ended` is how its last attempt did. One that failed by itself has failed, and of one that another process works on
    that process will tell.
    """
    by_itself = ended is not None and ended.status == "failed" and ended.cause in (None, "error", "busy")
    if by_itself or not spec.folder.prune.exists():
        return None
    last = ended or RunResult(spec.run_id, "cancelled", spec.params, attempts=attempts_made(spec.folder))
    result = as_decided(dataclasses.replace(last, status="cancelled"), spec.folder)
    leave_behind(result, spec.folder)
    return result
