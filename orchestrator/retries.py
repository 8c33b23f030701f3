"""Whether a run that did not complete is tried again, by the cause, and what is changed so that it may fare better.

out_of_memory, batch 8 x 1 -> Retry({"training.batch_size": 4, "training.gradient_accumulation": 2, …});  error -> None

The same rules hold for the controller and for the job that carries out the run, whichever finds out first; how often a
run was tried for which cause is read from its own ledger, so that nothing is forgotten with either of them.
"""

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from orchestrator import ledger
from trainers.files import read_json, write_json
from trainers.sections import Section
from trainers.spec import RunFolder, RunResult, RunSpec

Limit = Annotated[int, Field(ge=0)]


class RetryLimits(Section):
    """How often a run is tried again for each cause; what is not here is not tried again."""

    node_failure: Limit
    preempted: Limit
    time_limit: Limit
    out_of_memory: Limit
    disk_full: Limit
    killed: Limit
    lost: Limit


# For launchers whose runs are on one machine, in front of the person who started them.
NO_RETRIES = RetryLimits(node_failure=0, preempted=0, time_limit=0, out_of_memory=0, disk_full=0, killed=0, lost=0)


# Not a key of the run's config, but of what its job is given.
MEMORY_TIMES = "resources.mem_gb_times"
# A limit that is too short to come anywhere is told after so many attempts.
STUCK_AFTER = 3


@dataclass(frozen=True)
class Retry:
    """Try again, with these keys of the config changed, which does not change what the run computes."""

    adjustments: Mapping[str, float] = field(default_factory=dict)
    # Whether the job that carried it out may do so; a larger job takes another one.
    here: bool = True


def decide(spec: RunSpec, result: RunResult, limits: RetryLimits, more_memory: float | None = None) -> Retry | None:
    """What to do about a result that is not final; None lets it stand.

    `more_memory` is by how much a run that filled the machine's memory asks for more, None where it halves its
    micro-batch instead.
    """
    cause = result.cause
    if cause is None or result.final:
        return None
    if cause == "busy":
        return Retry()
    attempts = ledger.history(spec.folder)
    tried = sum(attempt.cause == cause for attempt in attempts)
    if all(attempt.number != result.attempts for attempt in attempts):
        # The ledger should know the attempt by now; one that cannot be written must not make retries endless.
        tried = max(tried, result.attempts - ledger.before(spec.folder))
    if tried > getattr(limits, cause, 0):
        return None
    if cause == "time_limit" and stuck(spec.folder):
        return None
    if cause != "out_of_memory":
        return Retry()
    if more_memory is not None and _host_memory(result):
        return Retry({MEMORY_TIMES: more_memory * memory_times(spec.folder)}, here=False)
    adjustments = halved(adjusted(spec).config)
    return Retry(adjustments) if adjustments else None


def given_up(spec: RunSpec, result: RunResult) -> str:
    """Why a result stands whose cause would have the run tried again."""
    cause = (result.cause or "error").replace("_", " ")
    tried = ledger.causes(spec.folder)[result.cause] if result.cause else 0
    if result.cause == "time_limit" and stuck(spec.folder):
        return f"the time limit ended it {STUCK_AFTER} times without a step between: raise launcher.time_min"
    return f"ended by {cause} {tried} times, which is the limit of launcher.retries.{result.cause}"


def stuck(folder: RunFolder) -> bool:
    """Whether the time limit has ended the last attempts one after another without a step between them."""
    last = ledger.history(folder)[-STUCK_AFTER:]
    ends = {(attempt.cause, attempt.steps) for attempt in last}
    return len(last) == STUCK_AFTER and len(ends) == 1 and last[0].cause == "time_limit"


def _host_memory(result: RunResult) -> bool:
    """A GPU's memory does not grow by asking Slurm for more of the machine's."""
    return "OutOfMemoryError" not in (result.error or "")


def halved(config: Mapping[str, Any]) -> dict[str, float]:
    """Half the micro-batch and as many more of them, the same effective batch; {} where it is one example already.

    {"batch_size": 6, "gradient_accumulation": 1} -> 3 x 2;  3 x 2 -> 1 x 6, since every step must have the same pairs
    """
    training = config.get("training", {})
    batch, accumulation = training.get("batch_size", 1), training.get("gradient_accumulation", 1)
    smaller = next((size for size in range(batch // 2, 0, -1) if batch % size == 0), None)
    if smaller is None:
        return {}
    evaluation = config.get("evaluation", {})
    return {
        "training.batch_size": smaller,
        "training.gradient_accumulation": accumulation * batch // smaller,
        "evaluation.batch_size": max(1, evaluation.get("batch_size", 1) // 2),
        **({"evaluation.sampling_batch": max(1, evaluation["sampling_batch"] // 2)}
           if "sampling_batch" in evaluation else {}),
    }  # fmt: skip


def adjust(folder: RunFolder, retry: Retry) -> None:
    """Have the next attempt run with the retry's adjustments. Raises OSError where they cannot be written."""
    if retry.adjustments:
        before = read_json(folder.adjusted)
        write_json(folder.adjusted, {**(before if isinstance(before, dict) else {}), **retry.adjustments})


def memory_times(folder: RunFolder) -> float:
    """By how much a run asks for more of a machine's memory than it did at first."""
    changes = read_json(folder.adjusted)
    times = changes.get(MEMORY_TIMES, 1.0) if isinstance(changes, dict) else 1.0
    return float(times) if isinstance(times, int | float) else 1.0


def adjusted(spec: RunSpec) -> RunSpec:
    """The run as its retries have left it."""
    changes = read_json(spec.folder.adjusted)
    if not isinstance(changes, dict):
        return spec
    config = copy.deepcopy(dict(spec.config))
    for key, value in changes.items():
        section, _, name = str(key).partition(".")
        if isinstance(config.get(section), dict) and name in config[section]:
            config[section][name] = value
    return dataclasses.replace(spec, config=config)
