"""Runs read from study folders: one row each, with what the run was and what came of it."""

from pathlib import Path

import pytest

from analysis.errors import BadQuestion, NoRuns
from analysis.folders import read_folders
from analysis.identity import reference_label
from analysis.runs import IDENTITY
from tests.fakes.finished_study import Finished, finished_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return finished_study(
        tmp_path,
        [
            Finished("dpo", 0.1, 0, metrics={"eval/reward": 1.5, "train/loss": 0.3}),
            Finished("dpo", 0.1, 1, metrics={"eval/reward": None}),
            Finished("ipo", 0.5, 0, status="failed", error="the loss became nan"),
            Finished("ipo", 0.5, 1, status=None),
        ],
    )


def test_each_run_is_a_row_in_the_order_of_the_study(study: Path):
    frame = read_folders([study]).frame
    assert list(frame["method"]) == ["dpo", "dpo", "ipo", "ipo"]
    assert list(frame["beta"]) == [0.1, 0.1, 0.5, 0.5]
    assert list(frame["status"]) == ["completed", "completed", "failed", "missing"]
    assert list(frame.columns[: len(IDENTITY)]) == list(IDENTITY)


def test_a_metric_that_a_run_lacks_is_nan(study: Path):
    rewards = read_folders([study]).frame["eval/reward"]
    assert rewards[0] == 1.5
    assert rewards[1:].isna().all()


def test_a_key_is_looked_up_in_swept_values_then_in_the_config(study: Path):
    runs = read_folders([study])
    assert set(runs.values("training.learning_rate")) == {1e-3}
    assert list(runs.values("method")) == ["dpo", "dpo", "ipo", "ipo"]
    assert runs.swept() == ["beta", "method"]


def test_a_key_that_no_run_has_is_told_with_those_that_were_swept(study: Path):
    with pytest.raises(BadQuestion, match=r"training\.lr: no run has such a key; swept are beta, method"):
        read_folders([study]).values("training.lr")


def test_a_folder_without_a_study_is_told(tmp_path: Path):
    with pytest.raises(NoRuns, match=r"no study\.yaml"):
        read_folders([tmp_path])


@pytest.mark.parametrize(
    ("reference", "label"),
    [
        ({"kind": "self"}, "self"),
        ({"kind": "model", "path": "/models/larger"}, "model:larger"),
        ({"kind": "run", "run": {"method": "sft"}}, "run:method=sft"),
        ({"kind": "mixture", "first": "self", "second": "/m/b", "weight": 0.5}, "mixture:self+b@0.5"),
    ],
)
def test_a_reference_is_told_in_a_few_words(reference: dict[str, object], label: str):
    assert reference_label({"reference": reference}) == label
