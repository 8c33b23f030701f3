"""The space that a command and its `search` section give, and the trials that its points become."""

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.config import Composer, Source, composer
from orchestrator.errors import BadCommand
from orchestrator.search_settings import StructureSettings
from orchestrator.search_space import Searched, draft_search, every_point
from orchestrator.trials import Drafts
from sweeps.dimensions import Choice, Real
from sweeps.types import Trial

BETA = "beta=tag(log,interval(0.005,1.0))"


@pytest.fixture
def compose() -> Iterator[Composer]:
    with composer(Source()) as composed:
        yield composed


def drafted(compose: Composer, *overrides: str, **structure: Any) -> tuple[Searched, Drafts]:
    parsed = compose.parse(overrides)
    assert not parsed.faults
    return draft_search(compose, parsed, StructureSettings.model_validate(structure))


def searched(compose: Composer, *overrides: str, **structure: Any) -> Searched:
    found, drafts = drafted(compose, *overrides, **structure)
    assert not drafts.faults
    return found


def guards(found: Searched) -> dict[str, list[dict[str, tuple[object, ...]]]]:
    """Under what each key is there."""
    slots: dict[str, list[dict[str, tuple[object, ...]]]] = {}
    for slot in found.space.slots:
        for key in slot.keys:
            slots.setdefault(key, []).append(dict(slot.guard.given))
    return slots


def test_options_are_choices_and_ranges_are_ranges(compose: Composer):
    space = searched(compose, "method=dpo,ipo", BETA).space
    assert dict(space.dimensions) == {"method": Choice(("dpo", "ipo")), "beta": Real(0.005, 1.0, log=True)}


def test_a_key_is_there_where_the_options_have_it(compose: Composer):
    found = searched(compose, "method=dpo,simpo,sft", "method.gamma=interval(0,1.6)", BETA)
    assert guards(found) == {
        "method": [{}],
        "method.gamma": [{"method": ("simpo",)}],
        "beta": [{"method": ("dpo", "simpo")}],
    }


def test_an_option_that_does_not_go_with_every_other_is_chosen_among_those_that_do(compose: Composer):
    """trdpo needs a reference that moves, and orpo has no use for one."""
    found = searched(compose, "method=dpo,trdpo", "reference=self,moving", BETA)
    points = [
        {"method": "trdpo", "reference": "self", "beta": 0.1},
        {"method": "dpo", "reference": "self", "beta": 0.1},
    ]
    assert [found.space.fits(point) for point in points] == [False, True]


def test_a_key_that_no_option_has_is_at_fault(compose: Composer):
    _, drafts = drafted(compose, "method=dpo,ipo", "method.gamma=interval(0,1.6)")
    assert any("method.gamma" in fault for fault in drafts.faults)


def test_zipped_keys_move_together(compose: Composer):
    found = searched(compose, zip=[{"beta": "0.1,0.5", "training.learning_rate": "1e-4,1e-5"}])
    assert list(found.space.points()) == [
        {"beta": 0.1, "training.learning_rate": 1e-4},
        {"beta": 0.5, "training.learning_rate": 1e-5},
    ]


def test_a_when_adds_a_key_for_some_trials(compose: Composer):
    when = [{"if": {"method": "simpo"}, "sweep": {"method.gamma": "interval(0,1.6)"}}]
    assert guards(searched(compose, "method=dpo,simpo", when=when))["method.gamma"] == [{"method": ("simpo",)}]


def test_a_when_goes_before_what_is_swept_for_every_trial(compose: Composer):
    """simpo's strengths are of another size than dpo's."""
    when = [{"if": {"method": ["simpo"]}, "sweep": {"beta": "interval(2,10)"}}]
    found = searched(compose, "method=dpo,ipo,simpo", BETA, when=when)
    assert guards(found)["beta"] == [{"method": ("dpo", "ipo")}, {"method": ("simpo",)}]
    assert not found.space.fits({"method": "simpo", "beta": 0.1})


