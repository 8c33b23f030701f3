"""The frontier of reward and KL."""

from pathlib import Path

import numpy as np
import pytest

from analysis.errors import BadQuestion, Incomparable
from analysis.ranking.frontier import Frontier, frontiers, undominated
from analysis.ranking.rank import Question, rank_runs
from analysis.sources import read
from tests.analysis.planted import planted
from tests.fakes.finished_study import Finished


def frontier(folder: Path, other: str = "eval/kl") -> Frontier:
    runs = read([str(folder)], ("pairs", "answers"))
    return frontiers(runs, rank_runs(runs, Question(("beta",), metric="eval/reward")), other)[0]


def test_who_is_behind_another_in_both_is_not_on_it():
    points = np.array([[1.0, -5.0], [1.2, -9.0], [0.9, -8.0], [1.0, -5.0]])[:, :, None]
    assert list(undominated(points)[:, 0]) == [True, True, False, True]


def test_more_kl_without_more_reward_is_off_the_frontier(tmp_path: Path):
    """KL is 1/beta: beta 0.1 has the most reward, 0.05 less of it for more KL, 0.5 and 1 less for less."""
    found = frontier(planted(tmp_path, {0.05: 0.6, 0.1: 1.0, 0.5: 0.5, 1.0: 0.1}))
    assert [point.keys["beta"] for point in found.points] == [1.0, 0.5, 0.1, 0.05]
    assert [point.on_frontier for point in found.points] == [True, True, True, False]
    assert [point.share > 0.5 for point in found.points] == [True, True, True, False]
    assert found.points[2].other == pytest.approx(10, rel=0.05)


def test_how_sure_it_is_tells_ties(tmp_path: Path):
    found = frontier(planted(tmp_path, {0.05: 1.0, 0.1: 1.0, 0.5: 0.2}, seed_sd=0.1))
    assert 0.05 < found.points[-1].share < 0.95


def test_degenerate_and_unmeasured_settings_are_left_out_and_told(tmp_path: Path):
    more = [
        Finished("dpo", 0.01, metrics={"eval/reward": 9.0, "eval/kl": 900.0}, degenerate="empty"),
        Finished("dpo", 0.9, metrics={"eval/reward": 0.3}),
    ]
    found = frontier(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, more=more))
    assert len(found.points) == 2
    assert list(found.left_out) == ["beta=0.01 is degenerate", "beta=0.9 lacks the other metric"]


@pytest.mark.parametrize(
    ("other", "told"),
    [("eval/reward", "name another"), ("eval/klp", "no run has it"), ("train/other", "neither large")],
)
def test_the_other_metric_must_be_another_with_a_better_side(tmp_path: Path, other: str, told: str):
    more = [Finished("dpo", 0.2, metrics={"train/other": 1.0})]
    with pytest.raises(BadQuestion, match=told):
        frontier(planted(tmp_path, {0.1: 1.0}, more=more), other)


def test_kl_to_two_references_makes_no_frontier(tmp_path: Path):
    other = [
        Finished("dpo", 0.2, metrics={"eval/reward": 1.0, "eval/kl": 2.0},
                 config={"reference": {"kind": "model", "path": "/models/larger"}}),
    ]  # fmt: skip
    runs = read([str(planted(tmp_path, {0.1: 1.0}, more=other))], ("pairs", "answers"))
    ranking = rank_runs(runs, Question(("reference",), (), "eval/reward", allow_incomparable=True))
    assert frontiers(runs, ranking, "eval/kl")
    with pytest.raises(Incomparable, match="the reference"):
        frontiers(runs, rank_runs(runs, Question(("reference",), (), "eval/reward")), "eval/kl")
