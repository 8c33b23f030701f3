"""What this machine offers to runs: its GPUs, and how many runs at a time they and the cores carry."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Literal

from orchestrator.errors import BadCommand


def gpu_ids(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Ids of the GPUs that CUDA would show to this process, as CUDA_VISIBLE_DEVICES takes them.

    They are what that variable says where it is set, else the UUIDs that the driver tells, because its numbers follow
    another order than CUDA's.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return _driver_gpus()
    ids = [gpu.strip() for gpu in chosen.split(",")]
    invalid = [place for place, gpu in enumerate(ids) if gpu in ("", "-1", "NoDevFiles")]
    return tuple(ids[: invalid[0]] if invalid else ids)  # CUDA too ignores what follows an invalid id


def _driver_gpus() -> tuple[str, ...]:
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return gpus_listed(listing.stdout) if listing.returncode == 0 else ()


def gpus_listed(listing: str) -> tuple[str, ...]:
    """The GPUs in the output of `nvidia-smi -L`; of one that is partitioned (MIG), its partitions.

    "GPU 0: NVIDIA H200 (UUID: GPU-1a…)" -> ("GPU-1a…",)
    """
    gpus: list[str] = []
    for line in listing.splitlines():
        found = re.search(r"\(UUID: (\S+)\)", line)
        if not found:
            continue
        if line.lstrip().startswith("MIG") and gpus and gpus[-1].startswith("GPU-"):
            gpus.pop()
        gpus.append(found[1])
    return tuple(gpus)


def slots(
    cores: int,
    gpus: Sequence[str],
    *,
    workers: int | Literal["auto"],
    threads: int | Literal["auto"],
    runs_per_gpu: int,
) -> tuple[int, int]:
    """How many runs go on at a time, and how many CPU threads each has.

    Left to itself: as many runs as the GPUs have places, or else one a core; and an even share of the cores.
    Raises BadCommand where the GPUs have not so many places.
    """
    places = len(gpus) * runs_per_gpu
    runs = (places or max(1, cores)) if workers == "auto" else workers
    if gpus and runs > places:
        raise BadCommand(
            [
                f"launcher.workers={workers}, but {len(gpus)} GPU(s) times launcher.runs_per_gpu={runs_per_gpu} make "
                f"{places} places: set launcher.workers={places} or less, raise launcher.runs_per_gpu, or hide the "
                "GPUs with CUDA_VISIBLE_DEVICES= in the environment"
            ]
        )
    return runs, max(1, cores // runs) if threads == "auto" else threads
