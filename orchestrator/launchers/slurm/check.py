"""What a cluster would refuse, told before anything is submitted: partitions, accounts, limits, clashes.

Asks sinfo and sacctmgr where they answer; what could not be checked is a note, and no fault.
"""

import getpass
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.launchers.slurm.make import resources
from orchestrator.launchers.slurm.scheduler import NoAnswer, ask, minutes
from orchestrator.resources import Resources
from orchestrator.settings import SlurmSettings
from orchestrator.wording import count
from trainers.distributed import micro_batches
from trainers.errors import InvalidInput
from trainers.spec import RunSpec

# Options of sbatch on which the launcher relies.
RESERVED = frozenset({"array", "a", "job-name", "J", "output", "o", "error", "e", "signal", "requeue", "no-requeue",
                      "open-mode", "ntasks-per-node", "ntasks", "n", "wrap", "wait", "W"})  # fmt: skip


@dataclass
class Findings:
    """What would be refused, and what could not be found out."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Partition:
    """What sinfo tells of a partition's nodes, all in one: the most of each that one of them has."""

    name: str
    default: bool
    up: bool
    # None where there is no limit.
    minutes: float | None
    nodes: int
    cpus: int
    mem_mb: int
    gpus: int


def check(settings: SlurmSettings, root: Path, specs: Sequence[RunSpec]) -> Findings:
    """What is wrong with sending these runs to the cluster."""
    found = Findings(list(_clashes(settings, root)))
    kinds = list({resources(settings, spec): None for spec in specs})
    found.faults += dict.fromkeys(fault for spec in specs for fault in _impossible(settings, spec))
    if settings.cluster == "local":
        return found
    if shutil.which("sbatch") is None:
        found.notes.append(
            "sbatch is not here, so that nothing could be checked with the cluster, and nothing be submitted: "
            "use a login node, or launcher.cluster=local"
        )
        return found
    try:
        partitions = read_sinfo(ask("sinfo", "-h", "-o", "%P|%a|%l|%D|%c|%m|%G"))
    except NoAnswer as error:
        found.notes.append(f"partitions and limits could not be checked: {error}")
        return found
    wanted = dict.fromkeys(kind.partition for kind in kinds)
    found.faults += [
        fault for kind in kinds for fault in _too_much(settings, kind, partitions)
    ]  # fmt: skip
    if None in wanted and not any(partition.default for partition in partitions.values()):
        found.faults.append(f"launcher.partition: must be given, there is no default ({', '.join(partitions)})")
    _check_account(settings, found)
    return found


def _clashes(settings: SlurmSettings, root: Path) -> Iterable[str]:
    """Settings that do not go together, on any cluster."""
    if settings.runs_at_a_time > settings.runs_per_job:
        yield (
            f"launcher.runs_at_a_time={settings.runs_at_a_time}: a job has launcher.runs_per_job="
            f"{settings.runs_per_job} runs in all"
        )
    if settings.cluster == "local" and settings.controller == "slurm":
        yield "launcher.controller=slurm: cluster=local has no queue for a controller; launcher.detach=true leaves it"
    if settings.controller == "slurm" and settings.detach:
        yield "launcher.detach=true has no controller that could become a job: leave out launcher.controller=slurm"
    for line in settings.extra:
        name = re.split(r"[=\s]", line.lstrip("-"))[0]
        if name in RESERVED:
            yield f"launcher.extra: {line}: this option is the launcher's own"
    if "%" in str(root):
        yield f"output_root: Slurm reads % in {root} as its own: choose another with output_root=..."


def _impossible(settings: SlurmSettings, spec: RunSpec) -> Iterable[str]:
    """What does not go together for this run; several processes must share the examples of a step evenly."""
    needed = resources(settings, spec)
    if needed.nodes > 1 and settings.runs_per_job > 1:
        yield "launcher.nodes: a run of several nodes has its job to itself: launcher.runs_per_job=1"
    if needed.nodes > 1 and settings.cluster == "local":
        yield "launcher.nodes: cluster=local is this machine alone"
    if settings.more_memory is not None and needed.mem_gb is None:
        yield "launcher.more_memory: more than what? give launcher.mem_gb too"
    ranks = (settings.ranks_per_node or max(1, needed.gpus)) * needed.nodes
    training = spec.config.get("training", {})
    if ranks > 1 and isinstance(training, dict):
        try:
            micro_batches(training.get("batch_size", 1), training.get("gradient_accumulation", 1), ranks)
        except InvalidInput as error:
            yield from error.faults


