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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any

import psutil

NODES = (1, 2)
PACKAGES = ("slurmctld", "slurmd", "slurmdbd", "slurm-client", "munge", "mariadb-server")
PROGRAMS = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "sacct": "slurm-client",
}
# Daemons are where a user's PATH does not always go.
_SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
# By this variable a cluster's daemons are told from everybody else's.
_MARK = "SLURM_TEST_CLUSTER"
_PATIENCE_S = 30.0

_SLURM_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmctldPidFile={home}/slurmctld.pid
SlurmctldLogFile={home}/slurmctld.log
StateSaveLocation={home}/state
SlurmdPidFile={home}/%n.pid
SlurmdLogFile={home}/%n.log
SlurmdSpoolDir={home}/%n
SlurmUser=root
AuthType=auth/munge
# A requeued job may not start before its old credential has expired: five seconds is the least that Slurm accepts.
AuthInfo=socket={home}/munge.socket,cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
# Without it a preempted job gets SIGTERM instead of what it asked for with --signal.
SlurmctldParameters=preempt_send_user_signal
# Nodes may claim more than the machine has.
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
# A node is down when it has let two pings pass, which takes twenty seconds.
SlurmdTimeout=5
MessageTimeout=7
InactiveLimit=0
MinJobAge=300
MaxArraySize={max_array_size}
MaxJobCount=1000
FirstJobId=1
ReturnToService=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStoragePass={home}/munge.socket
JobAcctGatherType=jobacct_gather/none
JobAcctGatherFrequency=0
JobCompType=jobcomp/none
GresTypes=gpu
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={node1_port} CPUs=4 RealMemory=8000 Gres=gpu:2
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={node2_port} CPUs=4 RealMemory=8000 Gres=gpu:2
PartitionName=DEFAULT Nodes=node[1-2] DefaultTime=60 MaxTime=INFINITE State=UP
PartitionName=main Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace_s}
PartitionName=high PriorityTier=10 PreemptMode=OFF
PartitionName=brief PriorityTier=1 PreemptMode=OFF DefaultTime=1 MaxTime=1
"""

# Any character devices do, and these exist in every container.
_GRES_CONF = """\
AutoDetect=off
NodeName=node[1-2] Name=gpu File=/dev/zero
NodeName=node[1-2] Name=gpu File=/dev/full
"""

_SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
DbdHost=localhost
DbdPort={accounting_port}
SlurmUser=root
LogFile={home}/slurmdbd.log
PidFile={home}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""


def packages_missing() -> list[str]:
    """Debian packages of the programs that are not on PATH."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path=_SEARCHED) is None]
    return list(dict.fromkeys(missing))


def installed() -> bool:
    """Whether a cluster can be brought up here."""
    return not packages_missing()


