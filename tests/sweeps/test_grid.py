"""The grid sweeper's own rules."""

import sys
from pathlib import Path

import pytest

import sweeps
from sweeps.errors import EmptySpace
from sweeps.grid import GridSweeper


def test_the_last_key_changes_fastest():
    trials = GridSweeper({"method": ("dpo", "ipo"), "beta": (0.1, 0.5)}).ask(10)
    assert [tuple(trial.params.values()) for trial in trials] == [
        ("dpo", 0.1),
        ("dpo", 0.5),
        ("ipo", 0.1),
        ("ipo", 0.5),
    ]


def test_a_space_without_keys_has_one_trial():
    sweeper = GridSweeper({})
    assert [trial.params for trial in sweeper.ask(5)] == [{}]
    assert not sweeper.ask(5)


def test_after_the_last_point_nothing_comes():
    sweeper = GridSweeper({"beta": (0.1,)})
    sweeper.ask(1)
    assert list(sweeper.ask(1)) == []


def test_a_key_without_values_is_refused_by_name():
    with pytest.raises(EmptySpace, match="beta"):
        GridSweeper({"beta": ()})


def test_sweeps_is_this_projects_package(repository: Path):
    """Another distribution ships a top-level module of that name."""
    assert Path(str(sweeps.__file__)).is_relative_to(repository)
    assert sys.modules["sweeps"] is sweeps
