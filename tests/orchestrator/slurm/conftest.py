"""A PATH on which Slurm's programs are what a test makes of them, and no real one is found; a cluster in memory."""

from pathlib import Path

import pytest

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
