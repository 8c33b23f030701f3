"""From a study's settings to its launcher on a cluster, and to the text that sbatch would be given."""

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.launchers.machine import slots
from orchestrator.launchers.slurm.batches import Allocation, Batch, jobs_folder
from orchestrator.launchers.slurm.jobs import Policy
from orchestrator.launchers.slurm.launcher import SlurmLauncher
from orchestrator.launchers.slurm.local_cluster import LocalCluster
from orchestrator.launchers.slurm.scheduler import (
    NoAnswer,
    SbatchOptions,
    Scheduler,
    Slurm,
    ask,
    minutes,
    sbatch_text,
)
from orchestrator.launchers.slurm.submission import request_for
from orchestrator.resources import CPUS, GPUS, NODES, TIME_MIN, Resources, RunResources, first
from orchestrator.settings import SlurmSettings
from orchestrator.wording import count
from trainers.machine import Machine
from trainers.spec import RunSpec

CODE = Path(__file__).resolve().parents[3]
PACKAGES = ("orchestrator", "sweeps", "trainers", "conf", "published")
MAX_SUBMITTED, MAX_ARRAY = 500, 1000
# A job that the scheduler does not know is waited for so long: accounting is some seconds late.
LEAST_LOST_S = 20.0


def slurm_launcher(settings: SlurmSettings, root: Path, machine: Machine) -> SlurmLauncher:
    """The launcher of the study in `root`."""
    return SlurmLauncher(root, policy(settings, root, machine), scheduler(settings, root))


def scheduler(settings: SlurmSettings, root: Path) -> Scheduler:
    """Where the study's jobs go."""
    options = sbatch_options(settings)
    return LocalCluster(jobs_folder(root), options) if settings.cluster == "local" else Slurm(options)


def policy(settings: SlurmSettings, root: Path, machine: Machine) -> Policy:
    """How the study's jobs are made and watched."""
    return Policy(
        name=root.name,
        resources=lambda spec: resources(settings, spec),
        allocation=lambda needed: allocation(settings, needed),
        runs_per_job=settings.runs_per_job,
        max_submitted=settings.max_submitted or _room(settings, machine),
        max_array=settings.max_array or max_array(settings),
        poll_s=settings.poll_s,
        python=python(settings),
        environment=environment(settings, root),
        bad_node_after=settings.bad_node_after,
        lost_after_s=max(LEAST_LOST_S, 4 * settings.poll_s),
    )


def _room(settings: SlurmSettings, machine: Machine) -> int:
    """submitit's local executor has no queue, and gives every job the same GPUs: there is room for one with GPUs."""
    if settings.cluster == "slurm":
        return MAX_SUBMITTED
    return 1 if machine.gpu_ids else slots(machine, workers="auto", threads="auto")[0]


def max_array(settings: SlurmSettings) -> int:
    """Tasks an array may have: MaxArraySize is the first index that is too large."""
    if settings.cluster == "local":
        return MAX_ARRAY
    with contextlib.suppress(NoAnswer):
        told = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
        if told:
            return max(1, int(told.group(1)))
    return MAX_ARRAY


def resources(settings: SlurmSettings, spec: RunSpec) -> Resources:
    """What a run gets: as the launcher's settings say, else as the run's own config does, else the least."""
    wants = RunResources.model_validate(dict(spec.resources))
    return Resources(
        nodes=settings.nodes or wants.nodes or NODES,
        gpus=first(settings.gpus_per_run, wants.gpus, GPUS) or 0,
        cpus=settings.cpus_per_run or wants.cpus or CPUS,
        mem_gb=settings.mem_gb or wants.mem_gb,
        time_min=settings.time_min or wants.time_min or TIME_MIN,
        partition=settings.partition or wants.partition,
        constraint=settings.constraint or wants.constraint,
    )


