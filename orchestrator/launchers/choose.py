"""From a study's settings to the launcher that carries out its runs."""

from orchestrator.launchers.base import Launcher
from orchestrator.launchers.inline import InlineLauncher
from orchestrator.launchers.local import LocalLauncher
from orchestrator.launchers.machine import slots
from orchestrator.settings import InlineSettings, LocalSettings
from orchestrator.worker import TRAIN
from trainers.footprint import Machine


def make_launcher(settings: LocalSettings | InlineSettings, machine: Machine, run_bytes: int | None = None) -> Launcher:
    """A launcher, which the caller closes; `run_bytes` is what the largest run takes of memory, where that is known.

    Raises BadCommand where the machine has no room for as many runs at a time as are asked for.
    """
    if isinstance(settings, InlineSettings):
        return InlineLauncher(settings.target)
    workers, threads = _slots(settings, machine, run_bytes)
    return LocalLauncher(
        workers=workers,
        threads=threads,
        gpus=machine.gpu_ids,
        runs_per_gpu=settings.runs_per_gpu,
        timeout_min=settings.timeout_min,
        grace_s=settings.grace_s,
        target=settings.target,
        preload=settings.preload,
    )


def describe(settings: LocalSettings | InlineSettings, machine: Machine, run_bytes: int | None = None) -> str:
    """What `make_launcher` would make, without making it."""
    if isinstance(settings, InlineSettings):
        return "one run at a time, in the controller's own process"
    workers, threads = _slots(settings, machine, run_bytes)
    where = f"on {len(machine.gpu_ids)} GPUs" if machine.gpu_ids else "on the CPU"
    return f"{workers} runs at a time {where}, {threads} threads each"


def _slots(settings: LocalSettings, machine: Machine, run_bytes: int | None) -> tuple[int, int]:
    return slots(
        machine.shared_by(settings.runs_per_gpu),
        workers=settings.workers,
        threads=settings.threads,
        # Of what is not our own training nothing is known.
        run_bytes=run_bytes if settings.target == TRAIN else None,
    )
