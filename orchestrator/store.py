"""The folder of a study: every file name in it, and who may work in it.

    outputs/<study>/  study.yaml  command.txt  table.csv  table.md  study.log  lease  runs/<run_id>/…

The run folders are the truth: a study is known from its specs and results alone.
"""

import contextlib
import dataclasses
import fcntl
import math
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO

import psutil
import yaml
from pydantic import AfterValidator, Field, TypeAdapter
from yaml import CSafeDumper, CSafeLoader

from orchestrator.errors import NoStudy, StudyHeld
from orchestrator.wording import one_line
from trainers.files import read_json, write_json, write_whole
from trainers.spec import RunFolder, RunResult, RunSpec

# A run's metrics, log and adapter; checkpoints of a big model ask for more, which nobody can foresee to the byte.
BYTES_A_RUN = 2 << 20
LEASE_BEAT_S = 5.0
# A controller on another machine that has not been heard of for so long is taken for dead.
LEASE_STALE_S = 60.0
# Where the file system knows no locks: how long two that come at once need to see each other.
_SETTLE_S = 1.0


def _distinct(names: Sequence[str]) -> Sequence[str]:
    if len(set(names)) < len(names):
        raise ValueError("a run is listed twice")
    return names


@dataclass(frozen=True)
class StudyRecord:
    """What study.yaml says: all that resume needs besides the runs' own specs."""

    name: str
    identity: str
    command: str
    created: str
    # The swept keys and their values, without the seed; which of them a trial has, its runs' specs say.
    space: Mapping[str, Sequence[Any]]
    settings: Mapping[str, Any]
    # Which configs it was composed from: -cn and -cd.
    source: Mapping[str, Any]
    runs: Annotated[Sequence[Annotated[str, Field(pattern=r"^t\d+-s\d+-[0-9a-f]{8}$")]], AfterValidator(_distinct)]
    data: Mapping[str, Any]
    # What comes before the runs and is no run of a trial.
    steps: Sequence[Annotated[str, Field(pattern=r"^reference-[0-9a-f]{8}$")]] = dataclasses.field(default_factory=list)
    # Memory that the largest run takes, None where no model's size is known.
    run_bytes: int | None = None
    # Of a search, whose runs are made on the way: what it was asked for (`search_plan.SearchPlan.record`).
    search: Mapping[str, Any] | None = None
    # How many trials there are. None in older records, whose trials are all combinations of the space.
    trials: int | None = None


def _combinations(record: StudyRecord) -> int:
    return math.prod(len(values) for values in record.space.values())


# Checks types as it reads, which the dataclass alone does not.
_RECORD = TypeAdapter(StudyRecord)


