"""From a study's settings to the launcher that carries out its runs."""

from trainers.footprint import Machine

from orchestrator.config import InlineSettings, LocalSettings
from orchestrator.launchers.base import Launcher
from orchestrator.launchers.inline import InlineLauncher
from orchestrator.launchers.local import LocalLauncher, gpu_ids, slots


def make_launcher(settings: LocalSettings | InlineSettings, machine: Machine) -> Launcher:
    """A launcher, which the caller closes."""
    if isinstance(settings, InlineSettings):
        return InlineLauncher()
    gpus = gpu_ids()
    workers, threads = slots(
        machine.cores, gpus, workers=settings.workers, threads=settings.threads, runs_per_gpu=settings.runs_per_gpu
    )
    return LocalLauncher(
        workers=workers,
        threads=threads,
        gpus=gpus,
        runs_per_gpu=settings.runs_per_gpu,
        timeout_min=settings.timeout_min,
        grace_s=settings.grace_s,
    )
