"""A real Slurm for the tests in this folder, and the command line on it."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from tests.fakes.wandb_server import WandbServer
from tests.slurm.cluster import Cluster
from tests.slurm.packages import installed, packages_missing
from trainers.spec import RunFolder, RunResult, RunSpec

T = TypeVar("T")
# Where this is set a Slurm that is missing is a failure, and no reason to skip.
REQUIRED = "PREFSWEEP_SLURM_REQUIRED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need a cluster, and take their time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with accounting, one cluster a module."""
    if not installed() or os.geteuid() != 0:
        why = f"Slurm is not installed ({', '.join(packages_missing())}): make test-slurm installs it"
        if os.geteuid() != 0:
            why = "a cluster of one's own needs root"
        if os.environ.get(REQUIRED):
            pytest.fail(why)
        pytest.skip(why)
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


class OnCluster:
    """Starts `python -m orchestrator ... launcher=slurm` on a study named s, and looks at what came of it."""

    def __init__(self, cluster: Cluster, repository: Path, out: Path, cache_dir: Path, wandb: WandbServer) -> None:
        self.cluster, self.repository, self.out, self.study, self.wandb = cluster, repository, out, out / "s", wandb
        self.environment = {
            **os.environ,
            **cluster.environment,
            "PREFSWEEP_CACHE": str(cache_dir),
            "COLUMNS": "160",
            "WANDB_API_KEY": "0" * 40,
            "WANDB_BASE_URL": wandb.url,
        }

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "orchestrator", *words]
        return subprocess.Popen(
            command,
            cwd=self.repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.environment, **environment},
        )

    def sweep(
        self, *words: str, steps: int = 30, target: str = "tests.slurm.runs:train", **environment: str
    ) -> subprocess.Popen[str]:
        """Runs of `steps` tenths of a second."""
        return self.start(
            *("study=s", f"output_root={self.out}", "method=dpo", "model=tiny", f"training.max_steps={steps}"),
            *("launcher=slurm", "launcher.poll_s=1", f"launcher.target={target}", "launcher.preload=[]"),
            *words,
            **environment,
        )

    def finish(self, process: subprocess.Popen[str], timeout_s: float = 300) -> tuple[int, str]:
        """Exit code, and what it said."""
        try:
            text, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
            raise AssertionError(f"the command does not end; it said:\n{text}\n{self.tell()}") from None
        return process.returncode, text

    def complete(self, process: subprocess.Popen[str], runs: int, timeout_s: float = 300) -> str:
        """The command ends well, and each run has completed once; what it said."""
        code, text = self.finish(process, timeout_s)
        assert code == 0, text
        self.each_completed_once(runs)
        return text

    def tell(self) -> str:
        """What Slurm and the jobs have to say, for a test that fails."""
        parts = [self.cluster.run("squeue", "-r", "-o", "%i %j %T %r %N"), str(self.cluster.sacct("-X", "-D"))]
        for path in [*self.study.glob("jobs/*/*.out"), *self.study.glob("runs/*/log.txt")]:
            parts.append(f"{path}:\n{path.read_text(errors='replace')[-1500:]}")
        parts += [f"{path}:\n{path.read_text()}" for path in self.study.glob("runs/*/attempts.jsonl")]
        return "\n".join(parts)

    def specs(self) -> list[RunSpec]:
        return [RunSpec.read(path) for path in sorted(self.study.glob("runs/t*"))]

    def results(self) -> dict[str, RunResult]:
        found = {path.name: RunResult.read(RunFolder(path)) for path in self.study.glob("runs/t*")}
        return {run_id: result for run_id, result in found.items() if result is not None}

    def ledger(self, run_id: str) -> list[dict[str, object]]:
        path = self.study / "runs" / run_id / "attempts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def causes(self, run_id: str) -> list[object]:
        """Why each attempt at the run ended, None for one that completed or whose end nobody saw."""
        ends: dict[object, object] = {}
        for line in self.ledger(run_id):
            ends[line.get("attempt")] = line.get("cause") if line["event"] == "ended" else None
        return list(ends.values())

    def completed(self) -> Counter[str]:
        """How often each run completed, by its ledger."""
        return Counter(
            path.name
            for path in self.study.glob("runs/t*")
            for line in self.ledger(path.name)
            if line.get("status") == "completed"
        )

    def each_completed_once(self, runs: int) -> None:
        """By the ledger, by the results, and by the runs that W&B knows."""
        specs = self.specs()
        assert len(specs) == runs
        assert {result.status for result in self.results().values()} == {"completed"}, self.tell()
        assert len(self.results()) == runs, self.tell()
        assert self.completed() == Counter({spec.run_id: 1 for spec in specs}), self.tell()
        assert set(self.wandb.runs) == {spec.tracking_id for spec in specs}
        for spec in specs:
            assert self.steps_in_order(spec), self.tell()

    def steps_in_order(self, spec: RunSpec) -> bool:
        """No step was left out, and after a checkpoint none was done again before it."""
        steps = [int(line.split()[0]) for line in (spec.run_dir / "steps").read_text().splitlines()]
        return sorted(set(steps)) == list(range(1, spec.config["training"]["max_steps"] + 1)) and all(
            after == before + 1 or after % 10 == 1 or after <= before + 1 for before, after in itertools.pairwise(steps)
        )

    def states(self) -> list[str]:
        """What Slurm says of the study's jobs, in alphabetical order."""
        told = self.cluster.sacct("-X", "-o", "JobID,State", "-j", ",".join(self.job_ids()))
        return sorted(state.split()[0] for _, state in told)

    def job_ids(self) -> list[str]:
        return [json.loads(path.read_text())["job_id"] for path in sorted(self.study.glob("jobs/*/submitted.json"))]

    def under_way(self, at_least: int = 1, step: int = 3) -> list[RunSpec]:
        """Runs that have come to some step and have not ended."""

        def some() -> list[RunSpec]:
            found = []
            for path in self.study.glob("runs/*"):
                lines = (path / "steps").read_text().splitlines() if (path / "steps").exists() else []
                if len(lines) >= step and not (path / "result.json").exists():
                    found.append(RunSpec.read(path))
            return found if len(found) >= at_least else []

        return until(some, 90, "no run is under way")

    def node_of(self, spec: RunSpec) -> int:
        """The number of the node that the run's latest attempt is on."""
        began = [line for line in self.ledger(spec.run_id) if line["event"] == "began"]
        return int(str(began[-1]["host"]).removeprefix("node"))

    def worker_of(self, spec: RunSpec) -> psutil.Process:
        """The process that trains a run."""
        began = [line for line in self.ledger(spec.run_id) if line["event"] == "began"]
        return psutil.Process(int(str(began[-1]["pid"])))

    def process_of_job(self, spec: RunSpec) -> psutil.Process:
        """Our program of the job that carries out a run."""
        return next(
            p for p in self.worker_of(spec).parents() if "orchestrator.launchers.slurm.allocation" in p.cmdline()
        )

    def job_of(self, spec: RunSpec) -> str:
        began = [line for line in self.ledger(spec.run_id) if line["event"] == "began"]
        return str(began[-1]["job"])


def until(condition: Callable[[], T], timeout_s: float, what: str) -> T:
    """What the condition gives once it holds."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        if given := condition():
            return given
        assert time.monotonic() < give_up_at, what
        time.sleep(0.1)


@pytest.fixture
def on_cluster(cluster: Cluster, repository: Path, tmp_path: Path, cache_dir: Path) -> Iterator[OnCluster]:
    """The command line on a cluster that has nothing else to do."""
    cluster.wait_ready()
    with WandbServer() as wandb:
        made = OnCluster(cluster, repository, tmp_path / "out", cache_dir, wandb)
        yield made
        cluster.cancel_all()
