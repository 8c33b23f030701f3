"""From a study's settings to the launcher that carries out its runs."""

from orchestrator.config import InlineSettings, LocalSettings
from orchestrator.launchers.base import Launcher
from orchestrator.launchers.inline import InlineLauncher
from orchestrator.launchers.local import LocalLauncher, gpu_ids, slots
from trainers.footprint import Machine


def make_launcher(settings: LocalSettings | InlineSettings, machine: Machine) -> Launcher:
    """A launcher, which the caller closes."""
    if isinstance(settings, InlineSettings):
        return InlineLauncher()
    gpus = gpu_ids()
    workers, threads = _slots(settings, gpus, machine)
    return LocalLauncher(
        workers=workers,
        threads=threads,
        gpus=gpus,
        runs_per_gpu=settings.runs_per_gpu,
        timeout_min=settings.timeout_min,
        grace_s=settings.grace_s,
        target=settings.target,
        preload=settings.preload,
    )


def describe(settings: LocalSettings | InlineSettings, machine: Machine) -> str:
    """What `make_launcher` would make, without making it."""
    if isinstance(settings, InlineSettings):
        return "one run at a time, in the controller's own process"
    gpus = gpu_ids()
    workers, threads = _slots(settings, gpus, machine)
    where = f"on {len(gpus)} GPUs" if gpus else "on the CPU"
    return f"{workers} runs at a time {where}, {threads} threads each"


def _slots(settings: LocalSettings, gpus: tuple[str, ...], machine: Machine) -> tuple[int, int]:
    return slots(
        machine.cores, gpus, workers=settings.workers, threads=settings.threads, runs_per_gpu=settings.runs_per_gpu
    )
