"""Logs runs to a W&B server with the real client, as a sweep does: for tests of what is read from there again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.wandb_server import ENTITY, WandbServer
from trainers.spec import RunResult, RunSpec
from trainers.tracking import wandb_id

PROJECT = "prefs"
KEY = "0123456789abcdef" * 2 + "01234567"


@contextmanager
def wandb_here(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[WandbServer]:
    """A server that W&B's settings name, and the client's files in a folder; the client's process ends at the end."""
    for name in ("WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_ENTITY", "WANDB_PROJECT"):
        patch.delenv(name, raising=False)
    for name, place in (("WANDB_DIR", "wandb"), ("WANDB_CACHE_DIR", "cache"), ("WANDB_DATA_DIR", "data")):
        (folder / place).mkdir()
        patch.setenv(name, str(folder / place))
    patch.setenv("NETRC", str(folder / "netrc"))
    patch.setenv("WANDB_API_KEY", KEY)
    patch.setenv("WANDB_SILENT", "true")
    patch.setenv("WANDB_ERROR_REPORTING", "false")
    with WandbServer() as server:
        patch.setenv("WANDB_BASE_URL", server.url)
        import wandb

        wandb.teardown()  # what an earlier test has set up knows another server
        try:
            yield server
        finally:
            wandb.teardown()


def log_run(
    name: str,
    rows: Sequence[Mapping[str, Any]] = (),
    config: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    files: Path | None = None,
    exit_code: int = 0,
    **about: Any,
) -> None:
    """One run, from init to finish; `files` is a folder whose evaluation/ goes with it. Rows have a `step`."""
    import wandb

    settings = wandb.Settings(silent=True, console="off", disable_code=True, disable_git=True, x_disable_stats=True)
    identity = {"entity": ENTITY, "project": PROJECT, "name": name, "id": name, **about}
    run = wandb.init(**identity, config=dict(config or {}), settings=settings)
    for row in rows:
        run.log({key: value for key, value in row.items() if key not in ("step", "time")}, step=row.get("step"))
    run.summary.update(dict(summary or {}))
    if files is not None and (files / "evaluation").exists():
        run.save(str(files / "evaluation" / "*"), base_path=str(files), policy="now")
    run.finish(exit_code=exit_code)


def log_study(study: Path) -> None:
    """Every run of a study that has ended, with all that it left."""
    for folder in sorted((study / "runs").iterdir()):
        spec = RunSpec.read(folder)
        result = RunResult.read(spec.folder)
        if result is None:
            continue
        lines = spec.folder.metrics.read_text().splitlines() if spec.folder.metrics.exists() else []
        ended = {name: getattr(result, name) for name in ("status", "error", "steps", "seconds")}
        log_run(
            spec.run_id,
            [json.loads(line) for line in lines],
            {**spec.config, "params": dict(spec.params), "trial": spec.trial, "fingerprint": spec.fingerprint},
            {key: value for key, value in {**result.metrics, **ended}.items() if value is not None},
            files=folder,
            exit_code=0 if result.status == "completed" else 1,
            id=wandb_id(spec),
            group=spec.study,
            tags=[spec.method],
        )


def asked(server: WandbServer) -> dict[str, int]:
    """How many requests there were of each kind, without those of the client's own start."""
    kinds = [
        what for _, what in server.requests if what in ("Runs", "RunParquetHistory", "HistoryPage", "RunFiles", "files")
    ]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def forget(server: WandbServer) -> None:
    """Count anew."""
    server.requests.clear()
