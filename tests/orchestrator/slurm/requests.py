"""What sbatch is asked for: an array of a study that is made for it."""

import dataclasses
from pathlib import Path
from typing import Any

from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.batches import Allocation
from orchestrator.launchers.slurm.scheduler import (
    Request,
)
from orchestrator.launchers.slurm.submission import request_for
from orchestrator.resources import Resources
from orchestrator.retries import NO_RETRIES

ALLOCATION = Allocation("m:f", (), 1, 1, 1, 1, 1, 60.0, True, NO_RETRIES.model_dump(), None)
RESOURCES = Resources(nodes=1, gpus=1, cpus=4, mem_gb=4.5, time_min=90, partition=None, constraint=None)


def request(
    study: Path, tasks: int = 3, side: int = 1, environment: dict[str, str] | None = None, **changes: Any
) -> Request:
    allocation = dataclasses.replace(ALLOCATION, runs_at_a_time=side)
    batch = batches.create(study, "s", [[f"r{n}"] for n in range(tasks)], {}, allocation)
    resources = dataclasses.replace(RESOURCES, **changes)
    return request_for(batch, resources, allocation, "/opt/python", environment or {})
