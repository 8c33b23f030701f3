"""Sends runs that were tracked offline up to W&B, by the client's own `wandb sync`, and tells of each how it went.

    python -m orchestrator sync outputs/STUDY

The client ends with code 0 whatever happens, and marks as sent what it could not send: so what it says is read as
well as its marks. It runs in a process of its own, because the controller imports no W&B.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from orchestrator.attempts import is_busy
from orchestrator.errors import NoStudy, OrchestratorError
from orchestrator.exit_codes import COMPLETED, SOME_FAILED
from orchestrator.terminal import tell
from orchestrator.wording import count, one_line
from trainers.files import read_json
from trainers.spec import RunFolder
from trainers.wandb_key import has_key, host, without_key

# The client takes seconds to start, and a server that is not there should not be asked for all of them.
_BATCH, _AT_A_TIME = 25, 4
# Where the folder is a run's, a study's, or one that holds studies.
_RUNS = ("spec.json", "t*/spec.json", "runs/t*/spec.json", "*/runs/t*/spec.json")
_TRIES = "3"
# What the client says of a log whose writer was killed: all that is there has been sent.
_CUT = "ends with an incomplete record"
_SKIPPED = ("while retrying", "Consider increasing", "wandb.init(settings")


@dataclass(frozen=True)
class _Log:
    """One of the client's transaction logs: a run's, or that of one of its attempts."""

    run: Path
    path: Path

    @property
    def tracking_id(self) -> str:
        return self.path.stem.removeprefix("run-")

    @property
    def mark(self) -> Path:
        """The client's own sign that it has been sent."""
        return self.path.with_suffix(".wandb.synced")


def sync(root: Path, console: Console, batch: int = _BATCH) -> int:
    """Send what has not been sent of the runs below `root`, so many logs at a time; the exit code.

    Raises NoStudy where there are no runs, and OrchestratorError where there is no key.
    """
    runs = sorted({path.parent for pattern in _RUNS for path in root.glob(pattern)})
    if not runs:
        raise NoStudy(f"{root} is not the folder of a study, nor of a run, nor holds any: there is no spec.json")
    logs = [log for run in runs for log in _logs(run)]
    waiting = unsent(logs)
    for run in sorted({log.run for log in waiting if is_busy(RunFolder(log.run))}):
        tell(console, f"{run.name}: under way, and left for later", style="yellow")
        waiting = [log for log in waiting if log.run != run]
    sent_before = len({log.run for log in logs} - {log.run for log in unsent(logs)})
    if sent_before:
        tell(console, f"{count(sent_before, 'run')} sent before")
    by_server: dict[str, list[_Log]] = {}
    for log in waiting:
        by_server.setdefault(_server(log.run), []).append(log)
    _refuse_without_key(by_server)
    sent = [_send(server, list(_batches(logs, batch)), console) for server, logs in by_server.items()]
    if not waiting:
        tell(console, "nothing to send" if logs else "no run there was tracked offline")
    return COMPLETED if all(sent) else SOME_FAILED


def offline(root: Path) -> bool:
    """Whether a study has runs that were tracked offline and not sent yet."""
    return bool(unsent([log for run in root.glob("runs/*") for log in _logs(run)]))


def unsent(logs: Sequence[_Log]) -> list[_Log]:
    """Those that the client has not marked."""
    return [log for log in logs if not log.mark.exists()]


def _logs(run: Path) -> list[_Log]:
    """Oldest first, which is the order in which they belong to the run."""
    return [_Log(run, path) for path in sorted(run.glob("wandb/offline-run-*/run-*.wandb"))]


def _server(run: Path) -> str:
    """Where the run would have been tracked."""
    spec: Any = read_json(RunFolder(run).spec)
    try:
        return host(spec["config"]["tracking"]["base_url"])
    except (KeyError, TypeError):
        return host()


def _refuse_without_key(servers: Mapping[str, object]) -> None:
    missing = [_name(server) for server in servers if not has_key(server)]
    if missing:
        raise OrchestratorError(f"no key for {', '.join(missing)}: set WANDB_API_KEY, or use `wandb login`")


def _name(server: str) -> str:
    return urlsplit(server).netloc.rpartition("@")[2]


