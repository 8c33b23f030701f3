"""Talks to the scheduler: submits through submitit, asks for the states of many jobs in one call, cancels.

`Slurm` asks sbatch, sacct, squeue, scontrol, scancel. The launcher knows the protocol `Scheduler` alone, which
`local_cluster.py` keeps too.
"""

import contextlib
import math
import os
import re
import shlex
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import OrchestratorError
from orchestrator.launchers.slurm.batches import Batch
from orchestrator.resources import Resources

# slurmctld's own patience with a client is 10 s by default; a loaded one answers later.
ASK_TIMEOUT_S = 60.0
ALIVE = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESIZING",
                   "RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"})  # fmt: skip
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
# Limits, by Slurm's names for them; those on how many jobs may be queued are full for now alone.
_REASON = re.compile(r"\b(?:QOS|Assoc|MaxJobCount|MaxSubmit)\w*")
_TOO_MANY = re.compile(r"MaxSubmit|MaxJobCount")
_POLICY = re.compile(r"job submit limit", re.IGNORECASE)
# What sbatch says when slurmctld does not answer, or has too much to do.
_LATER = re.compile(
    r"temporarily|try again|timed out|Unable to contact|Connection refused|slurmctld|Communication|Zero Bytes|"
    r"Protocol authentication error|Slurm backup controller|Transport endpoint|reset by peer|munge|"
    r"establish a configuration source|fetch_config",
    re.IGNORECASE,
)


class NoAnswer(OrchestratorError):
    """The scheduler does not answer now."""


class Refused(OrchestratorError):
    """The scheduler will not take this job, now or ever."""


class NotNow(OrchestratorError):
    """The scheduler did not take the job.

    `unclear` where it may have, its answer being lost; `limit` where too many are queued already.
    """

    def __init__(self, text: str, *, unclear: bool, limit: bool = False) -> None:
        super().__init__(text)
        self.unclear, self.limit = unclear, limit


@dataclass(frozen=True)
class State:
    """What the scheduler says of a task: its word, the node or nodes, why it waits, the signal that ended it.

    `name` is the job's: after a crash slurmctld may give the id of a job that it has forgotten to another.
    """

    word: str
    node: str = ""
    reason: str = ""
    signal: int = 0
    name: str | None = None

    @property
    def alive(self) -> bool:
        """Whether more is to come."""
        return self.word in ALIVE

    @property
    def waiting(self) -> bool:
        """Whether it has not begun, or will begin again."""
        return self.word in WAITING


@dataclass(frozen=True)
class Request:
    """An array to be submitted."""

    batch: Batch
    resources: Resources
    # Of a whole job, which may carry out several runs at a time.
    gpus: int
    cpus: int
    mem_gb: float | None
    command: str
    environment: Mapping[str, str]


# (job id of the array, task) -> what is said of it; the task REST is for those that have no entry of their own.
States = Mapping[tuple[str, int], State]
REST = -1


