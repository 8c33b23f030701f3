"""What the controller costs on a cluster: 10,000 runs by the real loop and the real launcher, on a simulated Slurm.

    python -m benchmarks.slurm_scale [--studies 1000:1:500 10000:25:500] [--slots 500]

Plan, study folder, loop, launcher and table are the product's, in one process for each study, as `run` has them. Slurm
is simulated: its clock runs as fast as the controller can work, and its commands are stand-ins that print what the
simulation says, so that their start and the reading of their answers are the controller's as always. What the jobs
would do on their nodes (beats, results) is done by the simulation in the same process; its CPU time is measured by
itself and taken off, while the memory that it needs is not. Writes benchmarks/results/slurm_scale.{json,md}.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.controller import RESULTS, Peak
from benchmarks.measure import machine, markdown
from benchmarks.simulated_slurm import (
    RUN_S,
    SACCT_S,
    SACCT_TASK_S,
    SBATCH_S,
    SBATCH_TASK_S,
    START_S,
    Cluster,
    OnBehalf,
    SimulatedSlurm,
)
from benchmarks.work import ROOT

BAR_CPU_MS, BAR_RSS_MB = 10, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--studies", type=Shape.parse, nargs="+", default=STUDIES, help="runs:runs_per_job:max_submitted of each"
    )
    parser.add_argument("--slots", type=int, default=500, help="jobs that the cluster has going at a time")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "benchmarks" / "slurm_scale")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    parser.add_argument("--here", action="store_true", help="one study, in this process, as JSON")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(asdict(study(given.studies[0], given.slots, given.folder.resolve()))))
        return
    measured = [apart(shape, given) for shape in given.studies]
    model = {"slots": given.slots, "start_s": START_S, "run_s": RUN_S}
    model |= {"sbatch_s": [SBATCH_S, SBATCH_TASK_S], "sacct_s": [SACCT_S, SACCT_TASK_S]}
    report = {"machine": machine(), "model": model, "studies": [asdict(one) for one in measured]}
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "slurm_scale.json").write_text(json.dumps(report, indent=1) + "\n")
    (given.results / "slurm_scale.md").write_text(text := render(measured, given.slots))
    print(text)


@dataclass(frozen=True)
class Shape:
    """A study: how many runs, how many in a job, and how many jobs the launcher may have queued or running."""

    runs: int
    runs_per_job: int = 1
    max_submitted: int = 500

    @classmethod
    def parse(cls, text: str) -> "Shape":
        return cls(*(int(number) for number in text.split(":")))

    def __str__(self) -> str:
        return f"{self.runs}:{self.runs_per_job}:{self.max_submitted}"


# The launcher's own defaults at three sizes; all jobs queued at once; and short runs that share jobs.
STUDIES = [Shape(1000), Shape(3000), Shape(10000), Shape(10000, 1, 10000), Shape(10000, 25)]


@dataclass
class Phase:
    """A part of the controller's work; the peak is that of the process up to the end of it."""

    name: str
    wall_s: float
    cpu_s: float
    peak_rss_mb: float


@dataclass
class Measured:
    """One study, from the start of its process to its end."""

    shape: Shape
    completed: int
    wall_s: float
    # The controller's alone, its start included.
    cpu_s: float
    peak_rss_mb: float
    # What was done on behalf of the cluster and its jobs.
    simulation_cpu_s: float
    simulation_wall_s: float
    simulated_min: float
    calls: Mapping[str, int]
    # Simulated seconds between one sacct and the next: the least, the mean, the most.
    sacct_gap_s: tuple[float, float, float]
    phases: Sequence[Phase] = field(default_factory=list)

    @property
    def cpu_ms_per_run(self) -> float:
        return self.cpu_s / self.shape.runs * 1000

    @property
    def sacct_a_min(self) -> float:
        return 60 / self.sacct_gap_s[1] if self.sacct_gap_s[1] else 0.0


# One study


def apart(shape: Shape, given: argparse.Namespace) -> Measured:
    """A study in a process of its own; raises SystemExit where it fails."""
    options = [f"--slots={given.slots}", f"--folder={given.folder.resolve()}"]
    command = [sys.executable, "-m", "benchmarks.slurm_scale", "--here", "--studies", str(shape), *options]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    wall_s = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nexited with {done.returncode}")
    values = json.loads(done.stdout.splitlines()[-1])
    phases = [Phase(**phase) for phase in values["phases"]]
    return Measured(**{**values, "shape": shape, "phases": phases, "wall_s": wall_s})


