"""The contract of launchers, held against each of them; and what a launcher of processes promises beyond it."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from orchestrator.config import Source, composer
from orchestrator.launchers.base import Job, Launcher
from orchestrator.launchers.inline import InlineLauncher
from orchestrator.launchers.local import LocalLauncher
from orchestrator.launchers.slurm.launcher import SlurmLauncher
from orchestrator.launchers.slurm.make import slurm_launcher
from orchestrator.pruning import Watch
from orchestrator.settings import SlurmSettings, study_settings
from tests.contracts.small_runs import HERE, spec_in
from tests.fakes.pruners import ToldPruner
from trainers.files import read_json, write_json
from trainers.machine import Machine
from trainers.spec import RunResult, RunSpec

Make = Callable[[str], Launcher]


def _inline(function: str, root: Path) -> InlineLauncher:
    return InlineLauncher(f"{HERE}:{function}")


def _local(function: str, root: Path) -> LocalLauncher:
    return LocalLauncher(2, 1, grace_s=5.0, target=f"{HERE}:{function}", preload=(HERE,))


def _slurm(function: str, root: Path) -> SlurmLauncher:
    """On submitit's local executor: the same launcher, without a cluster."""
    with composer(Source()) as compose:
        words = ["launcher=slurm", "launcher.cluster=local", "launcher.poll_s=0.1", "launcher.max_submitted=2"]
        config = compose.compose([*words, f"launcher.target={HERE}:{function}", "launcher.preload=[]"]).sound()
    settings = study_settings(config).launcher
    assert isinstance(settings, SlurmSettings)
    return slurm_launcher(settings, root, Machine.here())


