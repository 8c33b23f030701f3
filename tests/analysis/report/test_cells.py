"""Runs become cells: settings that differ in more than the seed."""

import math
from pathlib import Path

import pytest

from analysis.report.cells import make_cells
from analysis.report.content import Cell, Estimate
from analysis.sources import read
from tests.fakes.finished_study import Finished, changed, finished_study

REWARD = "eval/reward"


def cells(root: Path, *runs: Finished, metrics: tuple[str, ...] = (REWARD,)) -> list[Cell]:
    return make_cells(read([str(finished_study(root, runs))]), metrics)


def test_seeds_of_a_setting_are_one_cell_with_their_mean_and_standard_error(tmp_path: Path):
    (cell,) = cells(
        tmp_path, *(Finished(seed=seed, metrics={REWARD: value}) for seed, value in enumerate((1.0, 2.0, 6.0)))
    )
    error = math.sqrt(((1 - 3) ** 2 + (2 - 3) ** 2 + (6 - 3) ** 2) / 2 / 3)
    assert cell.runs == [0, 1, 2]
    assert cell.scores[REWARD] == Estimate(3.0, pytest.approx(3 - error), pytest.approx(3 + error), 3)


def test_one_seed_has_no_band(tmp_path: Path):
    (cell,) = cells(tmp_path, Finished(metrics={REWARD: 1.0}))
    assert cell.scores[REWARD] == Estimate(1.0, None, None, 1)


def test_only_completed_runs_with_a_finite_value_count(tmp_path: Path):
    (cell,) = cells(
        tmp_path,
        Finished(seed=0, metrics={REWARD: 1.0}),
        Finished(seed=1, metrics={REWARD: 100.0}, status="failed"),
        Finished(seed=2, metrics={REWARD: None}),
        Finished(seed=3, status=None),
    )
    assert cell.scores[REWARD] == Estimate(1.0, None, None, 1)
    assert len(cell.runs) == 4


def test_cells_stand_by_method_then_by_strength(tmp_path: Path):
    made = [("ipo", 0.5), ("dpo", 10.0), ("ipo", 0.05), ("dpo", 9.0), ("sft", 0.1)]
    found = cells(tmp_path, *(Finished(method, strength, metrics={REWARD: 1.0}) for method, strength in made))
    assert [cell.label for cell in found] == ["ipo, tau 0.05", "ipo, tau 0.5", "dpo, beta 9", "dpo, beta 10", "sft"]
    assert found[-1].strength is None


def test_another_swept_key_makes_other_cells_and_is_named(tmp_path: Path):
    rates = (1e-5, 5e-6)
    found = cells(
        tmp_path, *(Finished(metrics={REWARD: 1.0}, params={"training.learning_rate": rate}) for rate in rates)
    )
    assert [cell.label for cell in found] == [
        "dpo, beta 0.1, training.learning_rate=1e-05", "dpo, beta 0.1, training.learning_rate=5e-06",
    ]  # fmt: skip


def test_a_swept_key_that_says_what_a_column_says_is_not_named_twice(tmp_path: Path):
    references = ({"kind": "self"}, {"kind": "model", "path": "/models/larger"})
    run = Finished(metrics={REWARD: 1.0})
    runs = [changed(run, config={"reference": each}, params={"reference": each["kind"]}) for each in references]
    found = cells(tmp_path, *runs)
    assert [cell.label for cell in found] == ["dpo, beta 0.1, held to self", "dpo, beta 0.1, held to model:larger"]
    assert found[0].others == {}