def allocation(settings: SlurmSettings, needed: Resources) -> Allocation:
    """How a job carries out its runs."""
    ranks = settings.ranks_per_node or max(1, needed.gpus)
    return Allocation(
        target=settings.target,
        preload=settings.preload,
        runs_at_a_time=min(settings.runs_at_a_time, settings.runs_per_job),
        threads=max(1, needed.cpus // ranks),
        gpus=needed.gpus,
        ranks=ranks,
        nodes=needed.nodes,
        grace_s=sbatch_options(settings).signal_s(needed.time_min),
        requeue=settings.requeue,
        limits=settings.retries.model_dump(),
        more_memory=settings.more_memory,
    )


def sbatch_options(settings: SlurmSettings) -> SbatchOptions:
    """What is the same for each job."""
    return SbatchOptions(
        account=settings.account,
        qos=settings.qos,
        exclude=settings.exclude,
        gpu_request=settings.gpu_request,
        gpu_type=settings.gpu_type,
        extra=tuple(settings.extra),
        setup=tuple(settings.setup),
        requeue=settings.requeue,
        grace_s=settings.grace_s,
    )


def code_of(settings: SlurmSettings, root: Path) -> Path:
    """Where jobs import from."""
    return root / "code" if settings.snapshot else CODE


def environment(settings: SlurmSettings, root: Path) -> dict[str, str]:
    """What the jobs' shells export: where to import from. Keys and tokens reach them as Slurm passes them on.

    Python would look first where a job was submitted from, which may be a checkout that has been edited since.
    """
    entries = [str(code_of(settings, root)), str(Path.cwd()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    path = os.pathsep.join(dict.fromkeys(entry for entry in entries if entry))
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def python(settings: SlurmSettings) -> str:
    """The interpreter of jobs, as a shell takes it."""
    return settings.python or shlex.quote(sys.executable)


def keep_code(settings: SlurmSettings, root: Path) -> None:
    """Copy the code into the study, once: what was kept first is what all its runs use. Raises OSError."""
    if not settings.snapshot or (root / "code").is_dir():
        return
    beside = root / f".code.{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    for source in [*(CODE / name for name in PACKAGES if (CODE / name).exists()), *_own_code(settings.target)]:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "outputs")
        if source.is_dir():
            shutil.copytree(source, beside / source.name, ignore=ignored)
        else:
            shutil.copy2(source, beside / source.name)
    with contextlib.suppress(FileExistsError):
        beside.rename(root / "code")


def _own_code(target: str) -> list[Path]:
    """The package or file of a target of the user's own, where that lies below the folder we are in."""
    top = target.partition(":")[0].partition(".")[0]
    if top in PACKAGES:
        return []
    found = importlib.util.find_spec(top)
    places = [*(found.submodule_search_locations or []), found.origin] if found is not None else []
    path = next((Path(place) for place in places if place and place not in ("built-in", "namespace")), None)
    return [path] if path is not None and path.resolve().is_relative_to(Path.cwd()) else []


def preview(settings: SlurmSettings, root: Path, specs: Sequence[RunSpec]) -> list[tuple[int, str]]:
    """For each kind of job that a study needs: how many runs, and the text that sbatch would be given for them."""
    kinds: dict[Resources, list[RunSpec]] = {}
    for spec in specs:
        kinds.setdefault(resources(settings, spec), []).append(spec)
    most = settings.max_array or max_array(settings)
    texts = []
    for needed, alike in kinds.items():
        tasks = [[spec.run_id] for spec in alike[:: settings.runs_per_job][:most]]
        given = allocation(settings, needed)
        batch = Batch(jobs_folder(root) / "TOKEN", f"{root.name}-TOKEN", 0.0, tasks, {}, given)
        request = request_for(batch, needed, given, python(settings), environment(settings, root))
        texts.append((len(alike), sbatch_text(request, sbatch_options(settings))))
    return texts


def describe(settings: SlurmSettings, specs: Sequence[RunSpec]) -> str:
    """What would go where, in a line."""
    where = "processes of submitit's local executor" if settings.cluster == "local" else "jobs of Slurm"
    kinds = {resources(settings, spec): None for spec in specs}
    return f"{where}: " + "; ".join(_kind(settings, needed) for needed in kinds)


def _kind(settings: SlurmSettings, needed: Resources) -> str:
    side = min(settings.runs_at_a_time, settings.runs_per_job)
    parts = [
        count(needed.cpus * side, "CPU"),
        count(needed.gpus * side, "GPU") if needed.gpus else "no GPU",
        f"{needed.mem_gb * side:g} GiB" if needed.mem_gb else "the site's default of memory",
        f"{minutes(needed.time_min)} min" + (" for all of them" if settings.runs_per_job > 1 else ""),
    ]
    nodes = f"{needed.nodes} nodes of " if needed.nodes > 1 else ""
    runs = f"{settings.runs_per_job} runs a job, " if settings.runs_per_job > 1 else ""
    return runs + nodes + ", ".join(parts)
