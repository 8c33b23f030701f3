"""Which runs belong to a cell, and which cells are ranked together."""

from pathlib import Path

import pytest

from analysis.cells import Sorted, shown, sort_runs
from analysis.errors import BadQuestion
from analysis.folders import read_folders
from tests.fakes.finished_study import Finished, finished_study


def sort(root: Path, runs: list[Finished], by: str, within: tuple[str, ...] | None = None) -> Sorted:
    return sort_runs(read_folders([finished_study(root, runs)]), by.split(","), within)


def cells(found: Sorted) -> list[list[tuple[object, int]]]:
    """Of each group, the first value of each cell and the number of its runs."""
    return [[(cell.values[0], len(cell.rows)) for cell in group.cells] for group in found.groups]


def test_seeds_of_one_setting_are_a_cell(tmp_path: Path):
    found = sort(tmp_path, [Finished("dpo", beta, seed) for beta in (0.5, 0.1) for seed in (0, 1, 2)], "beta")
    assert cells(found) == [[(0.1, 3), (0.5, 3)]]
    assert found.within == ()


def test_numbers_are_in_order_of_size_and_what_is_missing_last(tmp_path: Path):
    runs = [Finished("dpo", 10.0), Finished("dpo", 2.0), Finished("sft")]
    assert [value for value, _ in cells(sort(tmp_path, runs, "beta", ()))[0]] == [2.0, 10.0, None]


def test_what_else_differs_makes_groups(tmp_path: Path):
    runs = [
        Finished(method, beta, config={"training__learning_rate": rate})
        for method in ("dpo", "ipo")
        for rate in (1e-4, 1e-3)
        for beta in (0.1, 0.5)
    ]
    found = sort(tmp_path, runs, "beta")
    assert found.within == ("method", "training.learning_rate")
    assert [len(group.cells) for group in found.groups] == [2, 2, 2, 2]


def test_strengths_of_two_methods_are_no_one_scale_even_where_they_have_none_in_common(tmp_path: Path):
    found = sort(tmp_path, [Finished("dpo", 0.1), Finished("dpo", 0.5), Finished("ipo", 1.0)], "beta")
    assert found.within == ("method",)
    assert cells(found) == [[(0.1, 1), (0.5, 1)], [(1.0, 1)]]


def test_keys_that_are_left_out_are_gone_over_and_told(tmp_path: Path):
    runs = [
        Finished("dpo", beta, config={"training__learning_rate": rate}) for rate in (1e-4, 1e-3) for beta in (0.1, 0.5)
    ]
    found = sort(tmp_path, runs, "beta", ("method",))
    assert cells(found) == [[(0.1, 2), (0.5, 2)]]
    assert found.told == [
        "means go over training.learning_rate, in which runs of a cell differ; --within takes them apart"
    ]
    assert found.groups[0].cells[0].repetitions == [(0.0, 1e-4), (0.0, 1e-3)]


def test_settings_that_change_nothing_make_no_groups(tmp_path: Path):
    runs = [
        Finished("dpo", 0.1, 0, config={"tracking__project": "one", "evaluation__batch_size": 4}),
        Finished("dpo", 0.5, 0, config={"tracking__project": "other"}),
        Finished("dpo", 0.1, 1, config={"training__logging_steps": 9}),
    ]
    assert sort(tmp_path, runs, "beta").within == ()


def test_any_key_of_the_config_can_be_ranked(tmp_path: Path):
    runs = [Finished("dpo", 0.1, config={"training__learning_rate": rate}) for rate in (1e-3, 1e-4)]
    assert cells(sort(tmp_path, runs, "training.learning_rate")) == [[(1e-4, 1), (1e-3, 1)]]


def test_the_same_run_in_two_studies_is_counted_once(tmp_path: Path):
    first = finished_study(tmp_path, [Finished("dpo", 0.1, 0, status=None), Finished("dpo", 0.5, 0)], name="one")
    second = finished_study(tmp_path, [Finished("dpo", 0.1, 0, metrics={"eval/reward": 1.0})], name="two")
    runs = read_folders([first, second])
    found = sort_runs(runs, ["beta"])
    assert cells(found) == [[(0.1, 1), (0.5, 1)]]
    assert runs.frame["status"][found.groups[0].cells[0].rows[0]] == "completed"
    assert found.told == ["1 runs repeat another with the same settings and seed, and are counted once"]


@pytest.mark.parametrize(("by", "within"), [("seed", ()), ("beta", ("seed",))])
def test_seeds_cannot_be_ranked(tmp_path: Path, by: str, within: tuple[str, ...]):
    with pytest.raises(BadQuestion, match="means and intervals go over seeds"):
        sort(tmp_path, [Finished()], by, within)


def test_a_key_that_nobody_has_is_told(tmp_path: Path):
    with pytest.raises(BadQuestion, match=r"training\.lr: no run has such a key"):
        sort(tmp_path, [Finished()], "training.lr")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1e-05, "1e-05"), (3.0, "3"), (True, "true"), (None, "none"), ("a\x1b[1m\nb", "a [1m b")],
)
def test_values_are_shown_on_one_harmless_line(value: object, text: str):
    assert shown(value) == text
