"""Weights & Biases, told from inside the run: metrics, config, group and files; a view of the run, never its truth.

Everything that talks to W&B does so in a thread of its own, so that a slow, full or dead server costs the run nothing
but a bounded wait, which may be put off until the run's result is on disk. What goes wrong is said once on stderr.
"""

import contextlib
import hashlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from trainers.config import RunConfig, Tracking
from trainers.spec import RunSpec
from trainers.wandb_key import has_key, host, without_key

Mode = Literal["online", "offline", "disabled"]
_WISHES: Mapping[str, Mode] = {
    "online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled",
}  # fmt: skip

# Seconds: until a server that does not answer is given up, and for it to take the last metrics at the end.
INIT_TIMEOUT_S = 15
FINISH_TIMEOUT_S = 15
# Only a run shorter than W&B's start waits for its address, and its result must not wait long.
URL_PATIENCE_S = 3

# Does a thing now or later.
Doer = Callable[[Callable[[], None]], None]


def _now(work: Callable[[], None]) -> None:
    work()


class Tracker:
    """Takes metrics and files; this one forgets them."""

    def url(self) -> str | None:
        """Where the run can be looked at, if anywhere."""
        return None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics of an optimiser step, which must not go down from call to call."""

    def sum_up(self, values: Mapping[str, float | str | None]) -> None:
        """What the run came to; a value that is told again takes the place of the earlier one."""

    def keep(self, folder: Path, root: Path) -> None:
        """The files in a folder, each under its path below `root`; they must stay as they are until the run's end."""


@contextlib.contextmanager
def start(spec: RunSpec, config: RunConfig, afterwards: Doer = _now) -> Iterator[Tracker]:
    """A tracker for the time of a run. Never raises of its own, never asks anybody, never waits for a server.

    At the end `afterwards` is given what does wait for one, at most `INIT_TIMEOUT_S + FINISH_TIMEOUT_S` and a little.
    """
    mode = resolve_mode(config.tracking)
    if mode == "disabled":
        yield Tracker()
        return
    tracker = _Wandb(spec, config.tracking, mode)
    try:
        yield tracker
    except Exception:
        tracker.sum_up({"status": "failed"})
        afterwards(lambda: tracker.finish(1))
        raise
    except BaseException:
        # The process is being ended, and may be killed soon.
        tracker.finish(1, patience_s=5)
        raise
    else:
        afterwards(lambda: tracker.finish(0))


def resolve_mode(tracking: Tracking) -> Mode:
    """`tracking.mode`, where auto is WANDB_MODE if that is set, else online if a key is there, else offline.

    Online without a key is offline too: W&B would ask for one.
    """
    mode: Mode | None = _WISHES.get(os.environ.get("WANDB_MODE", "")) if tracking.mode == "auto" else tracking.mode
    if mode in ("disabled", "offline"):
        return mode
    if has_key(host(tracking.base_url)):
        return "online"
    if mode == "online":
        _say(f"no key for {host(tracking.base_url)} (WANDB_API_KEY, or `wandb login`): the run is tracked offline")
    return "offline"


def missing_key(tracking: Tracking) -> list[str]:
    """A fault where tracking=online has no key, or its address carries a password, which would be written to files."""
    faults = []
    if tracking.mode == "online" and not has_key(host(tracking.base_url)):
        faults.append(
            f"tracking=online: no key for {urlsplit(host(tracking.base_url)).hostname}: set WANDB_API_KEY, "
            "use `wandb login`, or track with tracking=offline"
        )
    if tracking.base_url and urlsplit(tracking.base_url).username is not None:
        faults.append("tracking.base_url: leave user and password out of it; WANDB_API_KEY is for the key")
    return faults


def wandb_id(spec: RunSpec) -> str:
    """The run's id at W&B, the same at every attempt, so that a run that goes on later is one run there."""
    return spec.tracking_id or hashlib.sha256(f"{spec.study}/{spec.run_id}".encode()).hexdigest()[:16]


