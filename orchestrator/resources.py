"""What a run asks of a cluster: the schema of a config's `resources`, which models bring along and users override.

{"gpus": 1, "mem_gb": 64} with launcher.gpus_per_run=2 -> Resources(gpus=2, mem_gb=64, cpus=1, time_min=60, nodes=1)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from trainers.config_faults import describe
from trainers.sections import Count, Section
from trainers.spec import Scalar

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# One word, as Slurm's options take it: no blank, no line break, no quote.
Word = Annotated[str, Field(pattern=r"^[^\s'\"\\#]+$")]


class RunResources(Section):
    """What this run needs, null where it has no needs of its own; a node's share where it takes several nodes."""

    nodes: Count | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    cpus: Count | None = None
    mem_gb: Positive | None = None
    time_min: Positive | None = None
    partition: Word | None = None
    constraint: Word | None = None


@dataclass(frozen=True)
class Resources:
    """What a job of one run gets; GPUs, CPUs and memory are for each node. Memory null is the cluster's default."""

    nodes: int
    gpus: int
    cpus: int
    mem_gb: float | None
    time_min: float
    partition: str | None
    constraint: str | None


NODES, GPUS, CPUS, TIME_MIN = 1, 0, 1, 60.0


def run_resources(config: Mapping[str, Any]) -> tuple[dict[str, Scalar], list[str]]:
    """The `resources` of a composed config without its nulls, and what is wrong with them."""
    given = config.get("resources") or {}
    try:
        checked = RunResources.model_validate(given)
    except ValidationError as error:
        return {}, [f"resources.{fault}" for fault in describe(error, given)]
    return checked.model_dump(exclude_none=True), []


T = TypeVar("T")


def first(*values: T | None) -> T | None:
    """The first value that is given."""
    return next((value for value in values if value is not None), None)
