"""What a run's metric is made of, prompt by prompt."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.by_prompt import by_prompt, part_of
from analysis.folders import read_folders
from tests.analysis.planted import answer
from tests.fakes.finished_study import Finished, finished_study

PAIRS = {
    "pair": ["aa", "bb", "cc", "dd"],
    "chosen_logp": [-1.0, -5.0, -2.0, -4.0],
    "rejected_logp": [-2.0, -4.0, -2.0, -9.0],
    "chosen_logratio": [0.5, -1.0, 0.0, 2.0],
    "rejected_logratio": [-0.5, -1.0, 1.0, 0.0],
    "chosen_tokens": [1, 5, 1, 4],
    "rejected_tokens": [1, 1, 2, 3],
}


def frame(root: Path, *runs: Finished) -> pd.DataFrame:
    return read_folders([finished_study(root, list(runs))], ("pairs", "answers")).frame


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("eval/policy_accuracy", [1, 0, 0.5, 1]),
        ("eval/policy_accuracy_norm", [1, 1, 0, 1]),
        ("eval/reward_accuracy", [1, 0.5, 0, 1]),
        ("eval/margin_nats", [1, 0, -1, 2]),
        ("eval/chosen_logratio", [0.5, -1, 0, 2]),
    ],
)
def test_measures_of_pairs_are_worked_out_as_the_scorer_does(tmp_path: Path, metric: str, expected: list[float]):
    found = by_prompt(frame(tmp_path, Finished(pairs=PAIRS)), metric)
    assert list(found.names) == ["aa", "bb", "cc", "dd"]
    assert found.values[0] == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["eval/win_rate", "eval/reward", "eval/kl", "eval/length", "eval/ended"])
def test_measures_of_answers_are_their_columns(tmp_path: Path, metric: str):
    answers = [answer(0, win=1.0, reward=2.0, kl=3.0, tokens=4, ended=True)]
    found = by_prompt(frame(tmp_path, Finished(answers=answers)), metric)
    expected = {"eval/win_rate": 1, "eval/reward": 2, "eval/kl": 3, "eval/length": 4, "eval/ended": 1}
    assert found.values[0] == pytest.approx([expected[metric]])


def test_measures_a_token_are_ratios_of_sums(tmp_path: Path):
    """KL 6 over 3 tokens and 2 over 5: 8/8 a token; entropy 2 over 3 tokens and 0.4 over 5: (6 + 2)/8."""
    answers = [answer(0, kl=6.0, tokens=3, entropy=2.0), answer(1, kl=2.0, tokens=5, entropy=0.4)]
    found = frame(tmp_path, Finished(answers=answers))
    assert by_prompt(found, "eval/kl_per_token").values[0].mean() == pytest.approx(1.0)
    assert by_prompt(found, "eval/kl_per_token").values[0] == pytest.approx([1 + 3 / 4, 1 - 3 / 4])
    assert by_prompt(found, "eval/entropy").values[0].mean() == pytest.approx(1.0)


def test_runs_are_aligned_by_prompt_whatever_their_order(tmp_path: Path):
    first = [answer(place, reward=float(place)) for place in (0, 1, 2)]
    second = [answer(place, reward=float(place)) for place in (3, 2, 0)]
    found = by_prompt(frame(tmp_path, Finished(seed=0, answers=first), Finished(seed=1, answers=second)), "eval/reward")
    assert found.values[0][:3] == pytest.approx([0, 1, 2])
    assert math.isnan(found.values[0][3])
    assert list(np.isnan(found.values[1])) == [False, True, False, False]


def test_what_was_not_rated_is_missing(tmp_path: Path):
    answers = [answer(0, reward=None), answer(1, reward=1.0)]
    assert list(np.isnan(by_prompt(frame(tmp_path, Finished(answers=answers)), "eval/reward").values[0])) == [
        True,
        False,
    ]


def test_a_prompt_on_two_rows_is_one_with_their_mean(tmp_path: Path):
    answers = [answer(0, reward=1.0), answer(0, reward=3.0), answer(1, reward=5.0)]
    found = by_prompt(frame(tmp_path, Finished(answers=answers)), "eval/reward")
    assert found.values[0] == pytest.approx([2.0, 5.0])
    assert list(found.counts) == [2, 1]


def test_a_run_without_answers_has_no_values(tmp_path: Path):
    runs = (Finished(seed=0, answers=[answer(0)]), Finished(seed=1), Finished(seed=2, answers=[answer(0, win=None)]))
    assert set(by_prompt(frame(tmp_path, *runs), "eval/win_rate").values) == {0}


@pytest.mark.parametrize("metric", ["train/loss", "eval/win_rate_lc", "eval/reward_accuracy.short"])
def test_some_metrics_are_of_whole_runs(tmp_path: Path, metric: str):
    assert part_of(metric) is None
    assert not by_prompt(frame(tmp_path, Finished(pairs=PAIRS)), metric).values


def test_infinite_values_are_missing():
    runs = pd.DataFrame({"answers.prompt": [["a", "b"]], "answers.kl": [[math.inf, 1.0]]})
    assert list(np.isnan(by_prompt(runs, "eval/kl").values[0])) == [True, False]


def test_lists_of_unlike_lengths_are_no_values():
    runs = pd.DataFrame({"answers.prompt": [["a", "b"]], "answers.kl": [[1.0]]})
    assert not by_prompt(runs, "eval/kl").values