class _Wandb(Tracker):
    def __init__(self, spec: RunSpec, tracking: Tracking, mode: Mode) -> None:
        # What to do with W&B's run; a number ends it, with that exit code.
        self._told: queue.SimpleQueue[Callable[[Any], None] | int] = queue.SimpleQueue()
        self._url: str | None = None
        self._begun = threading.Event()
        if mode == "offline":
            self._begun.set()
        self._thread = threading.Thread(target=self._work, args=(spec, tracking, mode), name="tracking", daemon=True)
        self._thread.start()

    def url(self) -> str | None:
        """The run's page; waits a moment for W&B to tell it."""
        self._begun.wait(URL_PATIENCE_S)
        return self._url

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if values:
            known = dict(values)
            self._told.put(lambda run: run.log(known, step=step))

    def sum_up(self, values: Mapping[str, float | str | None]) -> None:
        known = dict(values)
        self._told.put(lambda run: run.summary.update(known))

    def keep(self, folder: Path, root: Path) -> None:
        self._told.put(lambda run: _keep(run, folder, root))

    def finish(self, exit_code: int, patience_s: float = INIT_TIMEOUT_S + FINISH_TIMEOUT_S + 5) -> None:
        """Let the thread tell the rest, and wait for it, at most so long."""
        self._told.put(exit_code)
        self._thread.join(patience_s)
        if self._thread.is_alive():
            _say("W&B does not answer; what it has not got lies in the run's wandb/ folder")

    def _work(self, spec: RunSpec, tracking: Tracking, mode: Mode) -> None:
        try:
            run = self._begin(spec, tracking, mode)
            while not isinstance(told := self._told.get(), int):
                told(run)
            run.finish(exit_code=told)
        except BaseException as error:
            _say(f"{_described(error)}; the run goes on without tracking")
            _end_service()

    def _begin(self, spec: RunSpec, tracking: Tracking, mode: Mode) -> Any:
        try:
            run = _init(spec, tracking, mode)
        except Exception as error:
            self._begun.set()
            if mode == "offline":
                raise
            _say(f"{_described(error)}; the run is tracked offline")
            _end_service()
            return _init(spec, tracking, "offline")
        self._url = run.url if mode == "online" else None
        self._begun.set()
        return run


def _init(spec: RunSpec, tracking: Tracking, mode: Mode) -> Any:
    # W&B's reports on its own errors would keep a process up to 20 s from ending where the server does not answer.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # The setting below is heeded by the run alone, not by what the client says before it and of files.
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb.init(
        project=tracking.project,
        entity=tracking.entity,
        group=spec.study,
        name=spec.run_id,
        id=wandb_id(spec),
        resume="allow",
        tags=[spec.method],
        config={**spec.config, "params": dict(spec.params), "trial": spec.trial, "fingerprint": spec.fingerprint},
        dir=str(spec.folder.tracking),
        # The key stays where the user put it: settings are written to files, the environment and .netrc are not.
        settings=wandb.Settings(
            mode=mode,
            # One process may carry out several runs.
            reinit="create_new",
            silent=True,
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
            # Neither the user's code nor the machine is anybody's business, and finding out takes time.
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_viewer=True,
            x_save_requirements=False,
            # Files are hard links, or copies: a folder that is moved before it is sent up has them still.
            symlink=False,
            **({"base_url": tracking.base_url} if tracking.base_url else {}),
        ),
    )


def _keep(run: Any, folder: Path, root: Path) -> None:
    """Have the folder's files uploaded, or lie beside an offline run until it is; what goes wrong is said."""
    try:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            run.save(str(path), base_path=str(root), policy="now", glob=False)
    except Exception as error:
        _say(f"{_described(error)}: {folder} is not at W&B")


def _end_service() -> None:
    """End W&B's own process, which after a failure may be dead, or hold on to the run's id."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()


def _described(error: BaseException) -> str:
    """The error in one line, without the key, should W&B quote it."""
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {without_key(line)}"


def _say(what: str) -> None:
    print(f"tracking: {what}", file=sys.stderr, flush=True)