def study(shape: Shape, slots: int, folder: Path) -> Measured:
    """What `run` does, step by step, on a simulated cluster."""
    from rich.console import Console

    from orchestrator.config import Source
    from orchestrator.launchers import choose
    from orchestrator.launchers.slurm.launcher import SlurmLauncher
    from orchestrator.launchers.slurm.make import policy, sbatch_options
    from orchestrator.objective import Objective
    from orchestrator.plan import make_plan
    from orchestrator.progress import PlainProgress
    from orchestrator.settings import SlurmSettings
    from orchestrator.store import StudyFolder, StudyRecord, held
    from orchestrator.study import Study
    from orchestrator.table import make_table
    from orchestrator.trial_runs import PreparedRuns, by_trial
    from sweeps.grid import GridSweeper
    from trainers.machine import Machine

    place = folder / f"{shape.runs}-{time.time_ns()}"
    place.mkdir(parents=True)
    on_behalf, host = OnBehalf(), Machine.here()
    phases = Phases(on_behalf)
    phases.end("start")
    overrides = [f"beta=range(1,{shape.runs + 1})", f"output_root={place}", "tracking=disabled", "launcher=slurm"]
    overrides += ["launcher.target=benchmarks.noop:train", "launcher.preload=[]"]
    overrides += [f"launcher.runs_per_job={shape.runs_per_job}", f"launcher.max_submitted={shape.max_submitted}"]
    plan = make_plan(overrides, sweep=True, source=Source(), machine=host)
    settings = plan.settings.launcher
    assert isinstance(settings, SlurmSettings)
    phases.end("plan")
    store = StudyFolder(plan.root)
    store.root.mkdir(parents=True)
    space = {key: list(values) for key, values in plan.space.items()}
    ids = [run.run_id for run in plan.runs]
    record = StudyRecord(plan.name, plan.identity, "", "", space, plan.settings.model_dump(), {}, ids, {})
    store.create(record, plan.runs)
    phases.end("write the specs")
    by_number = by_trial(store.specs(record))
    phases.end("read the specs")
    cluster = Cluster(slots)
    scheduler = SimulatedSlurm(sbatch_options(settings), cluster, on_behalf, place / "bin")

    def sleep(seconds: float) -> None:
        with on_behalf():
            cluster.advance(seconds)

    launcher = SlurmLauncher(
        store.root, policy(settings, store.root, host), scheduler, clock=lambda: cluster.now, sleep=sleep
    )
    objective = Objective("eval/reward_accuracy", "maximize")
    with held(store) as still_held, (place / "log.txt").open("w") as log:
        going_on = Study(
            store,
            PreparedRuns(by_number, objective),
            sweeper=GridSweeper([trial.params for trial in plan.trials]),
            launcher=launcher,
            observer=PlainProgress(Console(file=log, width=200), store, shape.runs, launcher.capacity),
            retry=lambda spec, result: choose.retry(settings, spec, result),
            still_held=still_held,
        )
        going_on.carry_out()
        phases.end("loop")
        table = make_table(by_number, going_on.results, list(record.space), objective)
        table.write(store)
        Console(file=log, width=200).print(table.rich(200)[0])
    phases.end("table")
    shutil.rmtree(place)
    gaps = [after - before for before, after in itertools.pairwise(scheduler.sacct_at)] or [0.0]
    return Measured(
        shape=shape,
        completed=sum(result.status == "completed" for result in going_on.results.values()),
        wall_s=sum(phase.wall_s for phase in phases.ended),
        cpu_s=sum(phase.cpu_s for phase in phases.ended),
        peak_rss_mb=phases.ended[-1].peak_rss_mb,
        simulation_cpu_s=on_behalf.cpu_s,
        simulation_wall_s=on_behalf.wall_s,
        simulated_min=cluster.now / 60,
        calls=dict(scheduler.calls),
        sacct_gap_s=(min(gaps), statistics.fmean(gaps), max(gaps)),
        phases=phases.ended,
    )