def test_a_when_that_a_range_decides_beside_a_key_of_every_trial_is_at_fault(compose: Composer):
    when = [{"if": {"training.learning_rate": 0.001}, "sweep": {"beta": "interval(2,10)"}}]
    _, drafts = drafted(compose, "training.learning_rate=interval(0.001,0.1)", BETA, when=when)
    assert any("search.when[0]: beta is swept for every trial too" in fault for fault in drafts.faults)


def test_a_union_has_the_keys_of_one_part_at_a_time(compose: Composer):
    parts = [{"beta": "0.1,0.5"}, {"beta": 2, "training.learning_rate": "1e-6"}]
    found = searched(compose, any_of=parts)
    assert list(found.space.points()) == [{"beta": 0.1}, {"beta": 0.5}, {"beta": 2, "training.learning_rate": 1e-6}]


@pytest.mark.parametrize(
    ("structure", "said"),
    [
        ({"zip": [{"beta": "0.1,0.5", "training.learning_rate": "1e-4"}]}, "search: "),
        ({"enqueue": [{"beta": 7.0}]}, "search: "),
        ({"constraints": ["beta < nonsense"]}, "search: "),
        ({"zip": [{"beta": "interval(1,0.1)"}]}, "search.zip[0]: "),
    ],
)
def test_what_is_wrong_with_the_structure_is_told(compose: Composer, structure: dict[str, Any], said: str):
    _, drafts = drafted(compose, "epochs=1,2", *([] if "zip" in structure else [BETA]), **structure)
    assert any(fault.startswith(said) for fault in drafts.faults), drafts.faults


def test_a_trial_composes_with_its_values_as_they_were_written(compose: Composer):
    found = searched(compose, "method=dpo,simpo", "method.gamma=interval(0,1.6)", "tracking=disabled")
    draft = found.draft(compose, Trial(3, {"method": "simpo", "method.gamma": 0.25}))
    assert compose.compose(draft.fixed, draft.swept).sound()["method"]["gamma"] == 0.25


def test_a_fixed_key_is_left_out_of_trials_that_have_no_use_for_it(compose: Composer):
    found, drafts = drafted(compose, "method=dpo,simpo", "method.gamma=0.5", BETA)
    assert "method.gamma=0.5" not in found.draft(compose, Trial(0, {"method": "dpo", "beta": 0.1})).fixed
    assert "method.gamma=0.5" in found.draft(compose, Trial(1, {"method": "simpo", "beta": 0.1})).fixed
    assert drafts.left_out == ["left out: method.gamma=0.5 for method=dpo, which has no such key"]


def test_its_corners_between_them_have_every_choice_and_both_ends(compose: Composer):
    _, drafts = drafted(compose, "method=dpo,ipo", BETA)
    params = [draft.trial.params for draft in drafts.drafts]
    assert {point["method"] for point in params} == {"dpo", "ipo"}
    assert {point["beta"] for point in params} == {0.005, 1.0}


def test_a_grid_over_a_structured_space_has_each_of_its_points(compose: Composer):
    structure = {"zip": [{"beta": "0.1,0.5", "training.learning_rate": "1e-4,1e-5"}]}
    found, drafts = drafted(compose, "method=dpo,ipo", **structure)
    points = every_point(compose, found, drafts)
    trials = [draft.trial for draft in points.drafts]
    assert [(trial.number, trial.params["method"], trial.params["beta"]) for trial in trials] == [
        (0, "dpo", 0.1), (1, "dpo", 0.5), (2, "ipo", 0.1), (3, "ipo", 0.5),
    ]  # fmt: skip


def test_a_grid_over_a_range_is_at_fault(compose: Composer):
    found, drafts = drafted(compose, any_of=[{"beta": "interval(0.1,1)"}, {"epochs": "1,2"}])
    assert not drafts.faults
    with pytest.raises(BadCommand, match="beta"):
        every_point(compose, found, drafts)
