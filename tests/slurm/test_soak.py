"""Sixty short runs, and a fault every few seconds: nothing is lost, and nothing done twice."""

import contextlib
import random
import subprocess
import time
from collections.abc import Callable

import psutil

from tests.slurm.conftest import OnCluster
from trainers.spec import RunSpec

RUNS = 60


def test_nothing_is_lost_and_nothing_is_done_twice(on_cluster: OnCluster):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # How often a run may be hurt is not what is tested here.
    many = ",".join(f"{cause}:50" for cause in ("node_failure", "preempted", "time_limit", "out_of_memory", "killed"))
    words = [
        *("launcher.max_submitted=12", f"launcher.retries={{{many},disk_full:50,lost:50}}"),
        *("launcher.bad_node_after=null", "-m", f"beta=range(1,{RUNS // 2 + 1})", "seed=0,1"),
    ]
    faults = Faults(on_cluster, chance)
    process = on_cluster.sweep(*words, steps=20)
    over_at = time.monotonic() + 150
    give_up_at = time.monotonic() + 600
    while on_cluster.completed().total() < RUNS:
        assert time.monotonic() < give_up_at, on_cluster.tell()
        time.sleep(chance.uniform(1, 4))
        if process.poll() is not None:  # killed by a fault
            process.communicate()
            process = on_cluster.sweep(*words, steps=20)
        if time.monotonic() < over_at:
            faults.one(process)
        else:
            faults.mend()
    on_cluster.finish(process)
    code, text = on_cluster.finish(on_cluster.start("resume", str(on_cluster.study)))
    assert code == 0, f"seed {seed}\n{text}\n{faults.done}\n{on_cluster.tell()}"
    print(faults.done)
    on_cluster.each_completed_once(RUNS)


class Faults:
    """What goes wrong, one thing after another."""

    def __init__(self, on_cluster: OnCluster, chance: random.Random) -> None:
        self._on, self._chance = on_cluster, chance
        self.done: list[str] = []
        self._dead: int | None = None
        self._dead_since = 0.0

    def one(self, controller: subprocess.Popen[str]) -> None:
        """Do one of them; what was broken long enough is mended first."""
        if self._dead is not None and time.monotonic() - self._dead_since > 25:
            self.mend()
        faults: list[Callable[[], None]] = [
            self._requeue,
            self._requeue,
            self._kill_run,
            self._kill_run,
            self._kill_job,
            self._signal,
            self._node,
            self._slurmctld,
            self._accounting,
            controller.kill,
        ]
        self._undrain()
        fault = self._chance.choice(faults)
        self.done.append(fault.__name__)
        # Between the choice and the deed a run may end.
        with contextlib.suppress(RuntimeError, psutil.Error, subprocess.SubprocessError, IndexError):
            fault()

    def _undrain(self) -> None:
        """What an administrator does after slurmctld has crashed: it drains nodes whose jobs it does not know."""
        for node in {1, 2} - {self._dead}:
            with contextlib.suppress(RuntimeError):
                self._on.cluster.run("scontrol", "update", f"nodename=node{node}", "state=resume")

    def mend(self) -> None:
        """The node that died comes back."""
        self._undrain()
        if self._dead is not None:
            self._on.cluster.revive_node(self._dead)
            self._dead = None

    def _running(self) -> str:
        told = self._on.cluster.run("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i").split()
        return self._chance.choice(told)

    def _requeue(self) -> None:
        self._on.cluster.run("scontrol", "requeue", self._running())

    def _kill_job(self) -> None:
        self._on.process_of_job(self._begun()).kill()

    def _signal(self) -> None:
        self._on.cluster.run("scancel", "--signal=USR2", self._running())

    def _kill_run(self) -> None:
        self._on.worker_of(self._begun()).kill()

    def _begun(self) -> RunSpec:
        begun = [spec for spec in self._on.specs() if spec.folder.attempts.exists() and not spec.folder.result.exists()]
        return self._chance.choice(begun)

    def _node(self) -> None:
        if self._dead is None:
            self._dead, self._dead_since = self._chance.choice((1, 2)), time.monotonic()
            self._on.cluster.kill_node(self._dead)

    def _slurmctld(self) -> None:
        self._on.cluster.stop_controller()
        time.sleep(self._chance.uniform(0, 5))
        self._on.cluster.start_controller()

    def _accounting(self) -> None:
        self._on.cluster.stop_accounting()
        time.sleep(self._chance.uniform(0, 3))
        self._on.cluster.start_accounting()
