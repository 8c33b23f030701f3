"""REINFORCE leave-one-out against numbers worked out by hand."""

import math

import pytest
import torch

from trainers.weighed_trainer import WeighedAnswer, WeighedCollator, advantages, clipped_loss, weighed_rows


def test_an_advantage_is_over_the_mean_of_the_others() -> None:
    """Rewards 3, 1, 2: 3 - 1.5, 1 - 2.5, 2 - 2."""
    rewards, nothing = torch.tensor([[3.0, 1.0, 2.0]]), torch.zeros(1, 3)
    assert advantages(rewards, nothing, nothing, 0.5).tolist() == [[1.5, -1.5, 0.0]]


def test_what_moved_from_the_reference_is_taken_off_the_reward() -> None:
    """beta 0.5 and log-ratios 2, 0 make of 3, 1 the rewards 2, 1."""
    found = advantages(torch.tensor([[3.0, 1.0]]), torch.tensor([[-4.0, -6.0]]), torch.tensor([[-6.0, -6.0]]), 0.5)
    assert found.tolist() == [[1.0, -1.0]]


def test_prompts_are_not_mixed() -> None:
    rewards = torch.tensor([[1.0, 0.0], [100.0, 100.0]])
    assert advantages(rewards, torch.zeros(2, 2), torch.zeros(2, 2), 0.1).tolist() == [[1.0, -1.0], [0.0, 0.0]]


def test_the_gradient_at_the_answers_own_policy_is_reinforces() -> None:
    logps = torch.tensor([-3.0, -5.0], requires_grad=True)
    clipped_loss(logps, logps.detach(), torch.tensor([2.0, -1.0]), 0.2).sum().backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [-2.0, 1.0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [(1.5, 2.0, -2.4), (1.1, 2.0, -2.2), (0.5, 2.0, -1.0), (1.5, -2.0, 3.0), (0.5, -2.0, 1.6)],
)
def test_a_ratio_beyond_the_clip_gains_nothing_further(ratio: float, advantage: float, loss: float) -> None:
    found = clipped_loss(torch.tensor([math.log(ratio)]), torch.zeros(1), torch.tensor([advantage]), 0.2)
    assert found.tolist() == pytest.approx([loss])


def test_a_ratio_too_large_for_fp32_is_a_number() -> None:
    logps = torch.tensor([200.0], requires_grad=True)
    clipped_loss(logps, torch.tensor([-400.0]), torch.tensor([1.0]), 0.2).sum().backward()
    assert logps.grad is not None
    assert torch.isfinite(logps.grad).all()


def test_batches_are_padded_at_the_right() -> None:
    rows = weighed_rows([WeighedAnswer([5], [6, 7], -1.0, 0.5), WeighedAnswer([5, 5], [6], -2.0, -0.5)])
    batch = WeighedCollator(9)([*rows, *weighed_rows([WeighedAnswer([5], [6], -3.0, 0.0)])])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [5, 5, 6], [5, 6, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]
    assert batch["completion_mask"].tolist() == [[0, 1, 1], [0, 0, 1], [0, 1, 0]]
    assert (batch["old_logps"].tolist(), batch["advantages"].tolist()) == ([-1.0, -2.0, -3.0], [0.5, -0.5, 0.0])
