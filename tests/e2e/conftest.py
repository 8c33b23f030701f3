"""The real command line, for tests that start it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainers.spec import RunFolder, RunResult


class Cli:
    """Starts `python -m orchestrator` in the checkout, on a study named s."""

    def __init__(self, repository: Path, out: Path, cache_dir: Path) -> None:
        self.repository, self.out, self.study = repository, out, out / "s"
        self.environment = {**os.environ, "PREFSWEEP_CACHE": str(cache_dir), "COLUMNS": "160"}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "orchestrator", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.repository, stdout=pipe, stderr=pipe, text=True, env={**self.environment, **environment}
        )

    def sweep(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return self.start("study=s", f"output_root={self.out}", *words, **environment)

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Exit code, and what it said on both outputs."""
        stdout, stderr = process.communicate(timeout=300)
        return process.returncode, stdout + stderr

    def results(self) -> dict[str, RunResult]:
        found = {path.name: RunResult.read(RunFolder(path)) for path in self.study.glob("runs/t*")}
        return {run_id: result for run_id, result in found.items() if result is not None}

    def wait_for(self, ended: int) -> None:
        """Until so many runs have a result."""
        until = time.monotonic() + 60
        while len(self.results()) < ended:
            assert time.monotonic() < until, "the study does not get on"
            time.sleep(0.01)

    def run_under_way(self) -> Path:
        """The folder of a run that has begun and not ended."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for path in self.study.glob("runs/*"):
                if (path / "heartbeat").exists() and not (path / "result.json").exists():
                    return path
        raise AssertionError("no run is under way")


@pytest.fixture
def cli(repository: Path, tmp_path: Path, cache_dir: Path) -> Cli:
    return Cli(repository, tmp_path / "out", cache_dir)
