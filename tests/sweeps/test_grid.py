"""The grid sweeper's own rules."""

import sys
from pathlib import Path

import pytest

import sweeps
from sweeps.errors import EmptySpace
from sweeps.grid import GridSweeper, combinations


def test_the_last_key_changes_fastest():
    points = combinations({"method": ("dpo", "ipo"), "beta": (0.1, 0.5)})
    assert [tuple(point.values()) for point in points] == [
        ("dpo", 0.1),
        ("dpo", 0.5),
        ("ipo", 0.1),
        ("ipo", 0.5),
    ]


def test_a_space_without_keys_has_one_point():
    assert list(combinations({})) == [{}]


def test_a_trial_has_the_keys_of_its_point_and_no_others():
    points = [{"method": "dpo", "beta": 0.1}, {"method": "sft"}]
    assert [trial.params for trial in GridSweeper(points).ask(5)] == points


def test_after_the_last_point_nothing_comes():
    sweeper = GridSweeper([{"beta": 0.1}])
    sweeper.ask(1)
    assert list(sweeper.ask(1)) == []


def test_a_key_without_values_is_refused_by_name():
    with pytest.raises(EmptySpace, match="beta"):
        combinations({"beta": ()})


def test_sweeps_is_this_projects_package(repository: Path):
    """Another distribution ships a top-level module of that name."""
    assert Path(str(sweeps.__file__)).is_relative_to(repository)
    assert sys.modules["sweeps"] is sweeps
