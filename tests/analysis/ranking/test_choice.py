"""Which metric is ranked by where none is named."""

from pathlib import Path

import pytest

from analysis.errors import BadQuestion
from analysis.ranking.rank import Question, rank_runs
from analysis.sources import read
from tests.fakes.finished_study import Finished, finished_study


def chosen(root: Path, *names: str, by: str = "beta", metric: str | None = None) -> tuple[str, str]:
    runs = [
        Finished(
            "dpo", beta, metrics=dict.fromkeys(names, 0.5), config={} if beta < 0.5 else {"model__path": "/models/b"}
        )
        for beta in (0.1, 0.5)
    ]
    ranking = rank_runs(read([str(finished_study(root, runs))]), Question((by,), (), metric))
    return ranking.metric, " ".join(ranking.told)


@pytest.mark.parametrize(
    ("names", "metric"),
    [
        (("eval/policy_accuracy", "eval/reward", "eval/win_rate"), "eval/reward"),
        (("eval/reward_accuracy", "eval/policy_accuracy"), "eval/policy_accuracy"),
    ],
)
def test_it_is_the_first_that_may_be_compared(tmp_path: Path, names: tuple[str, ...], metric: str):
    """The two runs are of two models, so that each start is another opponent, and another reference."""
    found, told = chosen(tmp_path, *names)
    assert found == metric
    assert f"ranked by {metric}" in told


def test_a_slip_is_met_with_the_nearest_name(tmp_path: Path):
    with pytest.raises(BadQuestion, match=r"eval/rewards: no run has it; did you mean eval/reward\?"):
        chosen(tmp_path, "eval/reward", metric="eval/rewards")


def test_runs_that_have_none_of_them_are_told_of(tmp_path: Path):
    with pytest.raises(BadQuestion, match="name one with --metric: train/loss"):
        chosen(tmp_path, "train/loss")


def test_what_was_passed_over_is_told_with_its_reason(tmp_path: Path):
    told = chosen(tmp_path, "eval/reward", "eval/win_rate")[1]
    assert "eval/win_rate may not be compared here: it depends on the opponent (" in told


@pytest.mark.parametrize("metric", [None, "eval/reward"])
def test_a_study_without_results_yet_is_said_to_be_unfinished(tmp_path: Path, metric: str | None):
    study = finished_study(tmp_path, [Finished(beta=beta, status=None) for beta in (0.1, 0.5)])
    with pytest.raises(BadQuestion, match="the study is unfinished: 0 of 2 runs completed, 2 missing"):
        rank_runs(read([str(study)]), Question(("beta",), (), metric))
