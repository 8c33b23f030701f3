"""What the schema of a run's config refuses, and in which words."""

import inspect
import math
from typing import Any, get_args

import pytest
from transformers.training_args import OptimizerNames

from tests.fakes.tiny_runs import method, run_config
from trainers.config import Optimizer
from trainers.config_check import check
from trainers.errors import InvalidInput
from trainers.methods import METHODS
from trainers.trl_engine import bound_loss


def test_optimizers_are_those_of_transformers():
    assert set(get_args(Optimizer)) == {name.value for name in OptimizerNames}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training__optimizer": "adamw_8bits"}, "training.optimizer: input should be 'adamw_torch', "),
        ({"training__optimizer": "adamw_8bits"}, "got 'adamw_8bits'; did you mean adamw_8bit?"),
        ({"training__precision": "bf61"}, "got 'bf61'; did you mean bf16?"),
        ({"training__precision": 16}, "got 16"),
    ],
)
def test_a_word_that_is_not_valid_is_told_with_the_nearest_that_is(changes, told):
    with pytest.raises(InvalidInput) as caught:
        check(run_config(**changes))
    (fault,) = caught.value.faults
    assert told in fault


MOVING = {"kind": "moving", "mixup": 0.6, "sync_steps": 16}
NO = {"kind": "none"}
# Methods that learn from the data's own pairs and answers.
GIVEN = {name: known for name, known in METHODS.items() if known.data_format not in ("comparisons", "prompts")}
WITH_REFERENCE = [name for name, known in GIVEN.items() if known.reference == "fixed"]
WITHOUT = [name for name, known in GIVEN.items() if known.reference in ("none", "unconditional")]


def faults(name: str, **changes: Any) -> list[str]:
    """What is refused of a method's config, if anything."""
    try:
        check(run_config(name, **changes))
    except InvalidInput as refused:
        return list(refused.faults)
    return []


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_a_method_that_compares_needs_a_reference(name: str) -> None:
    assert faults(name, reference=NO) == [
        f"method={name} needs a reference, but reference=none: "
        "use reference=self, or reference=model reference.path=..."
    ]


@pytest.mark.parametrize(
    "reference",
    [{"kind": "self"}, {"kind": "model", "path": "other", "revision": None}, NO],
    ids=["self", "model", "none"],
)
def test_trdpo_needs_a_reference_that_moves(reference: dict[str, str]) -> None:
    assert faults("trdpo", reference=reference) == [
        f"method=trdpo needs a reference that moves, but reference={reference['kind']}: "
        "use reference=moving, or method=dpo"
    ]


@pytest.mark.parametrize("name", [*WITHOUT, "kto", "sdpo"])
def test_what_asks_no_reference_at_each_step_has_no_use_for_one_that_moves(name: str) -> None:
    assert faults(name, reference=MOVING) == [f"method={name} has no use for reference=moving: use reference=self"]


@pytest.mark.parametrize("name", [name for name in WITH_REFERENCE if name not in ("kto", "sdpo")] + ["trdpo"])
def test_what_compares_pair_by_pair_may_have_a_reference_that_moves(name: str) -> None:
    assert faults(name, reference=MOVING) == []


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.parametrize("reference", [NO, {"kind": "self"}], ids=["none", "self"])
def test_what_needs_no_reference_goes_with_one_and_without(name: str, reference: dict[str, str]) -> None:
    assert faults(name, reference=reference) == []


@pytest.mark.parametrize(
    ("name", "key", "value", "told"),
    [
        *((name, "epsilon", value, "method.epsilon: input should be ") for name in ("cdpo", "robust", "exo")
          for value in (0.0, 0.5, 1.0, -0.1, math.nan)),
        ("dpo", "beta", 0.0, "method.beta: input should be greater than 0, got 0.0"),
        ("dpo", "beta", math.inf, "method.beta: input should be a finite number, got inf"),
        ("dpo", "beta", math.nan, "method.beta: input should be "),
        ("dpo", "sft_weight", -1.0, "method.sft_weight: input should be greater than or equal to 0, got -1.0"),
        ("dpo", "f_alpha", math.inf, "method.f_alpha: input should be a finite number, got inf"),
        ("dpo", "f_divergence", "kl", "method.f_divergence: input should be 'reverse_kl', 'forward_kl', "),
        ("ipo", "tau", -0.1, "method.tau: input should be greater than 0, got -0.1"),
        ("ipo", "beta", 0.1, "method.beta: no such key"),
        ("orpo", "lambda", 0.0, "method.lambda: input should be greater than 0, got 0.0"),
        ("simpo", "gamma", -0.5, "method.gamma: input should be greater than or equal to 0, got -0.5"),
        ("dpop", "penalty", -1.0, "method.penalty: input should be greater than or equal to 0, got -1.0"),
        ("apo", "variant", "up", "method.variant: input should be 'zero' or 'down', got 'up'"),
        ("sdpo", "stages", 1, "method.stages: input should be greater than or equal to 2, got 1"),
        ("sdpo", "order", "hard_first", "method.order: input should be 'easy_first' or 'data', got 'hard_first'"),
        ("kto", "desirable_weight", -1.0, "method.desirable_weight: input should be greater than or equal to 0"),
        ("sft", "beta", 0.1, "method.beta: no such key"),
    ],
)  # fmt: skip
def test_a_methods_setting_out_of_its_range_is_refused(name: str, key: str, value: Any, told: str) -> None:
    (fault,) = faults(name, method={**method(name), key: value})
    assert fault.startswith(told)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("mixup", 0.0, "reference.mixup: input should be greater than 0, got 0.0"),
        ("mixup", 1.5, "reference.mixup: input should be less than or equal to 1, got 1.5"),
        ("sync_steps", 0, "reference.sync_steps: input should be greater than or equal to 1, got 0"),
    ],
)
def test_a_moving_references_setting_out_of_its_range_is_refused(key: str, value: float, told: str) -> None:
    assert faults("trdpo", reference={**MOVING, key: value}) == [told]


def test_every_method_has_a_schema_a_loss_and_defaults_that_are_valid() -> None:
    for name, known in GIVEN.items():
        reference = {"reference": MOVING} if known.reference == "moving" else {}
        config = check(run_config(name, **reference))
        assert config.method.name == name
        assert (config.strength is None) == (known.strength is None)
        if known.data_format != "demonstrations":
            bound = bound_loss(config)
            required = [
                key
                for key, argument in inspect.signature(bound).parameters.items()
                if argument.default is argument.empty and argument.kind is argument.POSITIONAL_OR_KEYWORD
            ]
            assert required == (["logratios", "desirable", "kl"] if name == "kto" else ["chosen", "rejected"])
