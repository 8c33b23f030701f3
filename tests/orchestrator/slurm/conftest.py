"""Slurm's programs as a test makes them, and no real one; a cluster in memory; the environment inside a job."""

from pathlib import Path

import pytest

from orchestrator import ledger
from tests.fakes.cluster import FakeCluster
from tests.orchestrator.slurm.programs import Programs


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    made = Programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(made.folder))
    return made


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    return FakeCluster(tmp_path)


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job's program sets it for its runs."""
    monkeypatch.setenv(ledger.JOB, "17_0")
