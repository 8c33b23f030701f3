"""Which runs come before others, told from what `reference.run` names."""

from collections.abc import Mapping
from typing import Any

from orchestrator.lineage import Link, Member, in_order, links, with_reference
from sweeps.types import Scalar, Trial
from tests.fakes.tiny_runs import method, run_config
from trainers.config_check import check


def member(number: int, name: str, run: Mapping[str, Scalar] | None = None, seed: int = 0, **changes: Any) -> Member:
    reference = {"kind": "self"} if run is None else {"kind": "run", "run": dict(run)}
    config = check(run_config(name, reference=reference, seed=seed, **changes))
    return Member(Trial(number, {"method": name}), config)


def test_a_run_needs_the_one_that_its_reference_names():
    members = [member(0, "sft"), member(1, "dpo", {"method": "sft"})]
    assert links(members) == {1: Link(0)}


def test_the_run_that_is_named_needs_nothing():
    members = [member(0, "sft", {"method": "sft"}), member(1, "dpo", {"method": "sft"})]
    assert links(members) == {0: Link(None), 1: Link(0)}


def test_a_run_needs_the_one_of_its_own_seed():
    members = [member(0, "sft", seed=seed) for seed in (0, 1)]
    assert links([*members, member(1, "dpo", {"method": "sft"}, seed=1)]) == {2: Link(1)}


def test_a_name_that_no_run_has_is_a_fault():
    found = links([member(0, "dpo", {"method": "ipo"})])
    assert found[0].fault == "reference.run: no run of this study has method=ipo (and seed=0)"


def test_a_name_that_two_runs_have_is_a_fault():
    members = [member(n, "ipo", method=method("ipo", tau=tau)) for n, tau in enumerate((0.1, 0.5))]
    (found,) = links([*members, member(2, "dpo", {"method": "ipo"})]).values()
    assert "2 runs of this study have method=ipo" in found.fault


def test_a_name_may_be_made_exact_by_a_dotted_key():
    members = [member(n, "ipo", method=method("ipo", tau=tau)) for n, tau in enumerate((0.1, 0.5))]
    assert links([*members, member(2, "dpo", {"method.tau": 0.5})]) == {2: Link(1)}


def test_of_several_the_one_that_shares_swept_values_is_meant():
    def swept(number: int, name: str, size: int, run: Mapping[str, Scalar] | None = None) -> Member:
        made = member(number, name, run, training__batch_size=size)
        return Member(Trial(number, {"method": name, "training.batch_size": size}), made.config)

    members = [swept(0, "sft", 4), swept(1, "sft", 8), swept(2, "dpo", 8, {"method": "sft"})]
    assert links(members) == {2: Link(1)}


def test_a_circle_is_a_fault_of_all_in_it():
    found = links([member(0, "dpo", {"method": "ipo"}), member(1, "ipo", {"method": "dpo"})])
    assert ["in a circle" in link.fault for link in found.values()] == [True, True]


def test_each_comes_after_the_one_it_needs():
    assert in_order(3, {0: Link(1), 1: Link(2)}) == [2, 1, 0]


def test_a_run_that_names_itself_has_itself_as_it_was():
    config = member(0, "sft", {"method": "sft"}).config
    assert with_reference(config, None).reference.kind == "self"


def test_a_settled_reference_says_which_run_it_is():
    config = with_reference(member(0, "dpo", {"method": "sft"}).config, "abc")
    assert config.reference.model_dump()["of"] == "abc"


def test_numbers_are_compared_as_numbers():
    members = [member(0, "ipo", method=method("ipo", tau=1.0)), member(1, "dpo", {"method.tau": 1})]
    assert links(members) == {1: Link(0)}