def install() -> None:
    """Fetch the packages with apt, as root.

    Where apt starts system daemons they may stay: a cluster has sockets, ports and folders of its own.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update"], check=True, env=environment)
    subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES], check=True, env=environment)


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
            [sys.executable, __file__, "guard", str(self._home)], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._write_configs()
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
        _kill_all(self._home)
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

    def _write_configs(self) -> None:
        ports = _free_ports(4)
        self._node_ports = dict(zip(NODES, ports[2:], strict=True))
        values = {
            "name": self._home.parent.name,
            "host": socket.gethostname().partition(".")[0],
            "home": self._home,
            "max_array_size": self._max_array_size,
            "grace_s": self._grace_s,
            "controller_port": ports[0],
            "accounting_port": ports[1],
            "node1_port": ports[2],
            "node2_port": ports[3],
        }
        for name, template in (("slurm", _SLURM_CONF), ("slurmdbd", _SLURMDBD_CONF), ("gres", _GRES_CONF)):
            path = self.root / f"{name}.conf"
            path.touch(mode=0o600 if name == "slurmdbd" else 0o644)  # slurmdbd insists
            path.write_text(template.format(**values))
        for folder in ("state", "tmp", *(f"node{node}" for node in NODES)):
            (self.root / folder).mkdir()
        key = self.root / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))

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
                env={**os.environ, _MARK: str(self._home)},
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
            _kill(self.job_processes(node))

    def revive_node(self, node: int) -> None:
        """The node is back, and takes jobs. One that comes back before Slurm noticed loses its jobs a minute later."""
        self._start_node(node)
        self._wait_for(f"node{node}", partial(self._resume, node))

    def stop_controller(self) -> None:
        """slurmctld is killed: sbatch, squeue and scancel fail after 9 s; jobs go on. It forgets its last 5 s."""
        self._kill("slurmctld")

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
        return _job_processes(self._home, node)

    # Daemons

    def _start_node(self, node: int) -> None:
        self._spawn("slurmd", "-D", "-N", f"node{node}", name=f"node{node}")
        self._wait_for(f"node{node}", partial(_listens, self._node_ports[node]))

    def _spawn(self, program: str, *arguments: str, name: str = "", **environment: str) -> None:
        name = name or program
        path = shutil.which(program, path=_SEARCHED)
        assert path is not None
        with (self.root / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._client_environment(), _MARK: str(self._home), **environment},
                start_new_session=True,  # Ctrl-C is for the tests
            )

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        children = psutil.Process(daemon.pid).children() if name == "slurmctld" else []  # slurmscriptd
        daemon.kill()
        daemon.wait()
        _kill(children)

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
        until = time.monotonic() + _PATIENCE_S
        while not come():
            daemon = self._daemons.get(name)
            if time.monotonic() > until or (daemon is not None and daemon.poll() is not None):
                raise RuntimeError(f"{name} does not come up: {self._refused}\n{self._tail(name)}")
            time.sleep(0.05)

    def _tail(self, name: str) -> str:
        logs = [path for path in self.root.glob(f"{name}.*") if path.suffix in (".log", ".out")]
        return "\n".join("\n".join(log.read_text(errors="replace").splitlines()[-20:]) for log in logs)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, below those that the kernel gives to clients."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            port = SystemRandom().randrange(20000, 32000)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                ports.append(port)
    return ports


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _job_processes(home: Path, node: int) -> list[psutil.Process]:
    """What runs for jobs on a node: each slurmstepd, which tells the controller how a job ended, before its job."""
    steps, jobs = [], []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # slurmstepd writes its title over its environment: it is known by the socket that it listens at.
            if process.name() == "slurmstepd":
                if any(str(end.laddr).startswith(f"{home}/node{node}/") for end in process.net_connections("unix")):
                    steps.append(process)
                    jobs += process.children(recursive=True)
                continue
            # A job whose slurmstepd is dead.
            environment = process.environ()
            if environment.get("SLURM_CONF") == f"{home}/slurm.conf":
                jobs += [process] if environment.get("SLURMD_NODENAME") == f"node{node}" else []
    return list(dict.fromkeys([*steps, *jobs]))


def _processes(home: Path) -> list[psutil.Process]:
    """What belongs to a cluster, but its clients."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == str(home):
                found.append(process)
    return found + [process for node in NODES for process in _job_processes(home, node)]


def _kill(processes: Sequence[psutil.Process]) -> None:
    """Kill them, and wait until none of them runs."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    until = time.monotonic() + _PATIENCE_S
    while left := [process for process in processes if _runs(process)]:
        if time.monotonic() > until:
            raise RuntimeError(f"cannot be killed: {left}")
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    # A zombie is dead, though whoever is to take note of it may be slow to.
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _kill_all(home: Path) -> None:
    """Kill what belongs to a cluster, and what that starts while it is being killed."""
    while processes := [process for process in _processes(home) if _runs(process)]:
        _kill(processes)


def _guard(home: Path) -> None:
    """Wait until the owner closes its end, or dies; then nothing of its cluster is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.read()
    _kill_all(home)
    shutil.rmtree(home.parent, ignore_errors=True)


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
    commands.add_parser("guard").add_argument("dir", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "install":
        install()
    elif arguments.command == "check":
        missing = packages_missing()
        if missing:
            print(f"missing packages: {' '.join(missing)}")
        return 1 if missing else 0
    elif arguments.command == "up":
        _stay_up(arguments.dir)
    else:
        _guard(arguments.dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())
