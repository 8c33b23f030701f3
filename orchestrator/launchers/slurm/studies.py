"""A study's jobs seen from outside its controller: where they stand, and how to end them."""

import zlib
from dataclasses import dataclass
from pathlib import Path

from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.batches import Batch
from orchestrator.launchers.slurm.jobs import find_state
from orchestrator.launchers.slurm.make import scheduler
from orchestrator.launchers.slurm.scheduler import NoAnswer, SbatchOptions, Scheduler, Slurm, State, States
from orchestrator.settings import SlurmSettings
from trainers.spec import RunFolder, RunResult


@dataclass(frozen=True)
class Standing:
    """Where a run's job stands: its name, and Slurm's word with the node or the reason."""

    job: str
    state: State | None
    # Whether the job has this run alone.
    alone: bool = True

    @property
    def alive(self) -> bool:
        """Whether its job is queued or running."""
        return self.state is not None and self.state.alive

    @property
    def begun(self) -> bool:
        """Whether its job is running."""
        return self.state is not None and self.state.alive and not self.state.waiting

    def told(self) -> str:
        """ "17_3 pending (Priority)", "17_3 running on node1"."""
        return f"{self.job} {self.why()}"

    def why(self) -> str:
        """The same without the job's name."""
        if self.state is None:
            return "not known to the scheduler; resume finds out"
        if self.state.waiting:
            return self.state.word.lower() + (f" ({self.state.reason})" if self.state.reason else "")
        if self.state.word == "CANCELLED":
            return "cancelled; resume submits it again"
        where = f" on {self.state.node}" if self.state.node else ""
        return f"{self.state.word.lower()}{where}" + ("" if self.alive else "; resume finds out")


def standings(settings: SlurmSettings, root: Path) -> tuple[dict[str, Standing], str | None]:
    """Where each run stands that has an open job; and why Slurm does not answer, where it does not."""
    found = list(batches.open_batches(root))
    ids = {batch.folder: batch.job_id() for batch in found}
    silent = None
    states: States = {}
    asked = scheduler(settings, root)
    wanted = [job_id for job_id in ids.values() if job_id is not None]
    if wanted:
        states = asked.still_alive(wanted) or {}
        try:
            # What slurmctld has forgotten accounting may know.
            states = {**asked.states(wanted), **states}
        except NoAnswer as error:
            silent = str(error)
    told: dict[str, Standing] = {}
    for batch in found:
        job_id = ids[batch.folder]
        for index, run_ids in enumerate(batch.tasks):
            state = None if job_id is None else find_state(states, job_id, index, batch.name)
            for run_id in run_ids:
                told[run_id] = Standing(f"{job_id or '?'}_{index}", state, len(run_ids) == 1)
    return told, silent


def cancel(settings: SlurmSettings, root: Path) -> tuple[int, int]:
    """End the study's jobs, those that wait at once, and those that run after a checkpoint; called again, at once.

    Returns how many jobs were asked, and how many batches could not be reached. Jobs of others are not touched: a job
    must have the name of one of the study's batches.
    """
    asked, unreached = 0, 0
    reach = scheduler(settings, root)
    if settings.cluster == "slurm":
        unreached += not _cancel_controller(root)
    for batch in batches.open_batches(root):
        again = batch.cancelled.exists()
        batches.touch(batch.stop)
        for run_id in (run_id for run_ids in batch.tasks for run_id in run_ids):
            folder = RunFolder(batch.run_dir(run_id))
            result = RunResult.read(folder)
            if result is None or not result.final:
                batches.touch(folder.stop)
        try:
            job_id = batch.job_id() or reach.find([batch.name]).get(batch.name)
            alive = 0 if job_id is None else _alive(reach, batch, job_id)
            if job_id is not None and alive:
                reach.cancel(batch.name, job_id, None, waiting_only=not again)
                asked += alive
            batches.touch(batch.cancelled)
        except NoAnswer:
            unreached += 1
    return asked, unreached


def _alive(reach: Scheduler, batch: Batch, job_id: str) -> int:
    """How many of a batch's jobs are queued or running. Raises NoAnswer."""
    states = reach.still_alive([job_id])
    if states is None:
        raise NoAnswer("squeue does not answer")
    found = [find_state(states, job_id, index, batch.name) for index in range(len(batch.tasks))]
    return sum(state is not None and state.alive for state in found)


def _cancel_controller(root: Path) -> bool:
    """End the controller's own job, which would go on with what is cancelled; False where Slurm does not answer."""
    slurm, name = Slurm(SbatchOptions()), controller_name(root)
    try:
        job_id = slurm.alive_by_name(name)
        if job_id is not None:
            slurm.cancel(name, job_id, None)
    except NoAnswer:
        return False
    return True


def controller_name(root: Path) -> str:
    """Of the controller's own job; the same each time, so that there is one of it."""
    return f"{root.name}-controller-{zlib.crc32(str(root.absolute()).encode()):08x}"
