"""Where a job finds itself: its own name, its task, why it was signalled, and how it gets back into the queue."""

import math
import os
import re
import time
from dataclasses import dataclass
from typing import Protocol

from orchestrator.launchers.slurm.scheduler import NoAnswer, ask, read_sacct
from trainers.spec import Cause

# The scheduler's word for an end -> why the runs of the job did not complete.
CAUSES: dict[str, Cause] = {
    "NODE_FAIL": "node_failure",
    "BOOT_FAIL": "node_failure",
    "PREEMPTED": "preempted",
    "TIMEOUT": "time_limit",
    "DEADLINE": "time_limit",
    "OUT_OF_MEMORY": "out_of_memory",
}
# Slurm looks at time limits every half minute, and may send the signal that much early.
_SLACK_S = 65.0
_TRIES, _PAUSE_S = 3, 2.0


@dataclass(frozen=True)
class Why:
    """Why a job was told to end, None where somebody cancelled it; and whether it must see itself to coming back."""

    cause: Cause | None
    come_back: bool = False


class Place(Protocol):
    """A job's view of its scheduler."""

    job_id: str
    task: int
    # Of the job's nodes, the one this process is on, and where the first can be reached.
    node_rank: int
    first_host: str
    # How often the job was queued again.
    restarts: int

    def why_signalled(self, grace_s: float) -> Why:
        """Why the job was told to end."""

    def earlier_end(self) -> Cause:
        """How the job ended before it was queued again by somebody else."""

    def queue_again(self) -> bool:
        """Go back into the queue; False where that cannot be. The job is ended soon after."""

    @property
    def exit_code(self) -> int:
        """What a job that has gone back into the queue exits with."""


@dataclass
class SlurmPlace:
    """A task of a Slurm array."""

    job_id: str
    task: int
    node_rank: int
    first_host: str
    restarts: int
    exit_code: int = 0

    @classmethod
    def here(cls) -> "SlurmPlace":
        """From what Slurm puts into the environment. Raises KeyError outside of a job."""
        task = os.environ["SLURM_ARRAY_TASK_ID"]
        return cls(
            f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}",
            int(task),
            int(os.environ.get("SLURM_NODEID", 0)),
            os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"),
            int(os.environ.get("SLURM_RESTART_COUNT", 0)),
        )

    def why_signalled(self, grace_s: float) -> Why:
        """By what slurmctld says of the job now; Slurm sends the same signals for several reasons."""
        try:
            told = ask("scontrol", "show", "job", "-o", self.job_id)
        except NoAnswer:
            return Why("lost")
        state = _field(told, "JobState")
        restarts = _field(told, "Restarts")
        if restarts.isdigit() and int(restarts) > self.restarts:
            return Why("preempted")  # it is in the queue again already
        if state in CAUSES:
            return Why(CAUSES[state])
        if state != "RUNNING":
            # Cancelled, or ended without having been warned: Slurm's last word on the job tells which.
            return Why(None)
        end = _field(told, "EndTime")
        unasked = _field(told, "PreemptTime") in ("", "None", "Unknown")
        if unasked and _seconds_until(end) < grace_s + _SLACK_S:
            return Why("time_limit", come_back=True)
        # A job that ends within its grace is not queued again by Slurm.
        return Why("preempted", come_back=True)

    def earlier_end(self) -> Cause:
        """By accounting, where there is one."""
        try:
            told = ask("sacct", "-X", "-D", "-P", "-o", "JobID,State,NodeList,ExitCode", "-j", self.job_id)
        except NoAnswer:
            return "lost"
        ends = [read_sacct(f"JobID|State|NodeList|ExitCode\n{line}\n").get(self._key) for line in told.splitlines()[1:]]
        words = [end.word for end in ends if end is not None and end.word in CAUSES]
        return CAUSES[words[-1]] if words else "preempted"

    @property
    def _key(self) -> tuple[str, int]:
        return self.job_id.partition("_")[0], self.task

    def queue_again(self) -> bool:
        """By scontrol, which ends the job."""
        return queue_again(self.job_id)


def queue_again(job_id: str) -> bool:
    """Put the job that this process is of back into the queue; False where the site does not let it."""
    for again in range(_TRIES):
        try:
            ask("scontrol", "requeue", job_id)
        except NoAnswer as error:
            print(error, flush=True)
            if "disabled" in str(error):
                return False
            time.sleep(_PAUSE_S * (again + 1))
        else:
            return True
    return False


def _seconds_until(clock: str) -> float:
    """Of a time as Slurm writes it, in this machine's zone; for ever where it cannot be read."""
    try:
        return time.mktime(time.strptime(clock, "%Y-%m-%dT%H:%M:%S")) - time.time()
    except (ValueError, OverflowError):
        return math.inf


def _field(told: str, name: str) -> str:
    """ "JobId=7 JobState=RUNNING Reason=None", "JobState" -> "RUNNING"."""
    match = re.search(rf"(?:^|\s){name}=(\S*)", told)
    return match.group(1) if match else ""


@dataclass
class LocalPlace:
    """A process of submitit's local executor."""

    job_id: str
    task: int
    node_rank: int = 0
    first_host: str = "127.0.0.1"
    restarts: int = 0
    # Its controller starts a task again that exits with this.
    exit_code: int = 144

    @classmethod
    def here(cls, task: int) -> "LocalPlace":
        """The task cannot be known from the environment."""
        return cls(f"local-{os.environ.get('SUBMITIT_LOCAL_JOB_ID', os.getpid())}", task)

    def why_signalled(self, grace_s: float) -> Why:  # noqa: ARG002 - the protocol's
        """The time limit: who cancels says so in the batch's folder first."""
        return Why("time_limit", come_back=True)

    def earlier_end(self) -> Cause:
        """It is only ever started again at its own wish."""
        return "lost"

    def queue_again(self) -> bool:
        """By its exit code."""
        return True
