"""A study in a real PostgreSQL, started for the test with initdb and pg_ctl, as an ordinary user, on loopback."""

import gc
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.dimensions import Choice, Real
from sweeps.errors import StorageError
from sweeps.make import make_sweeper
from sweeps.optuna_sweeper import OptunaSweeper
from sweeps.samplers import SamplerSettings
from sweeps.space import Part, Space, When
from sweeps.types import Outcome, Trial

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

SPACE = Space(
    {"method": Choice(("dpo", "sft", True, 1)), "lr": Real(1e-6, 1e-3, log=True)},
    conditions=[When({"method": ["dpo"]}, Part({"beta": Real(0.01, 0.5)}))],
    enqueue=[{"method": "dpo", "beta": 0.1}],
)


@dataclass
class Postgres:
    """A server of our own."""

    programs: Path
    folder: Path
    port: int
    user: str | None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://sweeper@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), *words]
        done = subprocess.run(command, user=self.user, group=self.user, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder} -c fsync=off"
        )
        # pg_ctl leaves the server behind, which would hold a pipe open: its words go to a file.
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        missing = "PostgreSQL is not installed (Debian's package postgresql)"
        if os.environ.get("PREFSWEEP_POSTGRES_REQUIRED") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    # PostgreSQL does not run as root; and a socket's path must be short.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Postgres(found[-1].parent, folder, port, user)
    server.run("initdb", "-D", f"{folder}/data", "-U", "sweeper", "-A", "trust", "--no-sync")
    server.start()
    yield server
    # Connections of controllers that were "killed": here, and not in the middle of whatever test comes next.
    gc.collect()
    server.stop()
    shutil.rmtree(folder)


def test_a_study_goes_on_in_postgres_where_its_controller_was_killed(postgres: Postgres):
    known: list[tuple[Trial, Outcome | None]] = []
    for n_trials in (3, 6, 9):
        sweeper = make_sweeper(
            SPACE, SamplerSettings("tpe", 1, {"n_startup_trials": 3}), n_trials=n_trials, storage=postgres.url
        )
        sweeper.restore(known)
        trials = sweeper.ask(99)
        assert [trial.number for trial in trials] == list(range(n_trials - 3, n_trials))
        endings = [Outcome("complete", (0.5,)), Outcome("pruned", reports={1: 0.25, 2: float("nan")}), Outcome("fail")]
        for trial, outcome in zip(trials, endings, strict=True):
            known.append((trial, outcome))
            # The last one's result is on disk when the controller dies, and untold.
            if outcome.state != "fail":
                sweeper.tell(trial, outcome)
    last = OptunaSweeper(SPACE, SamplerSettings("tpe", 1), storage=postgres.url)
    last.restore(known)
    assert [outcome.state for _, outcome in last.told] == ["complete", "pruned", "fail"] * 3


def test_it_is_the_same_study_for_optunas_own_tools(postgres: Postgres):
    import optuna

    sweeper = OptunaSweeper(SPACE, SamplerSettings("random", 1), storage=postgres.url, study_name="looked at")
    (trial,) = sweeper.ask(1)
    sweeper.tell(trial, Outcome("complete", (0.75,)))
    study = optuna.load_study(study_name="looked at", storage=postgres.url)
    assert study.best_value == 0.75
    assert study.best_params["beta"] == 0.1


def test_a_server_that_goes_away_is_told_and_can_come_back(postgres: Postgres):
    sweeper = OptunaSweeper(SPACE, SamplerSettings("random", 1), storage=postgres.url, study_name="interrupted")
    (trial,) = sweeper.ask(1)
    postgres.stop()
    try:
        with pytest.raises(StorageError, match="cannot be used"):
            sweeper.tell(trial, Outcome("complete", (0.5,)))
        with pytest.raises(StorageError, match="cannot be used"):
            sweeper.ask(1)
    finally:
        postgres.start()
    sweeper.tell(trial, Outcome("complete", (0.5,)))
    assert [trial.number for trial in sweeper.ask(1)] == [1]
