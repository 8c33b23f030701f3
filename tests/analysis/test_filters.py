"""--filter: runs by whatever is known of them; what no run meets is said with what there is."""

from pathlib import Path

import pytest

from analysis.errors import BadQuestion
from analysis.filters import Filters
from analysis.sources import read
from tests.fakes.finished_study import Finished, finished_study


@pytest.fixture
def study(tmp_path: Path) -> str:
    runs = [
        Finished("dpo", 0.1, 0, metrics={"eval/kl": 1.0}),
        Finished("dpo", 0.5, 1, config={"training__learning_rate": 5e-6}),
        Finished("ipo", 0.1, 0, status="failed"),
        Finished("sft", 0.1, 0),
    ]
    return str(finished_study(tmp_path, runs))


@pytest.mark.parametrize(
    ("filters", "methods"),
    [
        (["method=dpo"], ["dpo", "dpo"]),
        (["method=dpo,ipo", "seed=0"], ["dpo", "ipo"]),
        (["method=dpo", "method=ipo"], ["dpo", "dpo", "ipo"]),
        (["status=completed", "beta=0.10"], ["dpo"]),
        (["beta=none"], ["sft"]),
        (["training.learning_rate=5e-6"], ["dpo"]),
        (["training.save_final=true"], ["dpo", "dpo", "ipo", "sft"]),
        (["eval/kl=1"], ["dpo"]),
    ],
)
def test_runs_are_those_that_meet_all_conditions(study: str, filters: list[str], methods: list[str]):
    assert list(read([study], filters=filters).frame["method"]) == methods


def test_a_condition_that_no_run_meets_is_told_with_what_there_is(study: str):
    with pytest.raises(BadQuestion, match=r"no run meets --filter method=dop \(there are: dpo, ipo, sft\)"):
        read([study], filters=["method=dop"])


def test_a_key_that_no_run_has_is_met_by_none(study: str):
    with pytest.raises(BadQuestion, match=r"no run meets --filter nonsense=1 \(there are: none\)"):
        read([study], filters=["nonsense=1"])


def test_what_is_no_condition_is_told_all_at_once():
    with pytest.raises(BadQuestion, match=r"(?s)--filter dpo: has the form.*--filter =1: has the form"):
        Filters.parse(["dpo", "=1"])


def test_what_only_wandb_knows_is_refused_elsewhere(study: str):
    with pytest.raises(BadQuestion, match="--filter tags=: only runs at W&B have it"):
        read([study], filters=["tags=final"])