class Scheduler(Protocol):
    """Where jobs go."""

    def submit(self, request: Request) -> str:
        """The job id. Raises NotNow or Refused."""

    def states(self, job_ids: Sequence[str]) -> States:
        """What is known of the tasks of these arrays; a task may be missing. Raises NoAnswer."""

    def still_alive(self, job_ids: Sequence[str]) -> States | None:
        """The tasks that are queued or running, by the scheduler's own memory; None where it does not answer."""

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Job ids of the arrays with these names. Raises NoAnswer."""

    def cancel(self, name: str, job_id: str, tasks: Sequence[int] | None, *, waiting_only: bool = False) -> None:
        """End tasks of the array, all of them for None, or those of them that have not begun. Raises NoAnswer."""

    def release(self, job_ids: Sequence[str]) -> None:
        """Let go what Slurm holds back because a node could not start it."""

    def avoid(self, job_ids: Sequence[str], nodes: Sequence[str]) -> None:
        """Keep what is queued off these nodes, where that can be."""


@dataclass(frozen=True)
class SbatchOptions:
    """What is the same for each job of a study."""

    account: str | None = None
    qos: str | None = None
    exclude: str | None = None
    gpu_request: str = "gres"
    gpu_type: str | None = None
    extra: Sequence[str] = ()
    setup: Sequence[str] = ()
    requeue: bool = True
    grace_s: int = 120
    excluded: set[str] = field(default_factory=set)

    def signal_s(self, time_min: float) -> int:
        """Seconds before its end that a job is told: at most a quarter of its time. Slurm may be 30 s early."""
        return max(1, min(self.grace_s, int(time_min * 60 / 4)))


def minutes(time_min: float) -> int:
    """Slurm counts whole minutes, and a job must not get less than was asked for."""
    return max(1, math.ceil(time_min))


def slurm_parameters(request: Request, options: SbatchOptions) -> dict[str, Any]:
    """The parameters of submitit's SlurmExecutor."""
    resources = request.resources
    excluded = ",".join(filter(None, [options.exclude, *sorted(options.excluded)])) or None
    kind = f"{options.gpu_type}:" if options.gpu_type else ""
    extra: dict[str, Any] = {"requeue" if options.requeue else "no-requeue": True}
    short = [f"#SBATCH {line}" for line in options.extra if not line.startswith("--")]
    for line in options.extra:
        key, separator, value = line.lstrip("-").partition("=")
        if line.startswith("--"):
            extra[key] = value if separator else True
    parameters: dict[str, Any] = {
        "job_name": request.batch.name,
        "partition": resources.partition,
        "time": minutes(resources.time_min),
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": request.cpus,
        "mem": None if request.mem_gb is None else _memory(request.mem_gb),
        "account": options.account,
        "qos": options.qos,
        "constraint": resources.constraint,
        "exclude": excluded,
        "signal_delay_s": options.signal_s(resources.time_min),
        "wckey": None,
        "stderr_to_stdout": True,
        # Since 22.05 srun does not take over what sbatch was given.
        "srun_args": [f"--cpus-per-task={request.cpus}"],
        "array_parallelism": len(request.batch.tasks),
        "additional_parameters": extra,
        # submitit knows long options alone; sbatch reads these here as well, before the first command.
        "setup": [*short, *(f"export {key}={shlex.quote(value)}" for key, value in request.environment.items()),
                  *checked(options.setup)],
    }  # fmt: skip
    if request.gpus:
        if options.gpu_request == "gres":
            parameters["gres"] = f"gpu:{kind}{request.gpus}"
        else:
            extra["gpus-per-node"] = f"{kind}{request.gpus}"
    return parameters


SETUP_FAILED = "launcher.setup failed:"


def checked(setup: Sequence[str]) -> list[str]:
    """Lines of shell that end the job where one fails: it must not train without its modules."""
    return [f"{{ {line}\n}} || {{ echo {SETUP_FAILED} {shlex.quote(line)} >&2; exit 1; }}" for line in setup]


def _memory(gigabytes: float) -> str:
    return f"{round(gigabytes * 1024)}M"


def sbatch_text(request: Request, options: SbatchOptions) -> str:
    """The text that sbatch would be given."""
    executor = _executor(request.batch.folder, slurm_parameters(request, options))
    executor.parameters["map_count"] = len(request.batch.tasks)
    return str(executor._make_submission_file_text(request.command, ""))


