"""launcher=slurm launcher.cluster=local, from the command line: the path to a cluster on machines without one."""

import subprocess
import time

import pytest

from tests.e2e.conftest import Cli
from trainers.spec import RunFolder

pytestmark = pytest.mark.slow


def sweep(cli: Cli, *words: str, target: str = "tests.e2e.quick_run:train") -> subprocess.Popen[str]:
    return cli.sweep(
        *("launcher=slurm", "launcher.cluster=local", "launcher.poll_s=0.2", "launcher.preload=[]"),
        *(f"launcher.target={target}", "tracking=disabled", *words),
    )


def wait_for_life(cli: Cli) -> None:
    """Until a second attempt is under way."""
    until = time.monotonic() + 30
    while not any(RunFolder(path).attempts.read_text().count("began") > 1 for path in cli.study.glob("runs/*")):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_sweep_completes(cli: Cli):
    code, text = cli.finish(sweep(cli, "-m", "beta=0.1,0.5"))
    assert code == 0, text
    assert {result.status for result in cli.results().values()} == {"completed"}


def test_a_study_that_was_left_is_told_of_and_ended_from_outside(cli: Cli):
    """Also where the launcher is not the one it was made with: what was said last counts."""
    code, text = cli.finish(cli.sweep("launcher=inline", "launcher.target=tests.e2e.quick_run:no_such", "beta=0.1"))
    assert code == 1, text
    words = ["launcher=slurm", "launcher.cluster=local", "launcher.detach=true", "launcher.preload=[]"]
    target = "launcher.target=tests.contracts.small_runs:until_stopped"
    code, text = cli.finish(cli.start("resume", str(cli.study), *words, target))
    assert code == 0, text
    assert "1 runs are queued or running" in text
    wait_for_life(cli)
    code, text = cli.finish(cli.start("status", str(cli.study)))
    assert "1 running" in text, text
    code, text = cli.finish(cli.start("resume", str(cli.study), "launcher=local"))
    assert code == 2
    assert "has a job on the cluster" in text
    code, text = cli.finish(cli.start("cancel", str(cli.study)))
    assert code == 0, text
    assert "1 job asked to end" in text
    until = time.monotonic() + 20
    while [result.status for result in cli.results().values()] != ["cancelled"]:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_without_sbatch_nothing_is_started(cli: Cli):
    """Told with a way out, and before anything is made."""
    code, text = cli.finish(cli.sweep("launcher=slurm", "-m", "beta=0.1,0.5", PATH="/nowhere"))
    assert code == 2
    assert "launcher.cluster=local" in text
    assert not cli.study.exists()