@dataclass(frozen=True)
class StudyFolder:
    """Where everything of a study lies."""

    root: Path

    @property
    def yaml(self) -> Path:
        """Written last when a study is made: a folder without it is not a study yet."""
        return self.root / "study.yaml"

    @property
    def command(self) -> Path:
        """The commands that worked on the study, one a line."""
        return self.root / "command.txt"

    @property
    def table_csv(self) -> Path:
        """The comparison table, for programs."""
        return self.root / "table.csv"

    @property
    def table_md(self) -> Path:
        """The comparison table, for people."""
        return self.root / "table.md"

    @property
    def log(self) -> Path:
        """What happened when, a line an event."""
        return self.root / "study.log"

    @property
    def lease(self) -> Path:
        """Who works on the study: host, process, last heartbeat."""
        return self.root / "lease"

    @property
    def lock(self) -> Path:
        """Locked by the controller through the kernel, which forgets it with the process."""
        return self.root / "lock"

    @property
    def cancel(self) -> Path:
        """Its presence asks the controller to stop."""
        return self.root / "cancel"

    @property
    def clock(self) -> Path:
        """JSON: how many seconds controllers have worked on the study."""
        return self.root / "clock.json"

    def run(self, run_id: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / run_id

    def record(self) -> StudyRecord | None:
        """None where there is no study. Raises NoStudy where study.yaml is not one of ours."""
        try:
            return _RECORD.validate_python(yaml.load(self.yaml.read_bytes(), Loader=CSafeLoader))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (TypeError, ValueError, RecursionError, OSError, yaml.YAMLError) as error:
            raise NoStudy(f"{self.yaml} is damaged, or of another program: {one_line(str(error))}") from None

    def create(self, record: StudyRecord, specs: Sequence[RunSpec]) -> None:
        """Write every spec, then study.yaml: killed before that, the same command simply does it again."""
        self.write_specs(specs)
        self.rewrite(record)

    def rewrite(self, record: StudyRecord) -> None:
        """Change what study.yaml says; only for who holds the study."""
        write_whole(self.yaml, yaml.dump(dataclasses.asdict(record), Dumper=CSafeDumper, sort_keys=False, width=120))

    def write_specs(self, specs: Sequence[RunSpec]) -> None:
        """Write those that are missing: one that is there stays as it was submitted."""
        for spec in specs:
            if not spec.folder.spec.exists():
                spec.run_dir.mkdir(parents=True, exist_ok=True)
                spec.write()

    def specs(self, record: StudyRecord) -> list[RunSpec]:
        """The runs of the study, of a search those made so far. Raises NoStudy where a spec is gone."""
        if record.search is not None:
            return self._made()
        try:
            specs = [RunSpec.read(self.run(run_id)) for run_id in record.runs]
            trials = _combinations(record) if record.trials is None else record.trials
            if {spec.trial for spec in specs} != set(range(trials)) and specs:
                raise ValueError(f"study.yaml has {trials} trials, and the runs' specs others")
            return specs
        except (OSError, TypeError, ValueError) as error:
            raise NoStudy(
                f"{one_line(str(error))}: run the study's command again, which is in {self.command}"
            ) from None

    def _made(self) -> list[RunSpec]:
        """Every run that has a spec; a folder without one was left by a kill, and its trial is made again."""
        found = []
        for path in sorted((self.root / "runs").glob("t*/spec.json")):
            with contextlib.suppress(OSError, TypeError, ValueError):
                found.append(RunSpec.read(path.parent))
        return sorted(found, key=lambda spec: (spec.trial, spec.seed))

    def steps(self, record: StudyRecord) -> list[RunSpec]:
        """The steps that come before its runs; one whose spec is gone is left out, because runs do without."""
        found = []
        for step_id in record.steps:
            with contextlib.suppress(OSError):
                found.append(RunSpec.read(self.run(step_id)))
        return found

    def has_room(self) -> bool:
        """Whether another run may be started: on a full disk each would fail, one after another."""
        try:
            return shutil.disk_usage(self.root).free >= BYTES_A_RUN
        except OSError:
            return True  # whatever it is, the run will tell

    def result(self, run_id: str) -> RunResult | None:
        """How a run ended, or None."""
        return RunResult.read(RunFolder(self.run(run_id)))

    def results(self, specs: Sequence[RunSpec]) -> dict[str, RunResult]:
        """How those of these runs ended that have, by run id."""
        found = {spec.run_id: self.result(spec.run_id) for spec in specs}
        return {run_id: result for run_id, result in found.items() if result is not None}


def open_study(root: Path) -> tuple[StudyFolder, StudyRecord]:
    """The study in a folder. Raises NoStudy where there is none."""
    folder = StudyFolder(root.resolve())
    record = folder.record()
    if record is None:
        raise NoStudy(f"{root} is not the folder of a study: it has no study.yaml")
    return folder, record


@dataclass(frozen=True)
class _Lease:
    host: str
    pid: int
    # When the process began, in Unix seconds: its number may be given to another later.
    started: float


def _read_lease(folder: StudyFolder) -> _Lease | None:
    match read_json(folder.lease):
        case {"host": str(host), "pid": int(pid), "started": float(started)}:
            return _Lease(host, pid, started)
    return None


@contextlib.contextmanager
def held(folder: StudyFolder) -> Iterator[Callable[[], bool]]:
    """Hold the study as its one controller; gives what tells whether it still does. Raises StudyHeld.

    Two guards: a kernel lock, which a killed controller cannot leave behind, and a lease with a heartbeat, for
    controllers on machines that share the folder over a network file system without locks.
    """
    folder.root.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("a+") as lock:
        locked = _lock(lock, folder)
        _refuse_living_lease(folder)
        # From here on a cancel is meant for this controller.
        folder.cancel.unlink(missing_ok=True)
        me = psutil.Process()
        lease = _Lease(socket.gethostname(), me.pid, me.create_time())
        _beat(folder, lease)
        if not locked:
            time.sleep(_SETTLE_S)  # of two that came at once, the later writer holds the lease
            _refuse_living_lease(folder, but=lease)
        stop = threading.Event()
        thread = threading.Thread(target=_keep_beating, args=(folder, lease, stop), name="lease", daemon=True)
        thread.start()
        try:
            yield lambda: _read_lease(folder) in (lease, None)
        finally:
            stop.set()
            thread.join()
            if _read_lease(folder) == lease:
                folder.lease.unlink(missing_ok=True)


def holder(folder: StudyFolder) -> str | None:
    """Who works on the study now, as "process 123 on host", or None."""
    lease = _read_lease(folder)
    return f"process {lease.pid} on {lease.host}" if lease is not None and _alive(folder, lease) else None


def _lock(lock: TextIO, folder: StudyFolder) -> bool:
    """Whether the file system knows locks. Raises StudyHeld where another has this one."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = holder(folder) or "another controller"
        raise StudyHeld(f"{folder.root} is held by {who}: wait for it, or stop it with cancel") from None
    except OSError:
        return False  # the lease alone guards
    return True


def _refuse_living_lease(folder: StudyFolder, but: _Lease | None = None) -> None:
    who = holder(folder)
    if who is not None and _read_lease(folder) != but:
        raise StudyHeld(f"{folder.root} is held by {who}: wait for it, or stop it with cancel")


def _alive(folder: StudyFolder, lease: _Lease) -> bool:
    if lease.host == socket.gethostname():
        try:
            return bool(abs(psutil.Process(lease.pid).create_time() - lease.started) < 1)
        except (psutil.Error, ValueError):
            return False
    return _age_s(folder) < LEASE_STALE_S


def _age_s(folder: StudyFolder) -> float:
    """Seconds since the last heartbeat by the file system's own clock, which hosts share when their clocks differ."""
    probe = folder.root / f".clock.{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime - folder.lease.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    except OSError:
        return time.time() - folder.lease.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _beat(folder: StudyFolder, lease: _Lease) -> None:
    write_json(folder.lease, dataclasses.asdict(lease), durable=False)


def _keep_beating(folder: StudyFolder, lease: _Lease, stop: threading.Event) -> None:
    while not stop.wait(LEASE_BEAT_S):
        # One that slept too long may have lost its lease to another, which it must not overwrite.
        if _read_lease(folder) in (lease, None):
            with contextlib.suppress(OSError):  # a full disk must not end the study
                _beat(folder, lease)