def _send(server: str, batches: Sequence[Sequence[_Log]], console: Console) -> bool:
    """Whether all of it has been sent to the server; each run is told of."""
    complete = True
    for number, batch in enumerate(batches, 1):
        said, failed = _try(server, batch)
        for run in dict.fromkeys(log.run for log in batch):
            reason = next((failed[log] for log in batch if log.run == run and log in failed), None)
            tell(console, f"{run.name}: {_how(run, batch, reason, said)}", style="red" if reason is not None else "")
        complete = complete and not failed
        if len({log.run for log in failed}) == len({log.run for log in batch}):
            if number < len(batches):
                tell(console, f"{_name(server)} took none of these: the others were not tried", style="red")
            return False
    return complete


def _try(server: str, batch: Sequence[_Log]) -> tuple[str, dict[_Log, str]]:
    """What the client says, and which logs it did not send, and why."""
    said = _client(server, [log.path for log in batch])
    own = {log: reason for log in batch if (reason := _own_failure(log, said)) is not None}
    rest = [log for log in batch if log not in own and not log.mark.exists()]
    if rest and own:
        # One log that it cannot read keeps the client from all that were to go with it.
        more, failed = _try(server, rest)
        return said + more, own | failed
    return said, own | dict.fromkeys(rest, next(iter(_errors(said)), "the client does not say why"))


def _batches(logs: Sequence[_Log], size: int) -> Iterator[list[_Log]]:
    """All logs of a run in one, because the client puts them in order."""
    batch: list[_Log] = []
    for run in dict.fromkeys(log.run for log in logs):
        batch += [log for log in logs if log.run == run]
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _client(server: str, paths: Sequence[Path]) -> str:
    """What the client says while it sends these."""
    command = [sys.executable, "-m", "wandb", "sync", "-n", str(_AT_A_TIME), *map(str, paths)]
    with tempfile.TemporaryDirectory(prefix="prefsweep-sync-") as folder:
        environment = {
            # The client would go on for a quarter of an hour where nobody answers.
            **{f"WANDB__{kind}_RETRY_MAX": _TRIES for kind in ("GRAPHQL", "FILE_STREAM")},
            "WANDB_HTTP_TIMEOUT": "30",
            **os.environ,
            "WANDB_BASE_URL": server,
            "WANDB_DIR": folder,
            "WANDB_ERROR_REPORTING": "false",
            # Its words are what is read here.
            "WANDB_SILENT": "false",
            "WANDB_QUIET": "false",
        }
        environment.pop("WANDB_SERVICE", None)
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            check=False,
        )  # fmt: skip
    return without_key(f"{done.stdout}\n{done.stderr}")


def _errors(said: str) -> list[str]:
    errors = [found.group(1).strip() for found in re.finditer(r"^(?:wandb: ERROR|Error:) (.*)$", said, re.MULTILINE)]
    return [error for error in errors if not error.startswith(_SKIPPED)]


def _own_failure(log: _Log, said: str) -> str | None:
    """Why this one could not be sent, or not wholly. The client's mark is taken back from what it did not send."""
    own = [error for error in _errors(said) if _is_of(error, log)]
    if not own:
        return None
    cut = all(_CUT in error for error in own)
    with contextlib.suppress(OSError):
        # What was cut off will never be more.
        log.mark.touch() if cut else log.mark.unlink(missing_ok=True)
    return None if cut else own[0]


def _is_of(error: str, log: _Log) -> bool:
    """The client names the run as [project/id], or quotes the folder of its log."""
    return f"/{log.tracking_id}]" in error or log.path.parent.name in error


def _how(run: Path, batch: Sequence[_Log], reason: str | None, said: str) -> str:
    if reason is not None:
        return f"not sent: {one_line(reason)}"
    own = [log for log in batch if log.run == run]
    cut = any(_CUT in line and log.path.parent.name in line for line in said.splitlines() for log in own)
    names = "|".join({re.escape(log.tracking_id) for log in own})
    at = re.search(rf"/(?:{names})\] View run .* at (\S+)", said)
    return f"sent{f' to {at.group(1)}' if at else ''}{', as far as it goes: its end was cut off' if cut else ''}"
