"""Spaces: what they allow, what they list, what of them is a fault."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.dimensions import Choice, Integer, Real
from sweeps.errors import NoPoint, SpaceError
from sweeps.space import Part, Space, When
from sweeps.types import Scalar, Trial

METHODS = Choice(("dpo", "simpo"))
SIMPO = When({"method": ["simpo"]}, Part({"method.gamma": Choice((0.5, 1.0))}))
CONDITIONAL = Space({"method": METHODS, "beta": Real(0.005, 10)}, conditions=[SIMPO])


def listed(space: Space) -> list[tuple[Scalar, ...]]:
    return [tuple(point.values()) for point in space.points()]


def test_the_last_key_changes_fastest():
    assert listed(Space({"a": Choice((1, 2)), "b": Integer(1, 2)})) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_keys_that_are_zipped_move_together():
    space = Space(zips=[{"beta": [0.01, 0.1], "training.learning_rate": [1e-4, 1e-5]}])
    assert listed(space) == [(0.01, 1e-4), (0.1, 1e-5)]


def test_a_conditional_key_is_there_only_under_its_condition():
    space = Space({"method": METHODS}, conditions=[SIMPO])
    assert listed(space) == [("dpo",), ("simpo", 0.5), ("simpo", 1.0)]


def test_conditions_nest():
    inner = When({"method.gamma": [1.0]}, Part({"deep": Choice((True,))}))
    when = When({"method": ["simpo"]}, Part({"method.gamma": Choice((0.5, 1.0))}, conditions=[inner]))
    assert listed(Space({"method": METHODS}, conditions=[when])) == [("dpo",), ("simpo", 0.5), ("simpo", 1.0, True)]


def test_a_union_is_one_of_its_parts_and_equal_points_are_there_once():
    space = Space(any_of=[Part({"a": Choice((1, 2))}), Part({"a": Choice((2, 3))}), Part({"b": Choice((1,))})])
    assert list(space.points()) == [{"a": 1}, {"a": 2}, {"a": 3}, {"b": 1}]


def test_a_key_may_have_another_dimension_under_another_condition():
    space = Space(
        {"method": METHODS},
        conditions=[
            When({"method": ["dpo"]}, Part({"beta": Choice((0.1,))})),
            When({"method": ["simpo"]}, Part({"beta": Choice((2,))})),
        ],
    )
    assert listed(space) == [("dpo", 0.1), ("simpo", 2)]
    assert [slot.name for slot in space.slots] == ["method", "beta [method=dpo]", "beta [method=simpo]"]


def test_points_that_break_a_constraint_are_left_out():
    assert listed(Space({"a": Integer(1, 3), "b": Integer(1, 3)}, constraints=["a * b >= 6"])) == [
        (2, 3),
        (3, 2),
        (3, 3),
    ]


def test_enqueued_points_come_first():
    space = Space({"a": Integer(1, 3), "b": Integer(1, 2)}, enqueue=[{"a": 3, "b": 2}, {"b": 2}])
    assert listed(space) == [(3, 2), (1, 2), (1, 1), (2, 1), (2, 2), (3, 1)]


def test_a_continuous_range_cannot_be_listed_and_the_sweepers_that_can_are_named():
    with pytest.raises(SpaceError, match=r"continuous range of beta.*sweeper=tpe"):
        list(CONDITIONAL.points())


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (lambda: Space({"a": METHODS}, zips=[{"a": [1, 2], "b": [3, 4]}]), "a has two dimensions at once"),
        (lambda: Space({"method": METHODS}, conditions=[SIMPO, SIMPO]), "method.gamma has two dimensions at once"),
        (lambda: Space(zips=[{"a": [1], "b": [1, 2]}]), "equally many values, but a has 1, b has 2"),
        (lambda: Space(zips=[{"a": [1, 2]}]), "two at least, not a"),
        (lambda: Space({"a": METHODS}, conditions=[SIMPO]), "asks for method, which nothing before it decides"),
        (
            lambda: Space({"method": METHODS}, conditions=[When({"method": ["ipo"]}, Part({"x": METHODS}))]),
            "asks for method=ipo, which it can never be",
        ),
        (lambda: Space(any_of=[Part()]), "any_of needs two parts"),
        (lambda: Space({"a": Real(0, 1)}, constraints=["b > 1"]), "there is no key b; there are a"),
        (lambda: Space({"a": METHODS}, constraints=["a > 1"]), "a is not always a number"),
        (lambda: Space({"a": Real(0, 1)}, constraints=["a > 2"]), "10,000 points drawn at random all break"),
        (lambda: Space({"a": Integer(0, 1)}, constraints=["a > 2"]), "10,000 points drawn at random all break"),
        (lambda: Space({"a": Real(0, 1)}, enqueue=[{"a": 2}]), r"enqueue, point 1 \(a=2\): a=2 is none of 0.0 to 1.0"),
        (lambda: Space({"a": Real(0, 1)}, enqueue=[{"b": 2}]), "there is no key b"),
        (lambda: Space({"a": Real(0, 1)}, enqueue=[{}]), "it gives no key"),
        (lambda: Space({"a": Real(0, 1)}, enqueue=[{"a": 1}, {"a": 1.0}]), "point 2 .*more than once"),
        (
            lambda: Space({"method": METHODS}, conditions=[SIMPO], enqueue=[{"method": "dpo", "method.gamma": 0.5}]),
            "no point has these values together",
        ),
        (lambda: Space({"a": Real(0, 1)}, constraints=["a < 0.5"], enqueue=[{"a": 0.7}]), "it breaks a < 0.5"),
    ],
)
def test_a_space_that_cannot_be_is_refused(space: Any, told: str):
    with pytest.raises(SpaceError, match=told):
        space()


def test_all_faults_of_a_file_are_told_at_once():
    data = {
        "dimensions": {"a": {"range": [2, 1]}, "b": 3, "c": {"integers": [1, 2], "steps": 1}},
        "zips": [{"d": 1}],
        "conditions": [{"given": {"a": 1}}],
        "unions": [],
    }
    with pytest.raises(SpaceError) as error:
        Space.from_dict(data)
    for word in (
        "a: low 2 is above",
        "b: 3 is neither",
        "c: there is no steps",
        "zips: ",
        "condition 1: ",
        "no unions",
    ):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ({"method": "dpo", "beta": 1}, ""),
        ({"method": "dpo"}, "beta is missing"),
        ({"method": "dpo", "beta": 1, "method.gamma": 0.5}, "method.gamma has no place beside the other values"),
        ({"method": "simpo", "beta": 11.0, "method.gamma": 0.5}, "beta=11.0 is none of 0.005 to 10.0"),
        ({"method": "ipo", "beta": 1, "odd": 1}, "method='ipo' is none of dpo, simpo\nthere is no key odd"),
    ],
)
def test_why_a_point_is_not_of_the_space_is_told(point: dict[str, Scalar], told: str):
    assert "\n".join(CONDITIONAL.contains(point)).startswith(told)
    assert CONDITIONAL.fits(point) == (told == "")


def test_corners_use_every_choice_and_both_ends():
    space = Space(
        {"method": METHODS, "lr": Real(1e-6, 1e-3, log=True), "n": Integer(1, 9, step=2)},
        conditions=[SIMPO],
        any_of=[Part({"x": Choice((1, 2, 3))}), Part({"y": Real(0, 1)})],
    )
    corners = space.corners()
    had = {(key, value) for point in corners for key, value in point.items()}
    assert had >= {("method", "dpo"), ("method", "simpo"), ("lr", 1e-6), ("lr", 1e-3), ("n", 1), ("n", 9)}
    assert had >= {("method.gamma", 0.5), ("method.gamma", 1.0), ("x", 1), ("x", 2), ("x", 3), ("y", 0.0), ("y", 1.0)}
    assert len(corners) < 12
    assert all(space.fits(point) for point in corners)


def test_corners_keep_the_constraints():
    space = Space({"a": Real(0, 1), "b": Real(0, 1)}, constraints=["a + b <= 1"])
    assert all(space.fits(point) for point in space.corners())
    assert {point["a"] for point in space.corners()} >= {0.0, 1.0}


def test_values_that_no_trial_had_are_told_by_key():
    space = Space({"method": METHODS, "lr": Real(0, 1), "n": Integer(1, 3)}, conditions=[SIMPO])
    trials = [Trial(0, {"method": "simpo", "lr": 0.5, "n": 2, "method.gamma": 0.5})]
    assert space.never_tried(trials) == {"method": ["dpo"], "n": [1, 3], "method.gamma": [1.0]}


def test_constraints_that_hardly_any_point_keeps_are_told():
    space = Space({"a": Real(0, 1)}, constraints=["a <= 0.5"])
    with pytest.raises(NoPoint, match="Loosen the constraints"):
        space.sample(random.Random(0), {"a": (0.7,)})


def test_plain_data_and_back_is_the_same_space():
    space = Space(
        {"method": METHODS, "lr": Real(1e-6, 1e-3, log=True), "n": Integer(1, 8, step=3), "k": Integer(1, 8, log=True)},
        zips=[{"a": [1, 2], "b": [None, "x"]}],
        conditions=[SIMPO],
        any_of=[Part({"x": Real(0, 1, step=0.1)}), Part({"y": Choice((True, 1))})],
        enqueue=[{"method": "simpo"}],
        constraints=["lr * n < 1"],
    )
    assert Space.from_dict(json.loads(json.dumps(space.as_dict()))) == space


@st.composite
def parts(draw: st.DrawFn, keys: str = "abcd", depth: int = 2) -> Part:
    """Parts whose keys are their own, nested up to `depth`."""
    dimensions: dict[str, Any] = {}
    for key in keys[: draw(st.integers(1, 2))]:
        dimensions[key] = draw(
            st.sampled_from([Choice((1, 2)), Choice((True, 1, "x")), Integer(1, 5, step=2), Real(0, 0.3, step=0.1)])
        )
    conditions, union = [], []
    if depth:
        key, dimension = next(iter(dimensions.items()))
        values = list(dimension.all())[:1]
        conditions = [When({key: values}, draw(parts(keys="efgh" if depth == 2 else "ijkl", depth=depth - 1)))]
        if draw(st.booleans()):
            union = [
                Part({f"u{depth}": Choice((1, 2))}),
                Part({f"u{depth}": Choice((2, 3)), f"v{depth}": Integer(1, 2)}),
            ]
    return Part(dimensions, (), conditions, union)


@settings(max_examples=40, deadline=None)
@given(part=parts(), seed=st.integers(0, 5))
def test_what_is_drawn_is_listed_and_what_is_listed_is_of_the_space(part: Part, seed: int):
    space = Space(part.dimensions, part.zips, part.conditions, part.any_of)
    points = list(space.points())
    assert len({space.identity(point) for point in points}) == len(points)
    assert all(space.contains(point) == [] for point in points)
    drawn = space.sample(random.Random(seed))
    assert space.identity(drawn) in {space.identity(point) for point in points}
    assert Space.from_dict(space.as_dict()) == space


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"dimensions": {"a": {"range": [1, 2], "log": "yes"}}}, "a: log is true or false, not 'yes'"),
        ({"dimensions": {1: [1, 2]}}, "1: a key is a text"),
        ({"dimensions": {"a": {"range": [1, "x"]}}}, "a: high 'x' is no finite number"),
        ({"dimensions": [1]}, "dimensions: .* is no mapping"),
        ({"conditions": [{"given": {"a": 1}, "then": 3}]}, "condition 1: 3 is no mapping"),
    ],
)
def test_plain_data_that_is_no_space_is_refused(data: dict[Any, Any], told: str):
    with pytest.raises(SpaceError, match=told):
        Space.from_dict(data)
