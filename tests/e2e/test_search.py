"""Searches from the command line: trials one by one, pruned on the way, over kills of their controller."""

import signal
import subprocess

import pytest

from orchestrator.store import StudyFolder
from tests.e2e.conftest import Cli
from trainers.spec import RunSpec

pytestmark = pytest.mark.slow

RANGES = ("beta=tag(log,interval(0.005,1.0))", "training.learning_rate=tag(log,interval(1e-4,1e-2))")
QUICK = ("launcher.target=tests.e2e.quick_search:train", "training.max_steps=10")
LAUNCHERS = {
    "inline": ("launcher=inline",),
    "local": ("launcher=local", "launcher.workers=2", "launcher.preload=[]"),
    "slurm": ("launcher=slurm", "launcher.cluster=local", "launcher.poll_s=0.2", "launcher.preload=[]"),
}


def search(cli: Cli, *words: str) -> subprocess.Popen[str]:
    return cli.sweep("tracking=disabled", "sweeper=tpe", *words, "-m", *RANGES)


def trials(cli: Cli) -> list[int]:
    """Numbers of the trials that have a run, one for each."""
    return sorted(RunSpec.read(path).trial for path in cli.study.glob("runs/t*"))


def carried_out(cli: Cli) -> dict[str, int]:
    """How often each run was begun."""
    return {path.parent.name: len(path.read_text()) for path in cli.study.glob("runs/*/carried_out")}


def test_a_search_of_three_methods_outlives_its_controller(cli: Cli):
    """Real training: killed in the middle it goes on, with no trial lost and none repeated."""
    words = ["model=tiny", "method=dpo,ipo,orpo", "pruner=asha", "n_trials=6", "training.max_steps=8"]
    quick = ["evaluation.samples=0", "data.max_train_samples=64", "launcher.workers=2"]
    process = search(cli, *words, *quick)
    cli.wait_for(2)
    process.kill()
    process.communicate()
    before = cli.results()
    assert len(before) < 6
    code, text = cli.finish(cli.start("resume", str(cli.study)))
    assert code == 0, text
    assert trials(cli) == list(range(6))
    after = cli.results()
    assert {result.status for result in after.values()} <= {"completed", "pruned"}
    assert {run_id: after[run_id] for run_id in before} == before
    assert "best: trial " in text
    assert "what mattered" in text
    assert "look on: optuna-dashboard " in text
    pruned = sum(result.status == "pruned" for result in after.values())
    assert (f"pruned: {pruned} of 6 runs; " in text) == bool(pruned)
    assert "| pruned |" in StudyFolder(cli.study).table_md.read_text() or not pruned


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_search_runs_in_every_launcher(cli: Cli, launcher: str):
    code, text = cli.finish(search(cli, *QUICK, *LAUNCHERS[launcher], "pruner=median", "n_trials=3"))
    assert code == 0, text
    assert trials(cli) == [0, 1, 2]
    assert set(carried_out(cli).values()) == {1}
    assert "best: trial " in text


def test_a_search_that_was_stopped_goes_on_and_may_be_given_more_trials(cli: Cli):
    process = search(cli, *QUICK, "launcher=inline", "n_trials=4")
    cli.wait_for(1)
    process.send_signal(signal.SIGINT)
    code, text = cli.finish(process)
    assert (code, "4 trials have ended; go on with" in text) == (130, True), text
    code, text = cli.finish(search(cli, *QUICK, "launcher=inline", "n_trials=5"))
    assert code == 0, text
    assert trials(cli) == list(range(5))
    assert sum(result.status == "completed" for result in cli.results().values()) == 5


def test_failures_are_told_and_too_many_of_them_stop_it(cli: Cli):
    words = ("launcher=inline", "launcher.target=tests.e2e.quick_search:fails")
    code, text = cli.finish(search(cli, *words, "n_trials=12", "max_failure_rate=0.4"))
    assert code == 1, text
    assert "this beta diverges" in text
    assert "max_failure_rate" in text
    assert len(trials(cli)) < 12


def test_another_objective_or_space_is_refused_before_anything_changes(cli: Cli):
    code, text = cli.finish(search(cli, *QUICK, "launcher=inline", "n_trials=1"))
    assert code == 0, text
    record = (cli.study / "study.yaml").read_text()
    code, text = cli.finish(search(cli, *QUICK, "launcher=inline", "n_trials=2", "objective=policy_accuracy"))
    assert (code, "for another objective" in text) == (2, True), text
    code, text = cli.finish(search(cli, *QUICK, "launcher=inline", "n_trials=2", "method=dpo,ipo"))
    assert (code, "search.adopt=true" in text) == (2, True), text
    assert (cli.study / "study.yaml").read_text() == record
