"""What the local launcher promises beyond the contract: processes, signals, time limits, GPUs."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.errors import BadCommand
from orchestrator.launchers.local import LocalJob, LocalLauncher
from orchestrator.launchers.machine import slots
from tests.contracts.small_runs import HERE, spec_in, until
from trainers.files import read_json
from trainers.machine import Machine
from trainers.spec import RunResult, RunSpec

pytestmark = pytest.mark.slow

Make = Callable[..., LocalLauncher]


@pytest.fixture
def make() -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def launcher(function: str, workers: int = 2, threads: int = 1, **options: Any) -> LocalLauncher:
            options = {"preload": (HERE,), "grace_s": 5.0, **options}
            made = LocalLauncher(workers, threads, target=f"{HERE}:{function}", **options)
            return stack.enter_context(contextlib.closing(made))

        yield launcher


def submit(launcher: LocalLauncher, *specs: RunSpec) -> list[LocalJob]:
    jobs = launcher.submit(specs)
    assert all(isinstance(job, LocalJob) for job in jobs)
    return jobs  # type: ignore[return-value]


def started(launcher: LocalLauncher, *specs: RunSpec) -> list[LocalJob]:
    """Jobs that have reported a first step."""
    jobs = submit(launcher, *specs)
    until(lambda: all(spec.folder.metrics.exists() for spec in specs))
    return jobs


def finish(launcher: LocalLauncher, *jobs: LocalJob) -> list[RunResult]:
    give_up_at = time.monotonic() + 20
    while not all(job.done() for job in jobs):
        assert time.monotonic() < give_up_at, "a job did not end"
        launcher.wait(1.0)
    return [job.result() for job in jobs]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def grandchildren(spec: RunSpec, count: int) -> list[int]:
    path = spec.run_dir / "grandchildren"
    until(lambda: path.exists() and len(path.read_text().split()) == count)
    return [int(pid) for pid in path.read_text().split()]


def test_a_run_that_is_killed_fails_and_the_others_go_on(make: Make, tmp_path: Path) -> None:
    """Its result tells the signal and the end of its log, keeps its metrics, and lies in its folder."""
    launcher = make("killed")
    even, odd = submit(launcher, spec_in(tmp_path, 0), spec_in(tmp_path, 1))
    good, bad = finish(launcher, even, odd)
    assert good.status == "completed"
    assert bad.status == "failed"
    assert bad.error == "killed by signal 9 (out of memory?); its log ends: allocating"
    assert (bad.metrics, bad.steps, bad.attempts) == ({"train/loss": 0.25}, 7, 1)
    assert RunResult.read(odd.spec.folder) == bad


def test_a_run_that_exits_by_itself_fails_with_its_code(make: Make, tmp_path: Path) -> None:
    launcher = make("leaves_by_the_window")
    (result,) = finish(launcher, *submit(launcher, spec_in(tmp_path)))
    assert (result.status, result.error) == ("failed", "exited with code 3; its log ends: cannot go on")


def test_a_run_killed_after_an_earlier_result_of_its_folder_is_failed(make: Make, tmp_path: Path) -> None:
    """The older result.json is not taken for the new attempt's."""
    spec = spec_in(tmp_path, 1)
    RunResult(spec.run_id, "cancelled", spec.params, attempts=4).write(spec.folder)
    launcher = make("killed")
    (result,) = finish(launcher, *submit(launcher, spec))
    assert (result.status, result.attempts) == ("failed", 5)


def test_what_a_run_prints_is_in_its_log_attempt_after_attempt(make: Make, tmp_path: Path) -> None:
    launcher, spec = make("three_steps"), spec_in(tmp_path)
    for _ in range(2):
        spec.folder.result.unlink(missing_ok=True)
        (job,) = submit(launcher, spec)
        finish(launcher, job)
    log = job.log_path.read_text()
    assert log.count("three steps done") == 2
    assert "[attempt 2, " in log


def test_cancel_ends_a_run_at_a_step(make: Make, tmp_path: Path) -> None:
    launcher = make("until_stopped")
    (job,) = started(launcher, spec_in(tmp_path))
    job.cancel()
    (result,) = finish(launcher, job)
    assert (result.status, result.error) == ("cancelled", None)


def test_a_run_that_will_not_stop_is_killed_after_its_grace(make: Make, tmp_path: Path) -> None:
    launcher = make("deaf", grace_s=0.2)
    (job,) = started(launcher, spec_in(tmp_path))
    began = time.monotonic()
    job.cancel()
    (result,) = finish(launcher, job)
    assert result.status == "cancelled"
    assert 0.2 <= time.monotonic() - began < 5
    assert RunResult.read(job.spec.folder) == result