def _executor(folder: Path, parameters: Mapping[str, Any]) -> Any:
    import submitit

    class Anywhere(submitit.SlurmExecutor):  # type: ignore[misc]
        """Writes its text on machines without Slurm, too."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = Anywhere(folder=folder)
    executor.update_parameters(**parameters)
    return executor


def submit_command(folder: Path, parameters: Mapping[str, Any], command: str, tasks: int | None) -> str:
    """Submit a command through submitit, `tasks` times as an array, once for None; the job id.

    A command instead of a pickled function: what is submitted is what was written. Raises NotNow or Refused.
    """
    executor = _executor(folder, parameters)
    if tasks is not None:
        # An array also of one task, so that every job knows its task.
        executor.parameters["map_count"] = tasks
    try:
        with _outside_of_job():
            return str(executor._submit_command(command).job_id)
    except OSError as error:
        raise NotNow(f"sbatch could not be started: {error}", unclear=False) from error
    except Exception as error:
        raise refusal(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _outside_of_job() -> Iterator[None]:
    """Without what Slurm told the job that we may be in: sbatch would pass its memory and number of restarts on."""
    inside = {key: value for key, value in os.environ.items() if key.startswith("SLURM_") and key != "SLURM_CONF"}
    if "SLURM_JOB_ID" not in inside:
        yield
        return
    for key in inside:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(inside)


def refusal(said: str) -> Refused | NotNow:
    """What sbatch's complaint means, as submitit passes it on.

    Slurm has one sentence for limits on queued jobs and for limits on what a job may have; the reason before it tells.
    """
    lines = said.strip().splitlines()
    text = lines[0] if lines else said
    reasons = _REASON.findall(said)
    if any(_TOO_MANY.search(reason) for reason in reasons) or (not reasons and _POLICY.search(said)):
        return NotNow(text, unclear=False, limit=True)
    if not reasons and (_LATER.search(said) or "Could not make sense of sbatch output" in said):
        return NotNow(text, unclear=True)
    return Refused(text)


class Slurm:
    """The cluster that SLURM_CONF and PATH lead to."""

    def __init__(self, options: SbatchOptions) -> None:
        self.options = options
        # Whether sacct has answered: without accounting it never will, and squeue is asked instead.
        self._sacct_works = True
        self._sacct_failed = 0.0

    def submit(self, request: Request) -> str:
        """Through submitit."""
        parameters = slurm_parameters(request, self.options)
        return submit_command(request.batch.folder, parameters, request.command, len(request.batch.tasks))

    def states(self, job_ids: Sequence[str]) -> States:
        """From sacct; where that does not answer, from squeue."""
        if not job_ids:
            return {}
        # A broken sacct is tried again now and then.
        if self._sacct_works or time.monotonic() - self._sacct_failed > 300:
            try:
                known = self._sacct(job_ids)
                self._sacct_works = True
                return known
            except NoAnswer:
                self._sacct_works, self._sacct_failed = False, time.monotonic()
        alive = self.still_alive(job_ids)
        if alive is None:
            raise NoAnswer("neither sacct nor squeue answers")
        return alive

    def _sacct(self, job_ids: Sequence[str]) -> States:
        text = ask("sacct", "-X", "-P", "-o", "JobID,State,NodeList,ExitCode,JobName", "-j", ",".join(job_ids))
        return read_sacct(text)

    def still_alive(self, job_ids: Sequence[str]) -> States | None:
        """From squeue, which also knows those that ended some minutes ago."""
        try:
            text = ask("squeue", "-u", str(os.getuid()), "-r", "-h", "-t", "all", "-o", "%F|%K|%T|%N|%j|%r")
        except NoAnswer:
            return None
        wanted = set(job_ids)
        return {key: state for key, state in read_squeue(text).items() if key[0] in wanted}

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """By squeue and by sacct: the one knows of what was submitted a moment ago, the other of what is over."""
        found: dict[str, str] = {}
        answered = False
        wanted = ",".join(names)
        for command in (
            ["squeue", "-u", str(os.getuid()), "-h", "-t", "all", "-o", "%F|%j", f"--name={wanted}"],
            ["sacct", "-X", "-n", "-P", "-S", "now-30days", "-o", "JobID,JobName%200", f"--name={wanted}"],
        ):
            with contextlib.suppress(NoAnswer):
                for line in ask(*command).splitlines():
                    job_id, _, name = line.partition("|")
                    found[name.strip()] = job_id.split("_")[0]
                answered = answered or command[0] == "squeue"
        if not answered:
            raise NoAnswer("squeue does not answer")
        return {name: found[name] for name in names if name in found}

    def alive_by_name(self, name: str) -> str | None:
        """The id of the job of this name that is queued or running. Raises NoAnswer."""
        for line in ask("squeue", "-u", str(os.getuid()), "-h", "-o", "%A|%T", f"--name={name}").splitlines():
            job_id, _, word = line.partition("|")
            if word in ALIVE:
                return job_id
        return None

    def cancel(self, name: str, job_id: str, tasks: Sequence[int] | None, *, waiting_only: bool = False) -> None:
        """By id and name together."""
        targets = [job_id] if tasks is None else [f"{job_id}_{task}" for task in tasks]
        which = ["--state=PENDING"] if waiting_only else []
        for start in range(0, len(targets), 500):
            ask("scancel", "--quiet", f"--name={name}", *which, *targets[start : start + 500])

    def release(self, job_ids: Sequence[str]) -> None:
        """One call; a job that cannot be released stays held, and says so in `status`."""
        with contextlib.suppress(NoAnswer):
            ask("scontrol", "release", ",".join(job_ids))

    def avoid(self, job_ids: Sequence[str], nodes: Sequence[str]) -> None:
        """Also what is submitted from now on."""
        self.options.excluded.update(nodes)
        excluded = ",".join(filter(None, [self.options.exclude, *sorted(self.options.excluded)]))
        for job_id in job_ids:
            with contextlib.suppress(NoAnswer):
                ask("scontrol", "update", f"JobId={job_id}", f"ExcNodeList={excluded}")


def ask(*command: str) -> str:
    """What a command of Slurm answers. Raises NoAnswer where it fails, is missing, or takes too long."""
    # Otherwise the list of an array's waiting tasks is cut after 64 characters.
    environment = {**os.environ, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ASK_TIMEOUT_S,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"{command[0]}: {error}") from error
    if done.returncode:
        raise NoAnswer(f"{command[0]}: {(done.stderr or done.stdout).strip()[:300] or f'exit code {done.returncode}'}")
    return done.stdout


def read_sacct(text: str) -> dict[tuple[str, int], State]:
    """ "17_3|CANCELLED by 0|node1|0:9|s-1a" with its heading -> {("17", 3): State("CANCELLED", "node1", …)}."""
    from submitit.slurm.slurm import SlurmInfoWatcher

    rows = text.splitlines()
    heading = next((number for number, row in enumerate(rows) if row.split("|")[0] == "JobID"), None)
    if heading is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at what submitit cannot read
        lines = SlurmInfoWatcher(delay_s=1).read_info("\n".join(rows[heading:]))
    found = {}
    for job, values in lines.items():
        job_id, _, task = job.partition("_")
        _, _, number = values.get("ExitCode", "").partition(":")
        node = values.get("NodeList", "")
        # An array of which nothing has begun is a line without tasks.
        found[job_id, int(task) if task.isdigit() else REST] = State(
            (values.get("State") or "UNKNOWN").split()[0].rstrip("+"),
            "" if node == "None assigned" else node,
            signal=int(number) if number.isdigit() else 0,
            name=values.get("JobName"),
        )
    return found


def read_squeue(text: str) -> dict[tuple[str, int], State]:
    """ "17|3|PENDING||s-1a|Priority" -> {("17", 3): State("PENDING", reason="Priority", name="s-1a")}."""
    found = {}
    for line in text.splitlines():
        job_id, task, word, node, name, reason = [*line.split("|", 5), *[""] * 5][:6]
        if task.isdigit():
            found[job_id, int(task)] = State(word, node, "" if reason == "None" else reason, name=name)
    return found
