"""How many runs at a time a machine carries."""

from typing import Literal

from orchestrator.errors import BadCommand
from trainers.machine import Machine


def slots(
    machine: Machine,
    *,
    workers: int | Literal["auto"],
    threads: int | Literal["auto"],
    run_bytes: int | None = None,
) -> tuple[int, int]:
    """How many runs go on at a time, and how many CPU threads each has.

    Left to itself: as many runs as the GPUs have places, or else one a core where memory has room for so many, at
    `run_bytes` each; and an even share of the cores. Raises BadCommand where more are asked for than there is room.
    """
    places = len(machine.gpu_bytes) * machine.runs_per_gpu
    # Whether a single run fits is not asked here.
    fitting = max(1, machine.ram_bytes // run_bytes) if run_bytes and not places else None
    if workers == "auto":
        runs = places or min(machine.cores, fitting or machine.cores)
    else:
        runs = workers
        _refuse(_too_many_for_gpus(runs, machine) if places else _too_many_for_memory(runs, machine, fitting))
    return runs, max(1, machine.cores // runs) if threads == "auto" else threads


def _refuse(fault: str | None) -> None:
    if fault:
        raise BadCommand([fault])


def _too_many_for_gpus(workers: int, machine: Machine) -> str | None:
    places = len(machine.gpu_bytes) * machine.runs_per_gpu
    if workers <= places:
        return None
    return (
        f"launcher.workers={workers}, but {len(machine.gpu_bytes)} GPU(s) times "
        f"launcher.runs_per_gpu={machine.runs_per_gpu} make {places} places: set launcher.workers={places} or less, "
        "raise launcher.runs_per_gpu, or hide the GPUs with CUDA_VISIBLE_DEVICES= in the environment"
    )


def _too_many_for_memory(workers: int, machine: Machine, fitting: int | None) -> str | None:
    if fitting is None or workers <= fitting:
        return None
    return (
        f"launcher.workers={workers}, but {machine}, which has room for {fitting} such runs at a time: "
        f"set launcher.workers={fitting} or less, or auto"
    )