def test_cancel_at_once_kills_a_run_with_its_process_group(make: Make, tmp_path: Path) -> None:
    launcher, spec = make("with_grandchild", grace_s=60), spec_in(tmp_path)
    (job,) = submit(launcher, spec)
    in_group, _ = grandchildren(spec, 2)
    job.cancel(at_once=True)
    (result,) = finish(launcher, job)
    assert result.status == "cancelled"
    until(lambda: not alive(in_group))


def test_a_run_that_ends_leaves_nothing_behind(make: Make, tmp_path: Path) -> None:
    launcher, spec = make("leaves_grandchild"), spec_in(tmp_path)
    assert finish(launcher, *submit(launcher, spec))[0].status == "completed"
    (pid,) = grandchildren(spec, 1)
    until(lambda: not alive(pid))


@pytest.mark.parametrize("function", ["until_stopped", "deaf"])
def test_a_run_past_its_time_is_stopped_and_failed(make: Make, tmp_path: Path, function: str) -> None:
    """Also where it saves a checkpoint when asked; where it does not, it is killed."""
    launcher = make(function, timeout_min=0.005, grace_s=0.2)
    (result,) = finish(launcher, *submit(launcher, spec_in(tmp_path)))
    assert (result.status, result.error) == ("failed", "timed out after 0.005 min")
    assert result.metrics.get("train/loss", 1.0) == 1.0


def test_a_cancel_before_the_run_has_begun_is_obeyed(make: Make, tmp_path: Path) -> None:
    """The fork server is still importing when the run is submitted and cancelled."""
    launcher = make("until_stopped")
    (job,) = submit(launcher, spec_in(tmp_path))
    job.cancel()
    assert finish(launcher, job)[0].status == "cancelled"


def test_more_runs_than_free_slots_are_refused(make: Make, tmp_path: Path) -> None:
    launcher = make("until_stopped", workers=1)
    submit(launcher, spec_in(tmp_path, 0))
    with pytest.raises(RuntimeError, match="0 of 1 slots are free"):
        launcher.submit([spec_in(tmp_path, 1)])


def test_a_run_ends_only_its_own_wait(make: Make, tmp_path: Path) -> None:
    """wait() returns when one run ends, though another goes on, and then waits for that one."""
    launcher = make("waits_for_file")
    first, second = started(launcher, spec_in(tmp_path, 0), spec_in(tmp_path, 1))
    began = time.monotonic()
    (first.spec.run_dir / "go").touch()
    launcher.wait(10)
    assert first.done()
    assert not second.done()
    assert time.monotonic() - began < 5
    began = time.monotonic()
    launcher.wait(0.2)
    assert time.monotonic() - began >= 0.2


def test_a_killed_fork_server_fails_its_runs_and_the_next_submit_has_a_new_one(make: Make, tmp_path: Path) -> None:
    launcher, spec = make("with_grandchild"), spec_in(tmp_path, 0)
    (job,) = submit(launcher, spec)
    in_group, apart = grandchildren(spec, 2)
    until(lambda: job.pid is not None)
    server = psutil.Process(job.pid).parent()
    assert server is not None
    server.kill()
    (result,) = finish(launcher, job)
    assert result.status == "failed"
    assert "the fork server died: killed by signal 9" in str(result.error)
    until(lambda: not alive(job.pid or 0) and not alive(in_group))
    (again,) = submit(launcher, spec_in(tmp_path, 1))
    again.cancel()
    assert finish(launcher, again)[0].status == "cancelled"
    os.kill(apart, signal.SIGKILL)


def test_closing_ends_runs_and_their_descendants(make: Make, tmp_path: Path) -> None:
    launcher, spec = make("with_grandchild"), spec_in(tmp_path)
    (job,) = submit(launcher, spec)
    pids = grandchildren(spec, 2)
    launcher.close()
    assert job.result().status == "cancelled"
    assert not any(alive(pid) for pid in [*pids, job.pid or 0])
    with pytest.raises(RuntimeError, match="closed"):
        launcher.submit([spec])


def test_closing_while_the_fork_server_imports_does_not_wait_for_it(make: Make, tmp_path: Path) -> None:
    launcher = make("nothing", preload=("tests.contracts.slow_import",))
    (job,) = submit(launcher, spec_in(tmp_path))
    began = time.monotonic()
    launcher.close()
    assert time.monotonic() - began < 3
    assert job.result().status == "cancelled"


