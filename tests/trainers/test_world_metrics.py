"""Answers sampled in the built-in world, their reward and their KL to the reference."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.tiny_runs import run_config
from trainers.config_check import check
from trainers.data import load_pairs, tokenise
from trainers.errors import InvalidInput
from trainers.models import Policy, load_policy
from trainers.world_metrics import sample_metrics


@pytest.fixture
def policy(cache_dir: Path) -> Policy:
    return load_policy(check(run_config()), cache_dir)


def measured(policy: Policy, cache_dir: Path) -> dict[str, float]:
    config = check(run_config())
    pairs = tokenise(load_pairs(config.data, cache_dir).heldout, policy.tokenizer, 512)  # type: ignore[arg-type]
    return sample_metrics(policy.model, pairs)


def pushed(policy: Policy) -> Policy:
    """An adapter that changes something."""
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.02)
    return policy


def test_a_policy_that_is_its_reference_has_no_kl(policy: Policy, cache_dir: Path) -> None:
    assert measured(policy, cache_dir)["eval/kl"] == pytest.approx(0, abs=1e-6)


def test_a_policy_that_has_moved_has_kl(policy: Policy, cache_dir: Path) -> None:
    found = measured(pushed(policy), cache_dir)
    assert found["eval/kl"] > 0.001
    assert 0 <= found["eval/win_rate"] <= 1
    assert -8 <= found["eval/reward"] <= 8


def test_samples_are_the_same_each_time_and_leave_random_numbers_alone(policy: Policy, cache_dir: Path) -> None:
    state = torch.random.get_rng_state()
    assert measured(policy, cache_dir) == measured(policy, cache_dir)
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
