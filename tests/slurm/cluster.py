"""A real Slurm cluster on this one machine, two nodes and accounting, for the tests of what talks to Slurm.

    with Cluster(tmp_path / "slurm") as cluster:
        cluster.run("sbatch", "--wrap", "hostname")        # a client's environment is `cluster.environment`
        cluster.kill_node(1)                               # jobs there end as NODE_FAIL, or are requeued
        cluster.sacct("--format=JobID,State")

Nothing is pretended: these are Slurm's own daemons, with short time-outs, and character devices for GPUs. It needs root
and Debian's packages: `python -m tests.slurm.cluster install` fetches them, `check` says which are missing, and
`up DIR` keeps a cluster until Ctrl-C.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.slurm import cluster_config, processes
from tests.slurm.packages import SEARCHED, install, packages_missing
from tests.slurm.processes import MARK, NODES, PATIENCE_S, job_processes, kill, kill_all


class Cluster:
    """Two nodes of 4 CPUs and 2 GPUs each; partitions main (preempted by high), high, and brief (a minute at most).

    All that it makes lies under `root`. It ends with the process that started it, however that ends.
    """

    def __init__(self, root: Path, max_array_size: int = 11, grace_s: int = 10) -> None:
        """`grace_s` is how long a job in main goes on once it is preempted."""
        self.root = root.absolute()
        self._max_array_size, self._grace_s = max_array_size, grace_s
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._home = self.root
        self._refused = ""
        self._node_ports: dict[int, int] = {}

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment has to hold."""
        return {"SLURM_CONF": str(self._home / "slurm.conf")}

    # Up and down

    def start(self) -> None:
        """Bring it up; RuntimeError, with the end of its log, where a daemon does not come up."""
        if os.geteuid() != 0:
            raise RuntimeError("only root can run slurmd for others")
        if missing := packages_missing():
            raise RuntimeError(f"missing packages: {' '.join(missing)}")
        self.root.mkdir(parents=True, exist_ok=True)
        # Paths of sockets may have 107 characters, and pytest's folders alone can be as long: a short name for root.
        self._home = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")) / "c"
        self._home.symlink_to(self.root, target_is_directory=True)
        # Kills what we started when its standard input closes, be it by stop() or because we are dead.
        self._guard = subprocess.Popen(
            [sys.executable, processes.__file__, str(self._home)], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._node_ports = cluster_config.write(self.root, self._home, self._max_array_size, self._grace_s)
        self._spawn(
            "munged",
            "--foreground",
            "--force",  # root's parents may be anybody's
            f"--key-file={self._home}/munge.key",
            f"--socket={self._home}/munge.socket",
            f"--pid-file={self._home}/munge.pid",
            f"--log-file={self._home}/munged.log",
            f"--seed-file={self._home}/munge.seed",
        )
        self._start_database()
        self.start_accounting()
        self.run("sacctmgr", "--immediate", "add", "cluster", self._home.parent.name)
        self.run("sacctmgr", "--immediate", "add", "account", "lab")
        self.run("sacctmgr", "--immediate", "add", "user", "root", "account=lab")
        for node in NODES:
            self._start_node(node)
        self.start_controller()
        self.wait_ready()

    def stop(self) -> None:
        """Kill the daemons and all jobs; only files are left."""
        if self._guard is None:
            return
        kill_all(self._home)
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        self._guard = None

    def wait_ready(self) -> None:
        """Until both nodes take jobs."""
        for node in NODES:
            self._wait_for(f"node{node}", partial(self._resume, node))

    def _start_database(self) -> None:
        # What is here is soon thrown away: small files, and no waiting for the disk.
        options = [
            "--no-defaults",
            "--user=root",
            f"--datadir={self._home}/mariadb",
            f"--tmpdir={self._home}/tmp",  # a server that starts removes what others have in theirs
            "--innodb-log-file-size=4M",
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--innodb-fast-shutdown=2",
            "--skip-log-bin",
        ]
        with (self.root / "mariadb-install-db.log").open("wb") as log:
            failed = subprocess.call(
                ["mariadb-install-db", *options, "--auth-root-authentication-method=normal", "--skip-test-db"],
                stdout=log,
                stderr=log,
                env={**os.environ, MARK: str(self._home)},
            )
        if failed:
            raise RuntimeError(f"mariadb-install-db failed:\n{self._tail('mariadb-install-db')}")
        self._spawn("mariadbd", *options, "--skip-networking", f"--socket={self._home}/mariadb.socket")
        self._wait_for("mariadbd", lambda: (self.root / "mariadb.socket").exists())

    # Clients

    def run(self, *command: str) -> str:
        """What a command prints, run as a user of this cluster."""
        done = subprocess.run(
            command, env=self._client_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def sacct(self, *arguments: str) -> list[list[str]]:
        """The lines that sacct prints, split into their fields."""
        told = self.run("sacct", "--parsable2", "--noheader", *arguments)
        return [line.split("|") for line in told.splitlines()]

    def cancel_all(self) -> None:
        """Cancel all jobs, and wait until they are gone."""
        self.run("scancel", "--user=root")
        self._wait_for("slurmctld", lambda: not self.run("squeue", "--noheader"))

    def _client_environment(self) -> dict[str, str]:
        # Of a cluster that the tests may themselves run on, nothing.
        rest = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SACCT"))}
        return {**rest, **self.environment}

    # Faults

    def kill_node(self, node: int, *, leave_processes: bool = False) -> None:
        """The node dies, as Slurm finds in 20 s; with `leave_processes` it is only cut off, and its jobs go on."""
        self._kill(f"node{node}")
        if not leave_processes:
            kill(self.job_processes(node))

    def revive_node(self, node: int) -> None:
        """The node is back, and takes jobs. One that comes back before Slurm noticed loses its jobs a minute later."""
        self._start_node(node)
        self._wait_for(f"node{node}", partial(self._resume, node))

    def stop_controller(self) -> None:
        """slurmctld is killed: sbatch, squeue and scancel fail after 9 s; jobs go on. It forgets its last 5 s."""
        self._kill("slurmctld")

    @contextlib.contextmanager
    def without_controller(self) -> Iterator[None]:
        """slurmctld is down meanwhile."""
        self.stop_controller()
        yield
        self.start_controller()
        self.wait_ready()

    def start_controller(self) -> None:
        """slurmctld is back, with the jobs that it had written down."""
        self._spawn("slurmctld", "-D")
        self._wait_for("slurmctld", lambda: self._succeeds("scontrol", "ping"))

    def stop_accounting(self) -> None:
        """slurmdbd is killed: sacct fails, all else goes on."""
        self._kill("slurmdbd")

    def start_accounting(self) -> None:
        """slurmdbd is back; what happened meanwhile is told it by slurmctld."""
        # The client library asks for the socket's path nowhere but here.
        self._spawn("slurmdbd", "-D", MYSQL_UNIX_PORT=str(self._home / "mariadb.socket"))
        self._wait_for("slurmdbd", lambda: self._succeeds("sacctmgr", "--noheader", "list", "cluster"))

    def job_processes(self, node: int) -> list[psutil.Process]:
        """What runs for jobs on a node, slurmstepd included."""
        return job_processes(self._home, node)

    # Daemons

    def _start_node(self, node: int) -> None:
        self._spawn("slurmd", "-D", "-N", f"node{node}", name=f"node{node}")
        self._wait_for(f"node{node}", partial(_listens, self._node_ports[node]))

    def _spawn(self, program: str, *arguments: str, name: str = "", **environment: str) -> None:
        name = name or program
        path = shutil.which(program, path=SEARCHED)
        assert path is not None
        with (self.root / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._client_environment(), MARK: str(self._home), **environment},
                start_new_session=True,  # Ctrl-C is for the tests
            )

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        children = psutil.Process(daemon.pid).children() if name == "slurmctld" else []  # slurmscriptd
        daemon.kill()
        daemon.wait()
        kill(children)

    def _resume(self, node: int) -> bool:
        """Whether the node takes jobs; if it has been taken out of service, it is put back."""
        state = self.run("sinfo", "--noheader", "--nodes", f"node{node}", "--partition=main", "--format=%T").strip()
        if state.rstrip("*") in ("down", "drained", "draining"):
            self._succeeds("scontrol", "update", f"nodename=node{node}", "state=resume")
        return state in ("idle", "mixed", "allocated", "completing")

    def _succeeds(self, *command: str) -> bool:
        try:
            self.run(*command)
        except RuntimeError as error:
            self._refused = str(error)
            return False
        return True

    def _wait_for(self, name: str, come: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not come():
            daemon = self._daemons.get(name)
            if time.monotonic() > until or (daemon is not None and daemon.poll() is not None):
                raise RuntimeError(f"{name} does not come up: {self._refused}\n{self._tail(name)}")
            time.sleep(0.05)

    def _tail(self, name: str) -> str:
        logs = [path for path in self.root.glob(f"{name}.*") if path.suffix in (".log", ".out")]
        return "\n".join("\n".join(log.read_text(errors="replace").splitlines()[-20:]) for log in logs)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _stay_up(root: Path) -> None:
    def leave(*_signal: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    with contextlib.suppress(KeyboardInterrupt), Cluster(root) as cluster:
        for name, value in cluster.environment.items():
            print(f"export {name}={value}", flush=True)
        while True:
            signal.pause()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.cluster", description="A Slurm cluster for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="fetch the packages")
    commands.add_parser("check", help="say which packages are missing")
    commands.add_parser("up", help="keep a cluster until Ctrl-C").add_argument("dir", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "install":
        install()
    elif arguments.command == "check":
        missing = packages_missing()
        if missing:
            print(f"missing packages: {' '.join(missing)}")
        return 1 if missing else 0
    else:
        _stay_up(arguments.dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())
