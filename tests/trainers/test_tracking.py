"""Tracking with the real W&B client: offline, against a server on loopback, and against servers that fail it."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from tests.fakes.wandb_server import ENTITY, WandbServer
from trainers import tracking
from trainers.config import RunConfig, Tracking
from trainers.config_check import check
from trainers.spec import RunSpec
from trainers.train import train

KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def no_keys_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    tracking._end_service()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return KEY


def settings(mode: str = "auto", base_url: str | None = None) -> Tracking:
    return Tracking.model_validate({"mode": mode, "project": "p", "entity": None, "base_url": base_url})


def run_of(tmp_path: Path, mode: str, base_url: str | None = None, **changes: Any) -> tuple[RunSpec, RunConfig]:
    config = run_config(tracking__mode=mode, tracking__base_url=base_url, **changes)
    return run_spec(tmp_path / "run", tmp_path / "cache", config), check(config)


def test_auto_is_offline_without_a_key() -> None:
    assert tracking.resolve_mode(settings()) == "offline"


def test_auto_is_online_with_a_key_in_the_environment(key: str) -> None:
    assert tracking.resolve_mode(settings()) == "online"


def test_auto_is_online_with_a_key_for_that_host_in_netrc(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1:8080 login user password {KEY}\n")
    netrc.chmod(0o600)
    assert tracking.resolve_mode(settings(base_url="http://127.0.0.1:8080")) == "online"
    assert tracking.resolve_mode(settings()) == "offline"


@pytest.mark.parametrize(("wished", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")])
def test_auto_does_what_wandb_mode_says(monkeypatch: pytest.MonkeyPatch, key: str, wished: str, mode: str) -> None:
    monkeypatch.setenv("WANDB_MODE", wished)
    assert tracking.resolve_mode(settings()) == mode
    assert tracking.resolve_mode(settings("online")) == "online"


def test_online_without_a_key_asks_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    assert tracking.resolve_mode(settings("online")) == "offline"
    assert "no key for https://api.wandb.ai" in capfd.readouterr().err


def test_the_id_is_the_runs_own_at_every_attempt(tmp_path: Path) -> None:
    spec, _ = run_of(tmp_path, "auto")
    assert tracking.wandb_id(spec) == tracking.wandb_id(spec)
    other = RunSpec(**{**vars(spec), "study": "another"})
    assert tracking.wandb_id(other) != tracking.wandb_id(spec)


def test_disabled_leaves_no_trace(tmp_path: Path) -> None:
    spec, config = run_of(tmp_path, "disabled")
    with tracking.start(spec, config) as tracker:
        tracker.log(1, {"train/loss": 1.0})
    assert list(spec.run_dir.iterdir()) == []


@pytest.mark.slow
def test_offline_keeps_what_can_be_synced_later(tmp_path: Path) -> None:
    spec, config = run_of(tmp_path, "auto")
    with tracking.start(spec, config) as tracker:
        tracker.log(1, {"train/loss": 0.125})
    # W&B's process writes the rest once nobody waits; it is whole when that process ends, as it does with the run's.
    tracking._end_service()
    (kept,) = (spec.run_dir / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"train/loss" in kept.read_bytes()
    assert tracker.url() is None


@pytest.mark.slow
def test_online_the_server_gets_the_run_its_config_and_its_history(tmp_path: Path, key: str) -> None:
    with WandbServer() as server:
        spec, config = run_of(tmp_path, "auto", server.url)
        with tracking.start(spec, config) as tracker:
            for step in (1, 2):
                tracker.log(step, {"train/loss": 1 / step})
            tracker.log(2, {"eval/margin_nats": 0.5})
        run = server.runs[tracking.wandb_id(spec)]
    assert (run.display_name, run.group, run.project) == (spec.run_id, "study", "tests")
    assert run.config["method"] == config.method.model_dump(by_alias=True)
    assert run.config["params"] == {"beta": 0.1}
    assert run.config["fingerprint"] == spec.fingerprint
    assert [(row["_step"], row["train/loss"]) for row in run.history] == [(1, 1.0), (2, 0.5)]
    assert run.history[-1]["eval/margin_nats"] == 0.5
    assert (run.complete, run.exit_code) == (True, 0)
    assert tracker.url() == f"{server.url}/{ENTITY}/tests/runs/{run.name}"


@pytest.mark.slow
def test_online_the_server_gets_files_under_their_paths_and_what_the_run_came_to(tmp_path: Path, key: str) -> None:
    with WandbServer() as server:
        spec, config = run_of(tmp_path / "with [brackets]", "auto", server.url)
        folder = spec.folder.evaluation.root
        folder.mkdir()
        (folder / "metrics.json").write_text("{}")
        (folder / "answers.jsonl").write_text('{"text": "a"}\n')
        with tracking.start(spec, config) as tracker:
            tracker.log(1, {"train/loss": 1.0})
            tracker.keep(folder, spec.run_dir)
            tracker.keep(folder / "missing", spec.run_dir)
            tracker.sum_up({"eval/kl": 2.5, "status": "completed", "degenerate": None})
        run = server.runs[tracking.wandb_id(spec)]
    assert run.files["evaluation/metrics.json"] == b"{}"
    assert run.files["evaluation/answers.jsonl"] == b'{"text": "a"}\n'
    assert (run.summary["eval/kl"], run.summary["status"]) == (2.5, "completed")
    assert (run.complete, run.exit_code) == (True, 0)


@pytest.mark.slow
def test_a_run_that_fails_is_failed_there_too(tmp_path: Path, key: str) -> None:
    with WandbServer() as server:
        spec, config = run_of(tmp_path, "auto", server.url)
        with pytest.raises(ValueError, match="no"), tracking.start(spec, config):
            raise ValueError("no")
        assert server.runs[tracking.wandb_id(spec)].exit_code == 1


@pytest.mark.slow
def test_the_key_is_in_no_file_of_the_study(tmp_path: Path, cache_dir: Path, key: str, capfd: Any) -> None:
    with WandbServer() as server:
        for mode in ("online", "offline"):
            config = run_config(tracking__mode=mode, tracking__base_url=server.url)
            spec = run_spec(tmp_path / mode, cache_dir, config)
            spec.write()
            reporter = Recorder()
            result = train(spec, reporter)
            assert result.status == "completed"
            result.write(spec.folder)
            reporter.do_what_is_left()
        assert len(server.keys - {""}) == 1
        assert server.runs[tracking.wandb_id(spec)].history[-1]["eval/pairs"] == 16
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_a_result_does_not_wait_for_a_server(tmp_path: Path, cache_dir: Path, key: str) -> None:
    """Only what is left to do afterwards does."""
    reporter = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = run_config(tracking__mode="online", tracking__base_url=url)
        result = train(run_spec(tmp_path / "run", cache_dir, config), reporter)
        assert (result.status, result.tracking_url) == ("completed", None)
        assert result.seconds < tracking.INIT_TIMEOUT_S
    reporter.do_what_is_left()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))


@pytest.mark.slow
def test_a_short_run_knows_its_page(tmp_path: Path, cache_dir: Path, key: str) -> None:
    reporter = Recorder()
    with WandbServer() as server:
        config = run_config(tracking__mode="online", tracking__base_url=server.url)
        result = train(run_spec(tmp_path / "run", cache_dir, config), reporter)
        reporter.do_what_is_left()
    assert str(result.tracking_url).startswith(f"{server.url}/{ENTITY}/")


@pytest.mark.slow
def test_a_server_that_dies_does_not_fail_the_run(tmp_path: Path, key: str) -> None:
    with WandbServer() as server:
        spec, config = run_of(tmp_path, "auto", server.url)
        started = time.monotonic()
        with tracking.start(spec, config) as tracker:
            tracker.log(1, {"train/loss": 1.0})
            while not server.runs:
                time.sleep(0.05)
            server.stop()
            tracker.log(2, {"train/loss": 0.5})
    assert time.monotonic() - started < 25


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up_for_offline(
    tmp_path: Path, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        spec, config = run_of(tmp_path, "auto", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with tracking.start(spec, config) as tracker:
            tracker.log(1, {"train/loss": 1.0})
            assert time.monotonic() - started < tracking.INIT_TIMEOUT_S
    assert time.monotonic() - started < 22
    assert list((spec.run_dir / "wandb").glob("offline-run-*/run-*.wandb"))
    assert capfd.readouterr().err.count("the run is tracked offline") == 1


def test_an_error_that_quotes_the_key_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    assert tracking._described(ValueError(f"bad key {'a' * 40}\nmore")) == "ValueError: bad key ***"