def _too_much(settings: SlurmSettings, kind: Resources, partitions: dict[str, Partition]) -> Iterable[str]:
    """What no node of the partition has."""
    if kind.partition is not None and kind.partition not in partitions:
        yield f"launcher.partition={kind.partition}: no such partition (there are {', '.join(partitions)})"
        return
    partition = next(
        (p for p in partitions.values() if p.name == kind.partition or (kind.partition is None and p.default)), None
    )
    if partition is None:
        return
    side = min(settings.runs_at_a_time, settings.runs_per_job)
    name = f"partition {partition.name}"
    if not partition.up:
        yield f"launcher.partition: {name} is not up"
    if partition.minutes is not None and minutes(kind.time_min) > partition.minutes:
        yield f"launcher.time_min={kind.time_min:g}: {name} has a limit of {count(partition.minutes, 'minute')}"
    if kind.nodes > partition.nodes:
        yield f"launcher.nodes={kind.nodes}: {name} has {partition.nodes}"
    for key, wanted, there in (
        ("cpus_per_run", kind.cpus * side, partition.cpus),
        ("gpus_per_run", kind.gpus * side, partition.gpus),
    ):
        if wanted > there:
            yield f"launcher.{key}: a job needs {wanted}, and no node of {name} has more than {there}"
    if kind.mem_gb is not None and kind.mem_gb * side * 1024 > partition.mem_mb:
        yield (
            f"launcher.mem_gb: a job needs {kind.mem_gb * side:g} GiB, and no node of {name} has more than "
            f"{partition.mem_mb / 1024:.1f} GiB"
        )


def _check_account(settings: SlurmSettings, found: Findings) -> None:
    """Whether accounting knows the user under this account and quality of service."""
    if settings.account is None and settings.qos is None:
        return
    try:
        told = ask("sacctmgr", "-n", "-P", "show", "assoc", f"user={getpass.getuser()}", "format=account,qos")
    except (NoAnswer, KeyError, OSError) as error:
        found.notes.append(f"launcher.account and launcher.qos could not be checked: {error}")
        return
    lines = [line.split("|") for line in told.splitlines() if "|" in line]
    accounts = dict.fromkeys(line[0] for line in lines)
    if not accounts:
        found.notes.append("launcher.account and launcher.qos could not be checked: accounting does not list you")
        return
    if settings.account is not None and settings.account not in accounts:
        found.faults.append(
            f"launcher.account={settings.account}: you have no such account (you have {', '.join(accounts)})"
        )
    qos = dict.fromkeys(name for line in lines for name in line[1].split(",") if name)
    if settings.qos is not None and qos and settings.qos not in qos:
        found.faults.append(f"launcher.qos={settings.qos}: you may not use it (you may use {', '.join(qos)})")


def read_sinfo(text: str) -> dict[str, Partition]:
    """ "main*|up|1-00:00:00|2|4+|8000|gpu:a100:2(S:0)" -> the partitions by name."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != 7:
            continue
        name, up, limit, nodes, cpus, memory, gres = fields
        known = found.get(name.rstrip("*"))
        made = Partition(
            name.rstrip("*"), name.endswith("*"), up == "up", read_limit(limit), _number(nodes), _number(cpus),
            _number(memory), sum(int(n) for n in re.findall(r"gpu(?::[^:,()]+)?:(\d+)", gres)),
        )  # fmt: skip
        found[made.name] = made if known is None else _both(known, made)
    return found


def _both(one: Partition, other: Partition) -> Partition:
    """Nodes of different kinds are lines of their own."""
    return Partition(
        one.name, one.default, one.up, one.minutes, one.nodes + other.nodes, max(one.cpus, other.cpus),
        max(one.mem_mb, other.mem_mb), max(one.gpus, other.gpus),
    )  # fmt: skip


def read_limit(text: str) -> float | None:
    """ "1-12:30:00" -> 2190.0 minutes; "infinite" -> None."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if match is None:
        return None
    days, hours, mins, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + mins + seconds / 60


def _number(text: str) -> int:
    """ "4+" -> 4: nodes of the partition have more, and which is not told."""
    match = re.match(r"\d+", text)
    if match is None:
        return 0
    return int(match.group()) if not text.endswith("+") else 10**9
