"""`sync`: runs that were tracked offline go up to W&B by the real client, each once, and each is told of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.attempts import alone_in
from orchestrator.cli import main
from orchestrator.sync import offline
from orchestrator.sync import sync as send
from tests.fakes.finished_study import Finished, finished_study
from tests.fakes.wandb_server import WandbServer
from tests.fakes.wandb_study import wandb_here
from trainers import tracking
from trainers.config_check import check
from trainers.spec import RunFolder, RunSpec

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sync")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    (tmp_path / "client").mkdir()
    with wandb_here(monkeypatch, tmp_path / "client") as server:
        monkeypatch.delenv("WANDB_SILENT")
        monkeypatch.setenv("WANDB__GRAPHQL_RETRY_MAX", "1")
        monkeypatch.setenv("WANDB__FILE_STREAM_RETRY_MAX", "1")
        yield server


def study_of(tmp_path: Path, betas: tuple[float, ...] = (0.1, 0.2), **config: Any) -> Path:
    """A study whose runs were tracked offline, three steps each."""
    settings = {"tracking__mode": "offline", **config}
    study = finished_study(tmp_path, [Finished(beta=beta, config=settings) for beta in betas])
    for folder in (study / "runs").iterdir():
        spec = RunSpec.read(folder)
        with tracking.start(spec, check(spec.config)) as tracker:
            for step in (1, 2, 3):
                tracker.log(step, {"train/loss": 1 / step})
    import wandb

    wandb.teardown()  # the client's process writes the rest
    return study


@pytest.fixture
def study(server: WandbServer, tmp_path: Path) -> Path:
    return study_of(tmp_path)


def names(study: Path) -> list[str]:
    return sorted(folder.name for folder in (study / "runs").iterdir())


def sync(root: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code, and the lines that were told."""
    code = main(["sync", str(root)])
    told = capfd.readouterr()
    return code, [*told.out.splitlines(), *told.err.splitlines()]


def test_runs_go_up_once_and_each_is_told_of(study: Path, server: WandbServer, capfd: pytest.CaptureFixture[str]):
    assert offline(study)
    code, told = sync(study, capfd)
    assert code == 0
    assert [line.split("http")[0] for line in told] == [f"{name}: sent to " for name in names(study)]
    assert sorted(run.display_name for run in server.runs.values()) == names(study)
    assert {(len(run.lines), run.state, run.group) for run in server.runs.values()} == {(3, "finished", "study")}
    assert not offline(study)
    server.requests.clear()
    assert sync(study, capfd) == (0, ["2 runs sent before", "nothing to send"])
    assert server.requests == []


@pytest.mark.parametrize("where", ["..", "runs/{run}"])
def test_a_folder_of_studies_and_one_run_will_do(
    where: str, study: Path, server: WandbServer, capfd: pytest.CaptureFixture[str]
):
    run = names(study)[0]
    code, told = sync(study / where.format(run=run), capfd)
    assert code == 0
    assert len(told) == (2 if where == ".." else 1)


def test_a_server_that_is_not_there_is_told_and_the_runs_go_up_later(
    study: Path, server: WandbServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        code, told = sync(study, capfd)
    assert code == 1
    assert len(told) == 2
    assert all("not sent: " in line and "connection refused" in line for line in told)
    assert sync(study, capfd)[0] == 0


def test_where_none_of_many_goes_up_the_others_are_not_tried(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    study = study_of(tmp_path, betas=(0.1, 0.2, 0.3))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    code = send(study, Console(width=1000), batch=1)
    told = capfd.readouterr().out.splitlines()
    assert (code, len(told)) == (1, 2)
    assert told[1] == "127.0.0.1:9 took none of these: the others were not tried"


def test_what_the_client_only_seems_to_have_sent_is_sent_again(
    study: Path, server: WandbServer, capfd: pytest.CaptureFixture[str]
):
    server.fail(500, times=1000, operation="file_stream")
    code, told = sync(study, capfd)
    assert code == 1
    assert all("not sent: " in line and "Fatal error while uploading data" in line for line in told)
    server.calm()
    assert sync(study, capfd)[0] == 0
    assert {len(run.lines) for run in server.runs.values()} == {3}


def test_one_damaged_log_costs_the_others_nothing(study: Path, server: WandbServer, capfd: pytest.CaptureFixture[str]):
    first, second = names(study)
    (log,) = (study / "runs" / first).glob("wandb/offline-run-*/*.wandb")
    log.write_bytes(b"rubbish")
    code, told = sync(study, capfd)
    assert code == 1
    assert told[0].startswith(f"{first}: not sent: Failed to read")
    assert told[1].startswith(f"{second}: sent to ")


def test_a_log_whose_writer_was_killed_goes_up_as_far_as_it_goes_and_once(
    study: Path, server: WandbServer, capfd: pytest.CaptureFixture[str]
):
    name = names(study)[0]
    (log,) = (study / "runs" / name).glob("wandb/offline-run-*/*.wandb")
    log.write_bytes(log.read_bytes()[: log.stat().st_size * 3 // 4])
    code, told = sync(study, capfd)
    assert code == 0
    assert told[0].endswith("as far as it goes: its end was cut off")
    assert "nothing to send" in sync(study, capfd)[1]


def test_a_run_under_way_is_left_for_later(study: Path, server: WandbServer, capfd: pytest.CaptureFixture[str]):
    first, second = names(study)
    with alone_in(RunFolder(study / "runs" / first)):
        code, told = sync(study, capfd)
    assert code == 0
    assert told[0] == f"{first}: under way, and left for later"
    assert [run.display_name for run in server.runs.values()] == [second]


def test_runs_go_where_they_would_have_been_tracked(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    study = study_of(tmp_path, betas=(0.1,), tracking__base_url=server.url)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert sync(study, capfd)[0] == 0
    assert len(server.runs) == 1


def test_without_a_key_nothing_is_tried(
    study: Path, server: WandbServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("WANDB_API_KEY")
    code, told = sync(study, capfd)
    assert code == 2
    assert told[0].startswith("error: no key for 127.0.0.1:")
    assert server.requests == []


def test_what_is_no_study_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert sync(tmp_path, capfd)[0] == 2
    study = finished_study(tmp_path, [Finished()])
    assert sync(study, capfd) == (0, ["no run there was tracked offline"])
