"""Numbers as text."""

import pytest

from analysis.report.numbers import decimals, fixed, significant, strength


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.6406, 3, "0.641"),
        (-1.25, 2, "\u22121.25"),
        (0.0625, 3, "0.063"),  # a tie: as JavaScript's toFixed, not to the even digit
        (-0.0625, 3, "\u22120.063"),
        (0.1005, 3, "0.101"),  # the double is above the tie
        (1.005, 2, "1.00"),  # the double is below the tie
        (-0.0001, 2, "0.00"),
        (12345678.9, 1, "12345678.9"),
        (None, 2, "\u2013"),
        (float("nan"), 2, "\u2013"),
        (float("inf"), 2, "\u2013"),
    ],
)
def test_a_number_with_fixed_decimals(value: float | None, places: int, text: str):
    assert fixed(value, places) == text


@pytest.mark.parametrize(
    ("spreads", "values", "places"),
    [
        ([0.012, 0.036, 0.041], [0.64], 3),
        ([0.31], [12.3], 2),
        ([7.0], [100.0], 1),
        ([], [0.643], 3),
        ([], [12.3], 1),
        ([], [1234.0], 0),
        ([0.0], [0.5], 3),
        ([0.0004], [0.64], 3),
        ([0.00004], [0.0064], 5),
        ([], [], 3),
    ],
)
def test_decimals_tell_two_digits_of_the_spread(spreads: list[float], values: list[float], places: int):
    assert decimals(spreads, values) == places


def test_a_strength_is_told_as_people_type_it():
    assert [strength(value) for value in (0.05, 10.0, 1e-5, None, float("nan"))] == ["0.05", "10", "1e-05", "", ""]


def test_stored_numbers_keep_four_digits():
    assert significant(0.123456) == 0.1235
    assert significant(-98765.4) == -98770.0
