"""Runs of real sweeps: the same in their folders and at W&B, whether they were tracked online or sent there later."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs import PARTS
from analysis.sources import read
from tests.e2e.conftest import Cli
from tests.fakes.wandb_server import ENTITY, WandbServer
from tests.fakes.wandb_study import KEY, wandb_here

pytestmark = pytest.mark.slow
WORDS = ["method=dpo,ipo", "model=tiny", "data.max_train_samples=32", "data.max_eval_samples=16",
         "training.max_length=256", "evaluation.every=2", "-m"]  # fmt: skip
# Where a run lies and can be looked at, and by whose clock it took so long.
ELSEWHERE = ["source", "tracking_url", "seconds"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    (tmp_path / "client").mkdir()
    with wandb_here(monkeypatch, tmp_path / "client") as server:
        yield server


def same_at_wandb(study: Path) -> None:
    frames = [read([source], PARTS).frame for source in (str(study), f"wandb:{ENTITY}/prefsweep/s")]
    folders, wandb = (frame.drop(columns=ELSEWHERE).sort_values("run_id", ignore_index=True) for frame in frames)
    assert len(folders) == 2
    assert folders["history.train/loss"].notna().all()
    pd.testing.assert_frame_equal(folders, wandb, check_like=True)


def test_runs_tracked_online_are_at_wandb_as_in_their_folders(server: WandbServer, cli: Cli):
    code, text = cli.finish(cli.sweep(*WORDS, "tracking=online", "launcher.workers=1"))
    assert code == 0, text
    same_at_wandb(cli.study)
    frame = read([str(cli.study)]).frame
    assert list(frame["tracking_url"]) == list(read([f"wandb:{ENTITY}/prefsweep"]).frame["tracking_url"])


def test_runs_tracked_offline_are_sent_by_the_command_that_the_study_names(server: WandbServer, cli: Cli):
    code, text = cli.finish(cli.sweep(*WORDS, "tracking=offline", "launcher.workers=1"))
    assert code == 0, text
    assert f"tracked offline; send it up with: python -m orchestrator sync {cli.study}" in text
    assert not server.runs
    code, text = cli.finish(cli.start("sync", str(cli.study)))
    assert code == 0, text
    assert KEY not in text
    same_at_wandb(cli.study)
    code, text = cli.finish(cli.start("resume", str(cli.study)))
    assert "tracked offline" not in text