CONTROLLER = """
import sys, time
from pathlib import Path
from orchestrator.launchers.local import LocalLauncher
from tests.contracts.small_runs import HERE, spec_in

launcher = LocalLauncher(2, 1, target=f"{HERE}:with_grandchild", preload=(HERE,))
launcher.submit([spec_in(Path(sys.argv[1]), trial) for trial in range(2)])
time.sleep(60)
"""


@contextlib.contextmanager
def controller(repository: Path, folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[psutil.Process]]]:
    """A controller with two runs under way, and all processes that it is the cause of."""
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen([sys.executable, "-c", CONTROLLER, str(folder)], env=environment)
    try:
        until(lambda: len(list(folder.glob("runs/*/grandchildren"))) == 2)
        until(lambda: len(psutil.Process(process.pid).children(recursive=True)) == 1 + 2 * 3)
        yield process, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()


def test_a_killed_controller_leaves_no_process(repository: Path, tmp_path: Path) -> None:
    """Within two seconds of a kill -9 its fork server, its runs and what they started are gone."""
    with controller(repository, tmp_path) as (process, family):
        process.kill()
        process.wait()
        until(lambda: not any(alive(member.pid) for member in family), 2.0)


def test_runs_do_not_outlive_controller_and_fork_server_killed_together(repository: Path, tmp_path: Path) -> None:
    """Neither is left to clean up, so the kernel ends each run with the server that forked it."""
    with controller(repository, tmp_path) as (process, family):
        (server,) = psutil.Process(process.pid).children()
        runs = server.children()
        try:
            process.send_signal(signal.SIGSTOP)
            server.kill()
            process.kill()
            until(lambda: not any(alive(run.pid) for run in runs), 2.0)
        finally:
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()


def test_ctrl_c_in_a_terminal_reaches_the_controller_alone(repository: Path, tmp_path: Path) -> None:
    """Nothing that it started is in its process group or session, to which a terminal sends signals."""
    with controller(repository, tmp_path) as (process, family):
        assert os.getpgid(process.pid) not in {os.getpgid(member.pid) for member in family}
        assert os.getsid(process.pid) not in {os.getsid(member.pid) for member in family}


def test_a_keyboard_interrupt_while_waiting_harms_nothing(make: Make, tmp_path: Path) -> None:
    launcher = make("until_stopped")
    (job,) = started(launcher, spec_in(tmp_path))
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        launcher.wait(20)
    job.cancel()
    assert finish(launcher, job)[0].status == "cancelled"


def test_the_server_that_woke_the_gpu_starts_again_without_preloading(make: Make, tmp_path: Path) -> None:
    """A CUDA context does not survive a fork, so runs then import for themselves."""
    launcher, spec = make("tells_environment", preload=("tests.contracts.wakes_gpu",)), spec_in(tmp_path)
    assert finish(launcher, *submit(launcher, spec))[0].status == "completed"
    assert not read_json(spec.run_dir / "seen.json")["torch"]


def test_runs_see_one_gpu_each_and_share_it_as_told(make: Make, tmp_path: Path) -> None:
    """With two GPUs and two runs a GPU: both are used, and never by more than two runs at a time."""
    launcher = make("tells_environment", workers=4, threads=3, gpus=("0", "1"), runs_per_gpu=2)
    waiting = [spec_in(tmp_path, trial) for trial in range(12)]
    specs, active = list(waiting), list[LocalJob]()
    while waiting or active:
        free = launcher.capacity - len(active)
        active += submit(launcher, *waiting[:free])
        del waiting[:free]
        launcher.wait(1.0)
        active = [job for job in active if not job.done()]
    seen = [read_json(spec.run_dir / "seen.json") for spec in specs]
    assert {run["gpu"] for run in seen} == {"0", "1"}
    assert max(run["users"] for run in seen) <= 2
    assert {run["threads"] for run in seen} == {"3"}
    assert all(run["own session"] and run["stdin"] == "" for run in seen)


def test_what_a_run_leaves_for_its_exit_is_done(make: Make, tmp_path: Path) -> None:
    """Though the exit is quick: exit handlers, finalizers and threads."""
    launcher, spec = make("leaves_notes"), spec_in(tmp_path)
    finish(launcher, *submit(launcher, spec))
    assert {"atexit", "finalize", "thread"} <= {path.name for path in spec.run_dir.iterdir()}


def test_a_run_does_not_tidy_up_after_the_fork_server(make: Make, tmp_path: Path) -> None:
    """Folders that its imports made are there for the second run as for the first."""
    launcher = make("tells_environment", preload=("tests.contracts.tidies_up",))
    specs = [spec_in(tmp_path, trial) for trial in range(2)]
    for spec in specs:
        finish(launcher, *submit(launcher, spec))
    assert [read_json(spec.run_dir / "seen.json")["kept"] for spec in specs] == [True, True]


