"""Submits a study's controller as a job of the cluster: launcher.controller=slurm; its program is controller_job.py."""

import shlex
from pathlib import Path
from typing import Any

from orchestrator.errors import BadCommand
from orchestrator.launchers.slurm.batches import jobs_folder
from orchestrator.launchers.slurm.make import environment, keep_code, python, sbatch_options
from orchestrator.launchers.slurm.scheduler import (
    NoAnswer,
    NotNow,
    Refused,
    Slurm,
    checked,
    minutes,
    submit_command,
)
from orchestrator.launchers.slurm.studies import controller_name
from orchestrator.settings import SlurmSettings

PROGRAM = "orchestrator.controller_job"
# Seconds before its time limit that it is told to end: it only leaves.
GRACE_S = 60


def submit(settings: SlurmSettings, root: Path) -> tuple[str, bool]:
    """Make the study's controller a job, unless it is one already: its id, and whether it is new.

    Raises BadCommand where Slurm does not take it.
    """
    name = controller_name(root)
    options = sbatch_options(settings)
    job = settings.controller_job
    folder = jobs_folder(root) / "controller"
    try:
        alive = Slurm(options).alive_by_name(name)
        if alive is not None:
            return alive, False
        folder.mkdir(parents=True, exist_ok=True)
        keep_code(settings, root)
        parameters: dict[str, Any] = {
            "job_name": name,
            "partition": job.partition or settings.partition,
            "account": settings.account,
            "qos": settings.qos,
            "time": minutes(job.time_min),
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": job.cpus,
            "mem": f"{round(job.mem_gb * 1024)}M",
            "signal_delay_s": max(1, min(GRACE_S, int(job.time_min * 15))),
            "wckey": None,
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True},
            "setup": [
                *(f"export {key}={shlex.quote(value)}" for key, value in environment(settings, root).items()),
                *checked(settings.setup),
            ],
        }
        command = f"{python(settings)} -u -m {PROGRAM} {shlex.quote(str(root.absolute()))}"
        return submit_command(folder, parameters, command, None), True
    except (NoAnswer, NotNow, Refused, OSError) as error:
        raise BadCommand([f"launcher.controller=slurm: the controller could not be submitted: {error}"]) from error
