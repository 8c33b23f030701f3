"""What sharing a job saves: 200 runs of a second, one to a job and 25 to a job, on a real Slurm of this one machine.

    python -m benchmarks.slurm_packing [--runs 200 --heavy 40] [--together 25]

The real command line submits to the cluster of the tests (`python -m tests.slurm.cluster install`, as root): two nodes
of 4 CPUs each, which the machine need not have. The second pair of studies has each job import what training needs, as
real ones do. Writes benchmarks/results/slurm_packing.{json,md}.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.controller import RESULTS
from benchmarks.measure import machine, markdown
from benchmarks.work import ROOT
from tests.slurm.cluster import Cluster
from tests.slurm.processes import NODES
from trainers.spec import Reporter, RunFolder, RunResult, RunSpec

RUN_S = 1.0
CPUS_A_NODE = 4
# The job slots of the cluster.
SLOTS = len(NODES) * CPUS_A_NODE
TRAINING = "trainers.preload"


def second(spec: RunSpec, reporter: Reporter) -> RunResult:
    """The run that is measured: it sleeps for a second."""
    reporter.begin("training", 1)
    time.sleep(RUN_S)
    return RunResult(spec.run_id, "completed", dict(spec.params), {"eval/reward_accuracy": 0.5}, steps=1)


@dataclass
class Packing:
    """One study. `slot_s` are seconds from start to end of its jobs, in all, by Slurm's own accounting."""

    runs: int
    runs_per_job: int
    preload: Sequence[str]
    wall_s: float
    sbatch: int
    jobs: int
    completed: int
    slot_s: float

    @property
    def overhead_s(self) -> float:
        """How long a run keeps a slot of the cluster besides its own second."""
        return self.slot_s / self.runs - RUN_S

    @property
    def least_s(self) -> float:
        """What the study would take if nothing cost anything: rounds of runs on all slots that its jobs can use."""
        used = min(SLOTS, self.jobs)
        return -(-self.runs // used) * RUN_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="runs whose jobs import nothing for them")
    parser.add_argument("--heavy", type=int, default=40, help="runs whose jobs import what training needs; 0 for none")
    parser.add_argument("--together", type=int, default=25, help="runs that share a job")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "benchmarks" / "slurm_packing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    given = parser.parse_args()
    # Of the heavy runs, as many to a job as fill as many jobs as there would be of the others.
    fewer = max(1, given.together * given.heavy // given.runs)
    plan = [(given.runs, 1, ()), (given.runs, given.together, ())]
    plan += [(given.heavy, 1, (TRAINING,)), (given.heavy, fewer, (TRAINING,))] if given.heavy else []
    if given.heavy:
        read_libraries()
    with tempfile.TemporaryDirectory() as place, Cluster(Path(place) / "slurm", max_array_size=1001) as cluster:
        measured = [study(cluster, *one, given.folder.resolve()) for one in plan]
    report = {"machine": machine(), "run_s": RUN_S, "slots": SLOTS, "studies": [asdict(one) for one in measured]}
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "slurm_packing.json").write_text(json.dumps(report, indent=1) + "\n")
    (given.results / "slurm_packing.md").write_text(text := render(measured))
    print(text)


def read_libraries() -> None:
    """Import once what the jobs will, so that the first study is not the one that waits for the disk."""
    subprocess.run([sys.executable, "-c", f"import {TRAINING}"], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)


def study(cluster: Cluster, runs: int, runs_per_job: int, preload: Sequence[str], folder: Path) -> Packing:
    """One study through the command line; raises SystemExit with the end of its log where it fails."""
    place = folder / f"{runs}-{runs_per_job}-{time.time_ns()}"
    place.mkdir(parents=True)
    settings = [f"output_root={place}", "study=packing", "tracking=disabled", f"beta=range(1,{runs + 1})"]
    settings += ["launcher=slurm", "launcher.target=benchmarks.slurm_packing:second", "launcher.poll_s=1"]
    settings += [f"launcher.runs_per_job={runs_per_job}", f"launcher.preload=[{','.join(preload)}]"]
    log = place / "log.txt"
    command = [sys.executable, "-m", "orchestrator", "-m", *settings]
    with log.open("wb") as output:
        start = time.perf_counter()
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=client(cluster.environment), check=False
        )
        wall_s = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nexited with {done.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    results = [RunResult.read(RunFolder(path)) for path in (place / "packing" / "runs").iterdir()]
    completed = sum(result is not None and result.status == "completed" for result in results)
    arrays = [json.loads(path.read_text())["job_id"] for path in (place / "packing" / "jobs").glob("*/submitted.json")]
    seconds = wait_for_accounting(cluster, arrays)
    return Packing(runs, runs_per_job, preload, wall_s, len(arrays), len(seconds), completed, sum(seconds))


def client(environment: Mapping[str, str]) -> dict[str, str]:
    """This process' environment on the cluster of the tests, and of no other."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SACCT"))}
    return {**rest, **environment}


def wait_for_accounting(cluster: Cluster, arrays: Sequence[str]) -> list[int]:
    """How many seconds each job took, once accounting knows that all have ended."""
    give_up_at = time.monotonic() + 60
    while True:
        told = cluster.sacct("-X", "--format=ElapsedRaw,State", f"--jobs={','.join(arrays)}")
        if all(state not in ("PENDING", "RUNNING", "COMPLETING") for _, state in told):
            return [int(seconds) for seconds, _ in told]
        if time.monotonic() > give_up_at:
            raise SystemExit(f"benchmarks: jobs have not ended after their study: {told}")
        time.sleep(0.5)


def render(measured: Sequence[Packing]) -> str:
    host = machine()
    header = ["imports", "runs", "runs a job", "jobs", "sbatch", "completed", "wall s", "least s", "s above it a run"]
    header += ["slot s", "overhead of a run, s"]
    rows = [
        (
            ", ".join(one.preload) or "none",
            one.runs,
            one.runs_per_job,
            one.jobs,
            one.sbatch,
            one.completed,
            f"{one.wall_s:.1f}",
            f"{one.least_s:.0f}",
            f"{(one.wall_s - one.least_s) / one.runs:.2f}",
            f"{one.slot_s:.0f}",
            f"{one.overhead_s:.2f}",
        )
        for one in measured
    ]
    gains = [
        f"{', '.join(alone.preload) or 'no imports'}: {alone.wall_s / packed.wall_s:.1f} times as fast"
        for alone, packed in zip(measured[::2], measured[1::2], strict=True)
    ]
    return (
        "# Runs that share a job\n\n"
        f"{host['date']}: {host['cpu']}, {host['cores']} cores. A real Slurm on this one machine, of {len(NODES)} "
        f"nodes that claim {CPUS_A_NODE} CPUs each: {SLOTS} jobs go on at a time on {host['cores']} cores, which makes "
        f"what a job costs dearer than on a cluster. A run sleeps for {RUN_S:g} s; the launcher looks every second.\n\n"
        + markdown(header, rows)
        + "\nLeast is what the runs would take if nothing cost anything, on as many of the slots as there are jobs. "
        "Slot seconds are from start to end of all jobs, as Slurm counts them, in whole seconds a job; overhead is how "
        "long a run keeps a slot besides its own sleep, the others' struggle for the cores included.\n\n"
        + "Packed: "
        + "; ".join(gains)
        + ".\n"
    )


if __name__ == "__main__":
    main()
