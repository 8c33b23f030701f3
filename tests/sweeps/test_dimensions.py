"""Ranges and choices: one meaning of their ends."""

import math
import random

import pytest

from sweeps.dimensions import Choice, Dimension, Integer, Real
from sweeps.errors import SpaceError


def test_steps_go_up_to_the_last_that_fits():
    assert list(Integer(1, 8, step=3).all()) == [1, 4, 7]
    assert Integer(1, 8, step=3).high == 7


def test_steps_of_decimals_are_decimals():
    assert list(Real(0.1, 0.55, step=0.1).all()) == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize(
    "dimension", [Integer(1, 4), Integer(1, 4, log=True), Real(0.1, 0.4, step=0.1), Integer(0, 9, step=3)]
)
def test_both_ends_are_drawn_where_values_can_be_counted(dimension: Integer | Real):
    rng = random.Random(0)
    drawn = {dimension.sample(rng) for _ in range(300)}
    assert {dimension.low, dimension.high} <= drawn
    assert drawn == set(dimension.all())


@pytest.mark.parametrize("dimension", [Real(0.1, 0.4), Real(1e-5, 1e-2, log=True)])
def test_both_ends_belong_to_a_range_without_steps(dimension: Real):
    assert dimension.read(dimension.low) == dimension.low
    assert dimension.read(dimension.high) == dimension.high
    rng = random.Random(0)
    assert all(dimension.low <= dimension.sample(rng) <= dimension.high for _ in range(300))


def test_log_makes_each_order_of_magnitude_as_likely():
    rng = random.Random(0)
    drawn = [Real(1e-4, 1, log=True).sample(rng) for _ in range(4000)]
    assert sum(value < 1e-2 for value in drawn) / 4000 == pytest.approx(0.5, abs=0.05)


def test_a_rounded_number_is_read_as_the_step_it_means():
    assert Real(0.1, 0.5, step=0.1).read(0.1 + 0.2) == 0.3


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        (Real(0, 1, step=0.25), 0.3),
        (Real(0, 1), 1.01),
        (Integer(1, 5), 1.5),
        (Integer(1, 5), True),
        (Choice((1, 2)), True),
        (Real(0, 1), "0.5"),
    ],
)
def test_what_is_no_value_of_a_dimension_is_refused(dimension: Dimension, value: float | str):
    with pytest.raises(ValueError, match="is "):
        dimension.read(value)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Real(1, 0), "low 1 is above high 0"),
        (lambda: Real(0, 1, log=True), "low 0 is not above 0, as log needs it"),
        (lambda: Real(0.1, 1, log=True, step=0.1), "step 0.1 and log do not go together"),
        (lambda: Integer(1, 9, log=True, step=2), "step 2 and log do not go together"),
        (lambda: Integer(1, 9, step=0), "step 0 is not above 0"),
        (lambda: Integer(1, 2.5), "high 2.5 is no whole number"),  # type: ignore[arg-type]
        (lambda: Real(0, math.inf), "high inf is no finite number"),
        (lambda: Choice(()), "at least one value"),
        (lambda: Choice((1, 1.0)), "1.0 is there more than once"),
        (lambda: Choice((math.nan,)), "must be finite"),
    ],
)
def test_what_makes_no_dimension_is_refused(make, told: str):
    with pytest.raises(SpaceError, match=told):
        make()


def test_true_and_one_are_two_choices():
    assert [type(Choice((True, 1)).read(value)) for value in (1, True)] == [int, bool]
