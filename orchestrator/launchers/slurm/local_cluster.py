"""A cluster of one machine, by submitit's local executor: launcher.cluster=local takes the Slurm path without Slurm.

Each task is a process that outlives the controller. There is no queue and no sacct: a task lives as long as its process
does, which is known by number and start time in the batch's processes.json.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from orchestrator.attempts import tail
from orchestrator.launchers.slurm.scheduler import Refused, Request, SbatchOptions, State, States
from trainers.files import read_json, write_json


class LocalCluster:
    """Keeps the protocol of `Scheduler`; `jobs` is the folder of the study's batches."""

    def __init__(self, jobs: Path, options: SbatchOptions) -> None:
        self._jobs, self._options = jobs, options

    def submit(self, request: Request) -> str:
        """Start a process for each task; the id is the name of the batch's folder."""
        folder = request.batch.folder
        given = {
            "folder": str(folder),
            "command": request.command,
            "tasks": len(request.batch.tasks),
            "parameters": {
                "timeout_min": request.resources.time_min,
                "gpus_per_node": request.gpus,
                "signal_delay_s": self._options.signal_s(request.resources.time_min),
                "stderr_to_stdout": True,
                "setup": list(self._options.setup),
            },
        }
        # From a process of its own, so that they neither hear the Ctrl-C nor keep the pipe of who submits them.
        with (folder / "submission.out").open("ab") as said:
            code = subprocess.run(
                [sys.executable, "-m", __spec__.name, json.dumps(given)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, **request.environment},
                start_new_session=True,
                check=False,
            ).returncode
        if code and not self._processes(folder.name):
            raise Refused(f"no process could be started: {tail(folder / 'submission.out')}")
        # Those of its tasks that were not started are not found, and tried again.
        return folder.name

    def states(self, job_ids: Sequence[str]) -> States:
        """Whether their processes live."""
        return {
            (job_id, task): State("RUNNING" if process else "ENDED")
            for job_id in job_ids
            for task, process in self._processes(job_id).items()
        }

    def still_alive(self, job_ids: Sequence[str]) -> States:
        """As above."""
        return self.states(job_ids)

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Those of which a process was started."""
        tokens = {name: name.rpartition("-")[2] for name in names}
        return {name: token for name, token in tokens.items() if self._processes(token)}

    def cancel(
        self,
        name: str,  # noqa: ARG002 - the protocol's
        job_id: str,
        tasks: Sequence[int] | None,
        *,
        waiting_only: bool = False,
    ) -> None:
        """SIGTERM, which submitit passes on; nothing waits here."""
        if waiting_only:
            return
        for task, process in self._processes(job_id).items():
            if process is not None and (tasks is None or task in tasks):
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGTERM)

    def release(self, job_ids: Sequence[str]) -> None:
        """Nothing is held."""

    def avoid(self, job_ids: Sequence[str], nodes: Sequence[str]) -> None:
        """There is no other node."""

    def _processes(self, job_id: str) -> dict[int, psutil.Process | None]:
        """The process of each task, None where it is dead."""
        known = read_json(self._jobs / job_id / "processes.json")
        if not isinstance(known, dict):
            return {}
        return {int(task): _living(int(pid), float(started)) for task, (pid, started) in known.items()}


def _living(pid: int, started: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if same else None


def main(given: Mapping[str, Any]) -> None:
    """Start the tasks of a batch."""
    import submitit

    folder = Path(given["folder"])
    executor: Any = submitit.LocalExecutor(folder=folder)
    executor.update_parameters(**given["parameters"])
    started: dict[str, list[float]] = {}
    for task in range(given["tasks"]):
        pid = int(executor._submit_command(f"{given['command']} --task {task}").job_id)
        started[str(task)] = [pid, psutil.Process(pid).create_time()]
        write_json(folder / "processes.json", started)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
