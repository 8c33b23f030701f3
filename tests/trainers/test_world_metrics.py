"""Answers sampled in the built-in world, their reward and their KL to the reference."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from tests.fakes.tiny_runs import run_config
from tests.fakes.untrained import untrained
from trainers.config_check import check
from trainers.data import tokenise
from trainers.data_pairs import Pair
from trainers.errors import InvalidInput
from trainers.models import Policy, load_policy
from trainers.world_metrics import sample_metrics
from trainers.world_text import all_prompts, write_answer


@pytest.fixture
def policy(cache_dir: Path) -> Policy:
    return load_policy(check(run_config(model__path=str(untrained(cache_dir)))), cache_dir)


def measured(policy: Policy) -> dict[str, float]:
    """On pairs of answers as the language has them."""
    dice = Random(0)
    pairs = [Pair(prompt, write_answer(dice, prompt), write_answer(dice, prompt)) for prompt in all_prompts()[:16]]
    return sample_metrics(policy.model, tokenise(pairs, policy.tokenizer, 512))


def pushed(policy: Policy) -> Policy:
    """An adapter that changes something."""
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.02)
    return policy


def test_a_policy_that_is_its_reference_has_no_kl(policy: Policy) -> None:
    assert measured(policy)["eval/kl"] == pytest.approx(0, abs=1e-6)


def test_a_policy_that_has_moved_has_kl(policy: Policy) -> None:
    found = measured(pushed(policy))
    assert found["eval/kl"] > 0.001
    assert 0 <= found["eval/win_rate"] <= 1
    assert -8 <= found["eval/reward"] <= 8


def test_samples_are_the_same_each_time_and_leave_random_numbers_alone(policy: Policy) -> None:
    state = torch.random.get_rng_state()
    assert measured(policy) == measured(policy)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "changes",
    [
        {"peft": {"kind": "none"}},
        {"data": {"kind": "bandit", "pairs": "ab", "draws": None}},
        {"reference": {"kind": "model", "path": "x", "revision": None}},
    ],
    ids=["without an adapter", "without a reward", "with another reference"],
)
def test_samples_want_a_known_reward_and_a_reference_at_hand(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="use data=toy, peft=lora and reference=self"):
        check(run_config(evaluation__samples=4, **changes))
