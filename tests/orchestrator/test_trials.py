"""Which trials a sweep over options of different keys makes, and what it says of those that it leaves out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.config import Composer, Source, composer
from orchestrator.errors import BadCommand
from orchestrator.plan import Plan, make_plan
from orchestrator.trials import Drafts, draft_trials
from trainers.machine import Machine

LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)


@pytest.fixture
def compose() -> Iterator[Composer]:
    with composer(Source()) as composed:
        yield composed


def drafted(compose: Composer, *overrides: str) -> Drafts:
    parsed = compose.parse(overrides)
    assert not parsed.faults
    return draft_trials(compose, parsed)


def params(compose: Composer, *overrides: str) -> list[Mapping[str, object]]:
    return [draft.trial.params for draft in drafted(compose, *overrides).drafts]


def plan(out: Path, *overrides: str) -> Plan:
    words = [*overrides, f"output_root={out}", "tracking=disabled"]
    return make_plan(words, sweep=True, source=Source(), machine=LAPTOP)


def faults(out: Path, *overrides: str) -> Sequence[str]:
    with pytest.raises(BadCommand) as caught:
        plan(out, *overrides)
    return caught.value.faults


def test_a_swept_key_that_a_method_has_not_makes_it_one_trial(compose: Composer):
    assert params(compose, "method=cdpo,dpo", "method.epsilon=0.1,0.2") == [
        {"method": "cdpo", "method.epsilon": 0.1},
        {"method": "cdpo", "method.epsilon": 0.2},
        {"method": "dpo"},
    ]


def test_a_method_without_a_strength_is_one_trial_of_a_sweep_over_beta(compose: Composer):
    assert params(compose, "method=dpo,sft", "beta=0.1,0.5") == [
        {"method": "dpo", "beta": 0.1},
        {"method": "dpo", "beta": 0.5},
        {"method": "sft"},
    ]


def test_each_method_may_have_a_strength_of_its_own_name(compose: Composer):
    assert params(compose, "method=dpo,orpo,ipo", "method.beta=0.1,0.2", "lambda=1,2") == [
        {"method": "dpo", "method.beta": 0.1},
        {"method": "dpo", "method.beta": 0.2},
        {"method": "orpo", "lambda": 1},
        {"method": "orpo", "lambda": 2},
        {"method": "ipo"},
    ]


def test_trials_are_numbered_without_gaps(compose: Composer):
    made = drafted(compose, "method=sft,dpo", "beta=0.1,0.5", "data.seed=1,2")
    assert [draft.trial.number for draft in made.drafts] == list(range(6))


@pytest.mark.parametrize(
    ("overrides", "having"),
    [
        (
            ["peft=none,lora", "peft.r=4,8"],
            [{"peft": "none"}, {"peft": "lora", "peft.r": 4}, {"peft": "lora", "peft.r": 8}],
        ),
        (
            ["reference=self,moving", "reference.sync_steps=2,4"],
            [
                {"reference": "self"},
                {"reference": "moving", "reference.sync_steps": 2},
                {"reference": "moving", "reference.sync_steps": 4},
            ],
        ),
        (
            ["method=dpo,trdpo", "reference.sync_steps=2,4"],
            [
                {"method": "dpo"},
                {"method": "trdpo", "reference.sync_steps": 2},
                {"method": "trdpo", "reference.sync_steps": 4},
            ],
        ),
    ],
    ids=["peft", "reference", "a method's reference"],
)  # fmt: skip
def test_options_of_other_groups_are_treated_alike(compose: Composer, overrides: list[str], having: object):
    assert params(compose, *overrides) == having


def test_values_of_a_type_of_their_own_are_told_apart(compose: Composer):
    assert len(params(compose, "data.split_seed=1,2", "data=jsonl", "data.path=true,1")) == 4


def test_a_fixed_key_goes_to_the_methods_that_have_it(tmp_path: Path):
    made = plan(tmp_path, "method=rso,dpo", "method.reward_model=builtin:gold")
    assert [run.config["method"].get("reward_model") for run in made.runs] == ["builtin:gold", None]
    assert made.left_out == ["left out: method.reward_model=builtin:gold for method=dpo, which has no such key"]


def test_a_fixed_key_of_an_option_is_told_by_the_group_that_lacks_it(compose: Composer):
    made = drafted(compose, "method=dpo,ipo", "reference=self,model", "reference.path=/x")
    assert made.left_out == ["left out: reference.path=/x for reference=self, which has no such key"]


def test_a_key_that_no_method_has_is_one_fault_with_the_nearest_that_any_has(tmp_path: Path):
    (fault,) = faults(tmp_path, "method=dpo,cdpo", "method.epsilonn=0.1,0.2")
    assert fault.startswith(
        "method.epsilonn: no such key; did you mean method.epsilon? (keys of method: beta, epsilon,"
    )


def test_a_key_of_other_methods_alone_names_them(tmp_path: Path):
    (fault,) = faults(tmp_path, "method=dpo,ipo", "method.epsilon=0.1")
    assert "there is one with method=cdpo, method=exo and method=robust" in fault


def test_a_sweep_over_beta_without_any_strength_is_said_to_be_left_out(tmp_path: Path):
    made = plan(tmp_path, "method=sft", "beta=0.1,0.5")
    assert (len(made.runs), dict(made.space)) == (1, {})
    assert made.left_out == ["left out: beta=0.1,0.5, for want of a method with a strength"]


def test_a_name_of_the_strength_that_no_method_has_is_a_fault(tmp_path: Path):
    told = faults(tmp_path, "method=dpo,ipo", "lambda=1")
    assert told[0] == "lambda=1: method=dpo has no lambda; its strength is beta (trial 0: method=dpo)"


def test_a_combination_of_method_and_reference_that_cannot_be_is_left_out_and_told(tmp_path: Path):
    made = plan(tmp_path, "method=trdpo,dpo,sft", "reference=self,moving", "beta=0.1,0.5")
    assert [tuple(trial.params.values()) for trial in made.trials] == [
        ("trdpo", "moving", 0.1), ("trdpo", "moving", 0.5), ("dpo", "self", 0.1), ("dpo", "self", 0.5),
        ("dpo", "moving", 0.1), ("dpo", "moving", 0.5), ("sft", "self"),
    ]  # fmt: skip
    assert made.left_out == [
        "left out: 2 trials, method=trdpo with reference=self: only a reference that moves will do",
        "left out: 1 trial, method=sft with reference=moving: a reference that moves is of no use",
    ]


def test_methods_that_need_a_reference_are_left_out_where_there_is_none(tmp_path: Path):
    made = plan(tmp_path, "method=dpo,ipo,orpo", "reference=self,none")
    assert [tuple(trial.params.values()) for trial in made.trials if trial.params["reference"] == "none"] == [
        ("orpo", "none")
    ]
    assert made.left_out == ["left out: 2 trials, method=dpo,ipo with reference=none: a reference is needed"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=trdpo", "reference=self,moving"],
        ["method=trdpo,dpo", "reference=self"],
        ["method=trdpo,dpo", "reference=self,none"],
    ],
    ids=["one method", "one reference", "nothing would be left of a method"],
)
def test_a_combination_that_cannot_be_is_a_fault_where_it_is_all_that_was_asked_for(tmp_path: Path, overrides):
    assert any(
        "method=trdpo needs a reference that moves, but reference=self" in f for f in faults(tmp_path, *overrides)
    )


def test_a_reference_of_which_nothing_would_be_left_is_a_fault(tmp_path: Path):
    told = faults(tmp_path, "method=dpo,ipo", "reference=self,none")
    assert [fault.partition(",")[0] for fault in told] == [
        "method=dpo needs a reference",
        "method=ipo needs a reference",
    ]


def test_a_study_has_the_values_of_keys_that_some_trial_has(tmp_path: Path):
    made = plan(tmp_path, "method=cdpo,dpo", "method.epsilon=0.1,0.2")
    assert dict(made.space) == {"method": ("cdpo", "dpo"), "method.epsilon": (0.1, 0.2)}
