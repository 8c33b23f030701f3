"""A study on answers one by one, from the command line to its table."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.fakes.answers import section

pytestmark = pytest.mark.slow


def files(folder: Path) -> list[str]:
    """The overrides that read 21 answers, ten of them good."""
    rows = [
        {"prompt": f"Say {n}: ", "completion": f"It is {n}." if n % 2 else "No.", "label": n % 2} for n in range(21)
    ]
    pairs = [{"prompt": f"Tell {n}: ", "chosen": f"It is {n}.", "rejected": "No."} for n in range(6)]
    made = section(folder, rows, pairs)
    return ["data=unpaired", f"data.path={made['path']}", f"data.eval_path={made['eval_path']}"]


def test_kto_and_sft_train_on_the_same_answers_and_are_measured_on_the_same_pairs(cli: Cli, tmp_path: Path) -> None:
    words = [*files(tmp_path), "training.batch_size=4", "tracking=disabled", "training.save_final=false"]
    code, said = cli.finish(cli.sweep("method=kto,sft", "-m", *words))
    assert (code, "6 held-out pairs" in said) == (0, True), said
    results = cli.results().values()
    # 21 answers in batches of eight, ten good ones in batches of four.
    assert sorted((dict(result.params)["method"], result.steps) for result in results) == [("kto", 3), ("sft", 3)]
    assert {result.metrics["eval/pairs"] for result in results} == {6.0}


def test_a_plan_counts_the_answers_and_refuses_what_learns_from_pairs(cli: Cli, tmp_path: Path) -> None:
    words = [*files(tmp_path), "training.batch_size=4"]
    code, said = cli.finish(cli.sweep("plan", "method=kto", *words))
    assert code == 0
    assert "10 desirable, 11 undesirable answers, 6 pairs held out" in " ".join(said.split())
    assert "8 answers a step" in " ".join(said.split())
    code, said = cli.finish(cli.sweep("plan", "method=dpo", *words))
    assert code == 2
    assert "method=dpo learns from pairs" in said
