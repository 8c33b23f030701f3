"""SFT, then preference optimisation from where it ended: one command, and going on with it."""

import json

import pytest

from tests.e2e.conftest import Cli
from trainers.spec import RunFolder

pytestmark = pytest.mark.slow

WORDS = [
    "method=sft,dpo", "start=run", "start.run={method:sft}", "-m", "beta=0.1,0.5", "training.max_steps=4",
    "data.max_train_samples=32", "data.max_eval_samples=16", "tracking=disabled",
]  # fmt: skip


def test_one_command_trains_sft_and_then_all_that_start_from_it(cli: Cli) -> None:
    code, said = cli.finish(cli.sweep(*WORDS))
    assert (code, "trials 1, 2 start from trial 0" in said) == (0, True), said
    folders = {path.name: RunFolder(path) for path in cli.study.glob("runs/t*")}
    dpo = [folder for name, folder in folders.items() if name.startswith(("t0001", "t0002"))]
    ranks = [json.loads((folder.adapter / "adapter_config.json").read_text())["r"] for folder in dpo]
    assert ranks == [32, 32]


def test_what_starts_from_a_run_that_failed_says_so_and_is_made_up_for(cli: Cli) -> None:
    """At first no run is given time enough."""
    code, said = cli.finish(cli.sweep(*WORDS, "launcher.timeout_min=0.001"))
    assert code == 1
    assert "which it needs, failed" in said
    code, said = cli.finish(cli.start("resume", str(cli.study), "launcher.timeout_min=null"))
    assert code == 0, said
