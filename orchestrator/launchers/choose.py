"""From a study's settings to the launcher that carries out its runs."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator import retries
from orchestrator.launchers.base import Launcher
from orchestrator.launchers.inline import InlineLauncher
from orchestrator.launchers.local import LocalLauncher
from orchestrator.launchers.machine import slots
from orchestrator.settings import InlineSettings, LauncherSettings, LocalSettings, SlurmSettings
from orchestrator.wording import count
from orchestrator.worker import TRAIN
from trainers.machine import Machine
from trainers.spec import RunResult, RunSpec


def make_launcher(settings: LauncherSettings, machine: Machine, root: Path, run_bytes: int | None = None) -> Launcher:
    """A launcher for the study in `root`, which the caller closes.

    `run_bytes` is what the largest run takes of memory, where that is known. Raises BadCommand where the machine has no
    room for as many runs at a time as are asked for.
    """
    if isinstance(settings, InlineSettings):
        return InlineLauncher(settings.target)
    if isinstance(settings, SlurmSettings):
        # Only who submits to a cluster waits for what that takes to import.
        from orchestrator.launchers.slurm.make import slurm_launcher

        return slurm_launcher(settings, root, machine)
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


def retry(settings: LauncherSettings, spec: RunSpec, result: RunResult) -> retries.Retry | None:
    """What becomes of a run that did not complete: on one machine its result stands."""
    if isinstance(settings, SlurmSettings):
        return retries.decide(spec, result, settings.retries, settings.more_memory)
    return None


def describe(
    settings: LauncherSettings, machine: Machine, specs: Sequence[RunSpec] = (), run_bytes: int | None = None
) -> str:
    """What `make_launcher` would make, without making it."""
    if isinstance(settings, InlineSettings):
        return "one run at a time, in the controller's own process"
    if isinstance(settings, SlurmSettings):
        from orchestrator.launchers.slurm.make import describe as describe_slurm

        return describe_slurm(settings, specs)
    workers, threads = _slots(settings, machine, run_bytes)
    where = f"on {count(len(machine.gpu_ids), 'GPU')}" if machine.gpu_ids else "on the CPU"
    return f"{count(workers, 'run')} at a time {where}, {count(threads, 'thread')} each"


def _slots(settings: LocalSettings, machine: Machine, run_bytes: int | None) -> tuple[int, int]:
    return slots(
        machine.shared_by(settings.runs_per_gpu),
        workers=settings.workers,
        threads=settings.threads,
        # Of what is not our own training nothing is known.
        run_bytes=run_bytes if settings.target == TRAIN else None,
    )