def test_the_main_module_is_not_imported_again(make: Make, tmp_path: Path) -> None:
    """A run's process has no main module of ours, so a script without a guard is not carried out in each run."""
    launcher, spec = make("tells_environment"), spec_in(tmp_path)
    finish(launcher, *submit(launcher, spec))
    assert read_json(spec.run_dir / "seen.json")["main"] is None


def test_two_runs_spread_over_two_gpus(make: Make, tmp_path: Path) -> None:
    """The first free GPU is the one with the fewest runs."""
    launcher = make("tells_environment", workers=4, gpus=("GPU-a", "MIG-b"), runs_per_gpu=2)
    specs = [spec_in(tmp_path, trial) for trial in range(2)]
    finish(launcher, *submit(launcher, *specs))
    assert {read_json(spec.run_dir / "seen.json")["gpu"] for spec in specs} == {"GPU-a", "MIG-b"}


def test_a_folder_in_which_another_process_works_is_left_alone(make: Make, tmp_path: Path) -> None:
    """The second attempt fails, says who is at work, and writes nothing; the first goes on."""
    first, second = make("waits_for_file"), make("nothing")
    spec = spec_in(tmp_path)
    (job,) = started(first, spec)
    spec.folder.stop.touch()
    (result,) = finish(second, *submit(second, spec))
    assert result.status == "failed"
    assert f"process {job.pid} on " in str(result.error)
    assert not spec.folder.result.exists()
    assert spec.folder.stop.exists()
    (spec.run_dir / "go").touch()
    assert finish(first, job)[0].status == "completed"


def test_whatever_is_killed_every_job_ends_and_every_result_is_whole(make: Make, tmp_path: Path) -> None:
    """Thirty runs, of which some are killed at random moments."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    launcher = make("brief", workers=3)
    waiting = [spec_in(tmp_path, trial) for trial in range(30)]
    jobs, active = list[LocalJob](), list[LocalJob]()
    give_up_at = time.monotonic() + 30
    while waiting or active:
        assert time.monotonic() < give_up_at
        free = launcher.capacity - len(active)
        active += submit(launcher, *waiting[:free])
        jobs += [job for job in active if job not in jobs]
        del waiting[:free]
        launcher.wait(chance.uniform(0, 0.03))
        victim = chance.choice(active)
        if chance.random() < 0.4 and victim.pid is not None and not victim.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim.pid, chance.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))
        active = [job for job in active if not job.done()]
    for job in jobs:
        assert RunResult.read(job.spec.folder) == job.result(), f"seed {seed}"
    assert len(jobs) == 30


def machine(cores: int, gpus: int = 0, runs_per_gpu: int = 1, ram_gb: int = 16) -> Machine:
    return Machine(ram_gb * 10**9, (80 * 10**9,) * gpus, cores, runs_per_gpu=runs_per_gpu)


@pytest.mark.parametrize(
    ("here", "workers", "expected"),
    [
        (machine(8), "auto", (8, 1)),
        (machine(8), 3, (3, 2)),
        (machine(2), 6, (6, 1)),
        (machine(16, gpus=2), "auto", (2, 8)),
        (machine(16, gpus=2, runs_per_gpu=3), "auto", (6, 2)),
        (machine(16, gpus=2), 1, (1, 16)),
    ],
)
def test_slots(here: Machine, workers: Any, expected: tuple[int, int]) -> None:
    """One run a place on a GPU, or a core; the cores are shared among the runs."""
    assert slots(here, workers=workers, threads="auto") == expected


@pytest.mark.parametrize(
    ("here", "gigabytes", "expected"),
    [
        (machine(8), 5, (3, 2)),
        (machine(2), 5, (2, 1)),
        (machine(8), 20, (1, 8)),
        (machine(8, gpus=2), 5, (2, 4)),
    ],
)
def test_runs_on_the_cpu_are_no_more_than_memory_has_room_for(
    here: Machine, gigabytes: int, expected: tuple[int, int]
) -> None:
    assert slots(here, workers="auto", threads="auto", run_bytes=gigabytes * 10**9) == expected


def test_more_workers_than_memory_has_room_for_are_refused() -> None:
    with pytest.raises(BadCommand, match=r"14.9 GiB of memory .* set launcher\.workers=3 or less"):
        slots(machine(8), workers=4, threads=1, run_bytes=5 * 10**9)


def test_more_workers_than_places_on_gpus_are_refused() -> None:
    with pytest.raises(BadCommand, match=r"set launcher\.workers=2 or less"):
        slots(machine(16, gpus=2), workers=3, threads=1)
