"""Holm's correction, by hand."""

import math

import pytest

from analysis.statistics.holm import holm


def test_each_step_has_one_test_less():
    """0.01 x 4, 0.02 x 3, 0.03 x 2 = 0.06, 0.04 x 1, which may not be below the one before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_no_value_is_above_one():
    assert holm([0.9, 0.6]) == [1.0, 1.0]


def test_a_test_that_could_not_be_made_is_no_part_of_the_family():
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_a_family_of_none(values: list[float]):
    assert len(holm(values)) == len(values)