@pytest.fixture(
    params=[_inline, _local, pytest.param(_slurm, marks=pytest.mark.slow)], ids=["inline", "local", "slurm"]
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes launchers that carry out a function of small_runs, and closes them."""
    with contextlib.ExitStack() as stack:
        yield lambda function: stack.enter_context(contextlib.closing(request.param(function, tmp_path)))


def finish(launcher: Launcher, jobs: Sequence[Job], timeout_s: float = 20.0) -> list[RunResult]:
    give_up_at = time.monotonic() + timeout_s
    while not all(job.done() for job in jobs):
        assert time.monotonic() < give_up_at, "a job did not end"
        launcher.wait(1.0)
    return [job.result() for job in jobs]


def carry_out(launcher: Launcher, spec: RunSpec) -> RunResult:
    return finish(launcher, launcher.submit([spec]))[0]


def test_a_run_that_completes(make: Make, tmp_path: Path) -> None:
    """The result is what training returned, and lies in the run's folder when the job is done."""
    spec = spec_in(tmp_path)
    result = carry_out(make("three_steps"), spec)
    assert (result.status, result.steps, result.attempts) == ("completed", 3, 1)
    assert result.metrics == {"eval/margin_nats": 0.5}
    assert RunResult.read(spec.folder) == result


def test_metrics_are_kept_on_the_way(make: Make, tmp_path: Path) -> None:
    """What a run reports is in its folder, a line a step, and its heartbeat tells the phase."""
    spec = spec_in(tmp_path)
    carry_out(make("three_steps"), spec)
    assert spec.folder.metrics.read_text().count("\n") == 3
    assert read_json(spec.folder.heartbeat)["phase"] == "training"


def test_a_run_that_raises_is_a_failed_result(make: Make, tmp_path: Path) -> None:
    """An exception of the run is its result, with type and message; the launcher goes on."""
    launcher = make("raises")
    result = carry_out(launcher, spec_in(tmp_path, 1))
    assert (result.status, result.error) == ("failed", "ValueError: no such thing")
    assert carry_out(launcher, spec_in(tmp_path, 2)).status == "failed"


def test_a_result_of_an_earlier_attempt_is_not_this_ones(make: Make, tmp_path: Path) -> None:
    """A second attempt has its own result, and counts as the second."""
    spec = spec_in(tmp_path)
    assert carry_out(make("raises"), spec).status == "failed"
    again = carry_out(make("nothing"), spec)
    assert (again.status, again.attempts, again.error) == ("completed", 2, None)


def test_asked_to_stop_a_run_ends_at_a_step_and_is_cancelled(make: Make, tmp_path: Path) -> None:
    """The file `stop` in a run's folder ends it at the next step; the request is gone with the attempt."""
    spec = spec_in(tmp_path)
    result = carry_out(make("stops_itself"), spec)
    assert result.status == "cancelled"
    assert result.steps < 3000
    assert not spec.folder.stop.exists()


def test_a_run_that_is_pruned_ends_at_a_step_keeps_its_metrics_and_stays_pruned(make: Make, tmp_path: Path) -> None:
    """The file `prune` ends a run at its next step; submitted again it is left as it is."""
    spec = spec_in(tmp_path)
    launcher = make("until_pruned")
    result = carry_out(launcher, spec)
    assert (result.status, result.why, result.error) == ("pruned", "too slow", None)
    assert 4 <= result.steps < 3000
    assert result.metrics == {"train/loss": pytest.approx(1 / result.steps)}
    assert not spec.folder.checkpoints.exists()
    again = carry_out(launcher, spec)
    assert (again.status, again.steps, again.attempts) == ("pruned", result.steps, 1)


def test_a_watch_prunes_a_run_that_is_under_way(make: Make, tmp_path: Path) -> None:
    """By what it reports into its folder, wherever it runs."""
    spec = spec_in(tmp_path)
    watch = Watch(ToldPruner(lambda run, step, value: step >= 5), "train/loss", poll_s=0.05)
    with contextlib.closing(watch):
        watch.start([])
        watch.begin(spec)
        result = carry_out(make("until_stopped"), spec)
    assert result.status == "pruned"
    assert 5 <= result.steps < 3000
    assert result.why == "train/loss 1 at step 5, by the pruner"


def test_a_run_that_is_to_be_pruned_is_not_begun_again(make: Make, tmp_path: Path) -> None:
    """The decision outlives an attempt that did not live to obey it."""
    spec = spec_in(tmp_path)
    write_json(spec.folder.prune, {"step": 3, "why": "too slow"})
    result = carry_out(make("three_steps"), spec)
    assert (result.status, result.steps, result.why) == ("pruned", 0, "too slow")
    assert RunResult.read(spec.folder) == result


def test_a_stop_left_by_an_earlier_attempt_is_forgotten(make: Make, tmp_path: Path) -> None:
    """A stop that an attempt did not live to obey does not stop the next one."""
    spec = spec_in(tmp_path)
    spec.folder.stop.touch()
    assert carry_out(make("three_steps"), spec).status == "completed"


def test_runs_are_independent_of_their_order(make: Make, tmp_path: Path) -> None:
    """Each job gives the result of its own run, in whichever order they were submitted and ended."""
    specs = [spec_in(tmp_path, trial) for trial in range(4)]
    random.Random(0).shuffle(specs)
    launcher = make("brief")
    for start in range(0, len(specs), launcher.capacity):
        some = specs[start : start + launcher.capacity]
        assert [result.run_id for result in finish(launcher, launcher.submit(some))] == [spec.run_id for spec in some]


def test_a_launcher_carries_as_many_runs_as_its_capacity(make: Make, tmp_path: Path) -> None:
    """So many can be submitted at once, and again when they are done."""
    launcher = make("nothing")
    for wave in range(2):
        specs = [spec_in(tmp_path, trial, seed=wave) for trial in range(launcher.capacity)]
        results = finish(launcher, launcher.submit(specs))
        assert [result.status for result in results] == ["completed"] * launcher.capacity


def test_cancelling_what_is_over_is_no_error(make: Make, tmp_path: Path) -> None:
    """`cancel` after the end changes nothing."""
    launcher = make("nothing")
    jobs = launcher.submit([spec_in(tmp_path)])
    finish(launcher, jobs)
    jobs[0].cancel()
    jobs[0].cancel(at_once=True)
    assert jobs[0].result().status == "completed"


def test_a_run_whose_folder_is_gone_is_a_failed_result(make: Make, tmp_path: Path) -> None:
    """A spec that cannot be read fails the run, not the study."""
    spec = spec_in(tmp_path)
    spec.folder.spec.unlink()
    result = carry_out(make("nothing"), spec)
    assert result.status == "failed"
    assert "spec.json" in str(result.error)


def test_jobs_have_distinct_names(make: Make, tmp_path: Path) -> None:
    """Ids tell jobs apart."""
    launcher = make("nothing")
    jobs = [launcher.submit([spec_in(tmp_path, trial)])[0] for trial in range(launcher.capacity)]
    finish(launcher, jobs)
    assert len({job.id for job in jobs}) == len(jobs)


def test_waiting_for_nothing_returns(make: Make) -> None:
    """Where nothing is under way there is nothing to wait for."""
    began = time.monotonic()
    make("nothing").wait(30)
    assert time.monotonic() - began < 5


def test_closing_leaves_no_process(make: Make, tmp_path: Path) -> None:
    """Once its runs have ended nothing is left of what the launcher started; `close` may be called again."""
    before = set(psutil.Process().children(recursive=True))
    launcher = make("nothing")
    finish(launcher, launcher.submit([spec_in(tmp_path)]))
    launcher.close()
    launcher.close()
    assert not set(psutil.Process().children(recursive=True)) - before