class Phases:
    """What each part of the controller's work takes, without the simulation."""

    def __init__(self, on_behalf: OnBehalf) -> None:
        self.ended: list[Phase] = []
        self._on_behalf, self._peak = on_behalf, Peak(os.getpid())
        # Of the CPU time the process' start is the first phase'.
        self._cpu_s, self._wall_s = 0.0, time.perf_counter()

    def end(self, name: str) -> None:
        self._peak.look()
        cpu_s = time.process_time() - self._on_behalf.cpu_s
        wall_s = time.perf_counter() - self._on_behalf.wall_s
        self.ended.append(Phase(name, wall_s - self._wall_s, cpu_s - self._cpu_s, self._peak.rss_mb))
        self._cpu_s, self._wall_s = cpu_s, wall_s


# The report


def render(measured: Sequence[Measured], slots: int) -> str:
    host = machine()
    header = ["runs", "a job", "jobs at most", "completed", "CPU s", "CPU ms a run", "in the loop", "peak RSS MB"]
    header += ["simulated min", "sacct", "sacct a min", "s between", "squeue", "sbatch", "wall s", "simulation CPU s"]
    most = [one for one in measured if one.shape.runs == max(other.shape.runs for other in measured)]
    held = all(one.cpu_ms_per_run < BAR_CPU_MS and one.peak_rss_mb < BAR_RSS_MB for one in most)
    rates = [one.sacct_a_min for one in measured]
    columns = [f"{one.shape.runs}, {one.shape.runs_per_job} a job, {one.shape.max_submitted}" for one in measured]
    parts = [
        (phases[0].name, *(f"{phase.cpu_s:.2f} ({phase.peak_rss_mb:.0f})" for phase in phases))
        for phases in zip(*(one.phases for one in measured), strict=True)
    ]
    return (
        "# The controller's own cost on a cluster\n\n"
        f"{host['date']}: {host['cpu']}, {host['cores']} cores. Slurm is simulated: {slots} jobs go on at a time; a "
        f"run takes {RUN_S[0]:g} to {RUN_S[1]:g} s; a job begins {START_S[0]:g} to {START_S[1]:g} s after it was "
        f"submitted where there is room; sbatch takes {SBATCH_S:g} s and {SBATCH_TASK_S * 1000:g} ms a task, sacct "
        f"{SACCT_S:g} s and {SACCT_TASK_S * 1000:g} ms a task. The launcher looks every 30 s, its default; "
        "500 jobs at most are its default, too.\n\n"
        "CPU time is the controller's alone, from the start of its process, plan and table included. What the "
        "simulation does on behalf of the cluster and its jobs (events, beats, results) is the last column, and no "
        "part of it; the memory is the whole process', the simulation's included.\n\n"
        + markdown(header, [row(one) for one in measured])
        + "\nCPU seconds of each phase, and in brackets the process' peak of memory in MB up to its end:\n\n"
        + markdown(["phase", *columns], parts)
        + f"\nBar: under {BAR_CPU_MS} ms a run and {BAR_RSS_MB} MB at {most[0].shape.runs} runs: "
        + ("held. " if held else "missed. ")
        + "As many sacct a minute whatever the number of runs: "
        + ("held.\n" if max(rates) < 1.1 * min(rates) else "missed.\n")
    )


def row(one: Measured) -> Sequence[object]:
    loop = next(phase.cpu_s for phase in one.phases if phase.name == "loop")
    return (
        one.shape.runs,
        one.shape.runs_per_job,
        one.shape.max_submitted,
        one.completed,
        f"{one.cpu_s:.2f}",
        f"{one.cpu_ms_per_run:.1f}",
        f"{loop / one.shape.runs * 1000:.1f}",
        f"{one.peak_rss_mb:.0f}",
        f"{one.simulated_min:.1f}",
        one.calls["sacct"],
        f"{one.sacct_a_min:.2f}",
        f"{one.sacct_gap_s[0]:.0f} to {one.sacct_gap_s[2]:.0f}",
        one.calls.get("squeue", 0),
        one.calls["sbatch"],
        f"{one.wall_s:.0f}",
        f"{one.simulation_cpu_s:.1f}",
    )


if __name__ == "__main__":
    main()
