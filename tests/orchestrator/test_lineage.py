"""Which runs come before others, told from what `reference.run` and `start.run` name."""

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.lineage import Link, Member, in_order, links, needs, settled
from sweeps.types import Scalar, Trial
from tests.fakes.tiny_runs import method, run_config
from trainers.config_check import check


def member(
    number: int,
    name: str,
    run: Mapping[str, Scalar] | None = None,
    seed: int = 0,
    start: Mapping[str, Scalar] | None = None,
    **changes: Any,
) -> Member:
    """`run` names its reference, `start` where it begins."""
    reference = {"kind": "self"} if run is None else {"kind": "run", "run": dict(run)}
    begins = {"kind": "base"} if start is None else {"kind": "run", "run": dict(start)}
    config = check(run_config(name, reference=reference, start=begins, seed=seed, **changes))
    return Member(Trial(number, {"method": name}), config)


def held(needed: int | None) -> dict[str, Link]:
    return {"reference": Link(needed)}


def the_fault(members: list[Member]) -> str:
    (own,) = links(members).values()
    (link,) = own.values()
    return link.fault


def test_a_run_needs_the_one_that_its_reference_names():
    members = [member(0, "sft"), member(1, "dpo", {"method": "sft"})]
    assert links(members) == {1: held(0)}


def test_the_run_that_is_named_needs_nothing():
    members = [member(0, "sft", {"method": "sft"}), member(1, "dpo", {"method": "sft"})]
    assert links(members) == {0: held(None), 1: held(0)}


def test_a_run_needs_the_one_of_its_own_seed():
    members = [member(0, "sft", seed=seed) for seed in (0, 1)]
    assert links([*members, member(1, "dpo", {"method": "sft"}, seed=1)]) == {2: held(1)}


def test_a_name_that_no_run_has_is_a_fault():
    assert (
        the_fault([member(0, "dpo", {"method": "ipo"})])
        == "reference.run: no run of this study has method=ipo (and seed=0)"
    )


def test_a_name_that_two_runs_have_is_a_fault():
    members = [member(n, "ipo", method=method("ipo", tau=tau)) for n, tau in enumerate((0.1, 0.5))]
    assert "2 runs of this study have method=ipo" in the_fault([*members, member(2, "dpo", {"method": "ipo"})])


def test_a_name_may_be_made_exact_by_a_dotted_key():
    members = [member(n, "ipo", method=method("ipo", tau=tau)) for n, tau in enumerate((0.1, 0.5))]
    assert links([*members, member(2, "dpo", {"method.tau": 0.5})]) == {2: held(1)}


def test_of_several_the_one_that_shares_swept_values_is_meant():
    def swept(number: int, name: str, size: int, run: Mapping[str, Scalar] | None = None) -> Member:
        made = member(number, name, run, training__batch_size=size)
        return Member(Trial(number, {"method": name, "training.batch_size": size}), made.config)

    members = [swept(0, "sft", 4), swept(1, "sft", 8), swept(2, "dpo", 8, {"method": "sft"})]
    assert links(members) == {2: held(1)}


def test_a_circle_is_a_fault_of_all_in_it():
    found = links([member(0, "dpo", {"method": "ipo"}), member(1, "ipo", {"method": "dpo"})])
    assert ["in a circle" in link.fault for own in found.values() for link in own.values()] == [True, True]


def test_each_comes_after_the_one_it_needs():
    assert in_order(3, {0: held(1), 1: held(2)}) == [2, 1, 0]


def test_each_comes_after_both_that_it_needs():
    both = {"start": Link(1), "reference": Link(2)}
    assert in_order(3, {0: both, 1: held(2)}) == [2, 1, 0]


def test_a_run_that_names_itself_has_itself_as_it_was():
    config = member(0, "sft", {"method": "sft"}).config
    assert settled(config, "reference", None).reference.kind == "self"


def test_a_settled_reference_says_which_run_it_is():
    config = settled(member(0, "dpo", {"method": "sft"}).config, "reference", "abc")
    assert config.reference.model_dump()["of"] == "abc"


def test_numbers_are_compared_as_numbers():
    members = [member(0, "ipo", method=method("ipo", tau=1.0)), member(1, "dpo", {"method.tau": 1})]
    assert links(members) == {1: held(0)}


def test_a_run_may_begin_at_one_and_be_held_to_another():
    members = [member(0, "sft"), member(1, "ipo"), member(2, "dpo", {"method": "ipo"}, start={"method": "sft"})]
    (own,) = links(members).values()
    assert own == {"start": Link(0), "reference": Link(1)}
    assert needs(own) == [0, 1]


def test_one_run_that_is_both_is_needed_once():
    members = [member(0, "sft"), member(1, "dpo", {"method": "sft"}, start={"method": "sft"})]
    assert needs(links(members)[1]) == [0]


def test_the_run_that_others_begin_at_begins_at_its_model():
    members = [member(n, name, start={"method": "sft"}) for n, name in enumerate(("sft", "dpo"))]
    assert links(members) == {0: {"start": Link(None)}, 1: {"start": Link(0)}}
    assert settled(members[0].config, "start", None).start.kind == "base"


def test_a_settled_start_says_which_run_it_is():
    config = settled(member(0, "dpo", start={"method": "sft"}).config, "start", "abc")
    assert config.start.of == "abc"


def test_a_circle_may_go_by_way_of_both_roles():
    found = links([member(0, "dpo", start={"method": "ipo"}), member(1, "ipo", {"method": "dpo"})])
    assert ["in a circle" in link.fault for own in found.values() for link in own.values()] == [True, True]


DORA = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", "use_dora": True}
LORA = {**DORA, "use_dora": False}
FULL = {"kind": "none"}


@pytest.mark.parametrize(
    ("below", "above", "told"),
    [
        (DORA, LORA, "it trains with DoRA"),
        (DORA, DORA, "it trains with DoRA"),
        (LORA, DORA, "DoRA cannot be put on an adapter"),
        (DORA, FULL, ""),
        (FULL, DORA, ""),
        (LORA, FULL, ""),
        (LORA, LORA, ""),
    ],
)
def test_only_what_can_be_kept_together_may_be_put_on_another_runs_policy(
    below: dict[str, Any], above: dict[str, Any], told: str
):
    fault = the_fault([member(0, "sft", peft=below), member(1, "dpo", start={"method": "sft"}, peft=above)])
    assert told in fault if told else not fault


@pytest.mark.parametrize(
    ("below", "told"),
    [
        (member(0, "reward"), "it trains a reward model, which is no policy"),
        (member(0, "reward", model__path="/other"), "its model is /other, and this run's is builtin:tiny"),
        (member(0, "reward", training__save_final=False), "it keeps no weights: training.save_final=false"),
    ],
)
def test_a_run_that_leaves_no_policy_of_that_model_is_no_start(below: Member, told: str):
    assert told in the_fault([below, member(1, "dpo", start={"method": "reward"})])
