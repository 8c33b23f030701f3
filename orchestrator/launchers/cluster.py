"""What commands ask of launchers whose jobs outlive them; for all others the answer is that there is nothing.

The modules of launcher=slurm are imported when they are needed: who trains on one machine does not wait for them.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import BadCommand
from orchestrator.resources import RunResources, first
from orchestrator.settings import LauncherSettings, SlurmSettings, StudySettings
from orchestrator.worker import TRAIN
from trainers.gpus import GPUS, GPUName
from trainers.machine import Machine
from trainers.spec import RunSpec, Scalar

if TYPE_CHECKING:
    from orchestrator.launchers.slurm.studies import Standing as Standing
else:
    Standing = object

# Of a node's memory nothing is known unless the user says so: then only the run itself can find out.
UNKNOWN_BYTES = 1 << 50


def check(settings: LauncherSettings, root: Path, specs: Sequence[RunSpec]) -> tuple[Sequence[str], Sequence[str]]:
    """What a cluster would refuse of these runs, and what could not be checked."""
    if not isinstance(settings, SlurmSettings):
        return (), ()
    from orchestrator.launchers.slurm.check import check as slurm_check

    found = slurm_check(settings, root, specs)
    return found.faults, found.notes


def machine(settings: LauncherSettings, wanted: Mapping[str, Scalar], gpu: GPUName | None = None) -> Machine | None:
    """What a run has to itself on the cluster, as far as that is known; None where it runs on this machine.

    `gpu` is the kind of GPU that the user says it gets.
    """
    if not isinstance(settings, SlurmSettings) or settings.cluster == "local":
        return None
    needs = RunResources.model_validate(dict(wanted))
    gpus = first(settings.gpus_per_run, needs.gpus) or 0
    # Of what is not our own training nothing is known.
    memory = (settings.mem_gb or needs.mem_gb) if settings.target == TRAIN else None
    return Machine(
        ram_bytes=UNKNOWN_BYTES if memory is None else int(memory * 2**30),
        gpu_bytes=(_gpu_bytes(settings, gpu),) * gpus,
        cores=settings.cpus_per_run or needs.cpus or 1,
        name=f"its job ({f'gpu={gpu}' if gpu and gpus else 'launcher.mem_gb, gpus_per_run, gpu_mem_gb'})",
        gpu_model=gpu if gpus else None,
    )


def _gpu_bytes(settings: SlurmSettings, gpu: GPUName | None) -> int:
    if settings.gpu_mem_gb is not None:
        return int(settings.gpu_mem_gb * 2**30)
    return UNKNOWN_BYTES if gpu is None else GPUS[gpu].bytes


def refuse_unreachable(settings: LauncherSettings) -> None:
    """Raises BadCommand where jobs cannot be submitted from here."""
    if isinstance(settings, SlurmSettings) and settings.cluster == "slurm" and shutil.which("sbatch") is None:
        raise BadCommand(
            ["launcher=slurm: there is no sbatch here: use a login node of the cluster, or launcher.cluster=local"]
        )


def attached(settings: StudySettings, overrides: Sequence[str]) -> StudySettings:
    """The settings of a study that is resumed: who wants to leave it once more says so once more."""
    launcher = settings.launcher
    if not isinstance(launcher, SlurmSettings) or any(text.startswith("launcher.detach=") for text in overrides):
        return settings
    return settings.model_copy(update={"launcher": launcher.model_copy(update={"detach": False})})


def preview(settings: LauncherSettings, root: Path, specs: Sequence[RunSpec]) -> Sequence[tuple[int, str]]:
    """For each kind of job, how many runs go there, and the text that sbatch would be given."""
    if not isinstance(settings, SlurmSettings) or settings.cluster == "local":
        return ()
    from orchestrator.launchers.slurm.make import preview as slurm_preview

    return slurm_preview(settings, root, specs)


def keep_code(settings: LauncherSettings, root: Path) -> None:
    """Copy the code into the study, where that is asked for. Raises OSError."""
    if isinstance(settings, SlurmSettings):
        from orchestrator.launchers.slurm.make import keep_code as keep

        keep(settings, root)


def has_own_controller(settings: LauncherSettings) -> bool:
    """Whether the controller is to be a job itself."""
    return isinstance(settings, SlurmSettings) and settings.controller == "slurm"


def submit_controller(settings: LauncherSettings, root: Path) -> tuple[str, bool]:
    """Its job's id, and whether it is new. Raises BadCommand where it cannot be submitted."""
    from orchestrator.launchers.slurm.controller import submit

    assert isinstance(settings, SlurmSettings)
    return submit(settings, root)


def standings(settings: LauncherSettings, root: Path) -> "tuple[Mapping[str, Standing], str | None]":
    """Where each run stands that has an open job; and what the scheduler said where it does not answer."""
    if not isinstance(settings, SlurmSettings):
        return {}, None
    from orchestrator.launchers.slurm.studies import standings as slurm_standings

    return slurm_standings(settings, root)


def cancel(settings: LauncherSettings, root: Path) -> tuple[int, int]:
    """End the jobs of a study that has no controller: how many were asked, and how many arrays out of reach."""
    if not isinstance(settings, SlurmSettings):
        return 0, 0
    from orchestrator.launchers.slurm.studies import cancel as slurm_cancel

    return slurm_cancel(settings, root)
