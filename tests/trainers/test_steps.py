"""What a step does not depend on: micro-batches, the order of pairs, padding, and tokens that are not the answers'."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.tiny_models import PAIRS, reference_of, talker, training_with, weights
from tests.fakes.tiny_runs import pair
from trainers import trl_engine
from trainers.data import TokenisedPair
from trainers.methods import METHODS

pytestmark = pytest.mark.slow

MOVING = {"mixup": 0.5, "sync_steps": 1}
# sdpo is dpo in stages, and kto has tests of its own below.
NAMES = [
    name
    for name, known in METHODS.items()
    if known.data_format in ("pairs", "demonstrations") and name not in ("sdpo", "kto")
]


def step(folder: Path, name: str, pairs: Sequence[TokenisedPair] = PAIRS, **changes: Any) -> torch.Tensor:
    """What one step of plain descent on all pairs, at a rate of 1, takes from the weights: the gradient."""
    policy = talker()
    start = weights(policy)
    settings: Mapping[str, Any] = {"name": name}
    moving = MOVING if name == "trdpo" else None
    training = training_with(
        policy, pairs, folder, settings, reference_of(pairs), moving, learning_rate=1.0, max_steps=1, **changes
    )
    assert trl_engine.train(training).steps == 1
    return start - weights(policy)


def alike(found: torch.Tensor, expected: torch.Tensor) -> bool:
    assert float(expected.abs().max()) > 1e-3
    return torch.allclose(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_neither_micro_batches_nor_the_order_of_pairs_change_a_step(tmp_path: Path, name: str) -> None:
    """Eight pairs at once, or two and two from the other end; unlike lengths, so that means over tokens would tell."""
    whole = step(tmp_path / "whole", name)
    assert alike(step(tmp_path / "parts", name, PAIRS[::-1], batch_size=2, gradient_accumulation=4), whole)


@pytest.mark.parametrize("name", ["dpo", "trdpo", "orpo"])
def test_gradient_checkpointing_makes_the_same_step(tmp_path: Path, name: str) -> None:
    assert alike(step(tmp_path / "checked", name, gradient_checkpointing=True), step(tmp_path / "whole", name))


@pytest.mark.parametrize("name", ["dpo", "ipo", "npo", "trdpo", "orpo", "cpo", "unlikelihood"])
def test_a_longer_neighbour_changes_nothing_of_a_pair(tmp_path: Path, name: str) -> None:
    """The step on two pairs, one padded to the other, is the mean of their own."""
    short, long = PAIRS[4], pair([9, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6, 7], prompt=[3] * 5)
    apart = (step(tmp_path / "short", name, [short]) + step(tmp_path / "long", name, [long])) / 2
    assert alike(step(tmp_path / "both", name, [short, long]), apart)


def of_head(found: torch.Tensor, token: int) -> torch.Tensor:
    """The part of a gradient that belongs to a token's row of the head, which is the last of the weights."""
    return found[-12 * 8 :].view(12, 8)[token]


@pytest.mark.parametrize("name", ["dpo", "trdpo", "cpo", "simpo", "unlikelihood", "sft"])
def test_the_prompts_tokens_are_not_learnt(tmp_path: Path, name: str) -> None:
    """Were they targets, their rows of the head would get what the answers' rows get: the tokens of a prompt are lifted
    no more than a token that nobody says."""
    moved = step(tmp_path, name, [pair([6], [7], prompt=[2, 4, 5])])
    said, unsaid = (max(float(of_head(moved, token).norm()) for token in tokens) for tokens in ((4, 5), (8, 9)))
    answered = float(of_head(moved, 6).norm())
    assert said < 0.5 * answered
    assert unsaid < 0.5 * answered


def test_orpo_learns_the_prompt_too(tmp_path: Path) -> None:
    """By its definition: another prompt token lifts another row of the head."""
    lifted = {
        token: of_head(step(tmp_path / str(token), "orpo", [pair([6], [7], prompt=[2, token])]), token).abs().sum()
        for token in (4, 5)
    }
    still = of_head(step(tmp_path / "still", "orpo", [pair([6], [7], prompt=[2, 4])]), 5).abs().sum()
    assert lifted[4] > still
    assert lifted[5] > still


def test_kto_depends_on_its_micro_batches_through_its_point_of_comparison_alone(tmp_path: Path) -> None:
    """Which is estimated anew in each, where the policy has moved from the reference on answers to other prompts."""

    def stepped(name: str, *, moved: bool, **changes: Any) -> torch.Tensor:
        policy = talker()
        start = weights(policy)
        training = training_with(
            policy,
            PAIRS,
            tmp_path / name,
            {"name": "kto"},
            reference_of(PAIRS),
            learning_rate=1.0,
            max_steps=1,
            **changes,
        )
        if moved:
            assert training.mismatched is not None
            others, _ = training.mismatched
            training = dataclasses.replace(training, mismatched=(others, reference_of(others)))
        trl_engine.train(training)
        return start - weights(policy)

    parts = {"batch_size": 2, "gradient_accumulation": 4}
    assert alike(stepped("still-parts", moved=False, **parts), stepped("still", moved=False))
    assert not alike(stepped("moved-parts", moved=True, **parts), stepped("moved", moved=True))
