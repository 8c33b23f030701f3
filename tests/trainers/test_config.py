"""What the schema of a run's config refuses, and in which words."""

from typing import get_args

import pytest
from transformers.training_args import OptimizerNames

from tests.fakes.tiny_runs import run_config
from trainers.config import Optimizer, check
from trainers.errors import InvalidInput


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
