"""TR-DPO's reference: what it is after each step, that the loss compares with it, and that it survives a checkpoint."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.tiny_models import PAIRS, talker, training_with, weights
from tests.fakes.tiny_runs import Recorder, bandit, pair, probabilities, run_config, run_spec
from trainers import trl_engine
from trainers.evaluation.scorer import score
from trainers.models import Policy
from trainers.moving_reference import MovingReference
from trainers.spec import RunResult
from trainers.train import train

TRDPO = {"name": "trdpo", "beta": 0.5}


def moved_to(policy: Policy, seed: int) -> torch.Tensor:
    """Puts the policy somewhere else, as a step would."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn(weight.shape, generator=drawn)
    return weights(policy)


def kept(moving: MovingReference, policy: Policy) -> torch.Tensor:
    """The reference's weights, read where the model stands in for it."""
    with moving.in_place(policy.model):
        return weights(policy)


@pytest.fixture(params=["full", "lora"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return talker(lora=request.param == "lora")


def test_it_starts_as_the_policy(policy: Policy) -> None:
    assert torch.equal(kept(MovingReference(policy.model, 0.5, 2), policy), weights(policy))


def test_it_stays_where_it_is_while_the_policy_moves(policy: Policy) -> None:
    start, moving = weights(policy), MovingReference(policy.model, 0.5, 2)
    moved_to(policy, 1)
    moving.follow(1)
    assert torch.equal(kept(moving, policy), start)


def test_it_takes_a_share_of_the_policy_every_so_many_steps(policy: Policy) -> None:
    start, moving = weights(policy), MovingReference(policy.model, 0.25, 2)
    moved = moved_to(policy, 1)
    moving.follow(2)
    assert torch.allclose(kept(moving, policy), 0.25 * moved + 0.75 * start, atol=1e-6)


def test_moved_all_the_way_it_is_the_policy(policy: Policy) -> None:
    moving = MovingReference(policy.model, 1.0, 1)
    moved = moved_to(policy, 1)
    moving.follow(1)
    assert torch.equal(kept(moving, policy), moved)
    moved_to(policy, 2)
    assert torch.equal(kept(moving, policy), moved)


@pytest.mark.parametrize("training", [True, False])
def test_the_policy_is_back_afterwards_also_after_a_failure(policy: Policy, training: bool) -> None:
    moving = MovingReference(policy.model, 0.5, 2)
    moved = moved_to(policy, 1)
    policy.model.train(training)
    with pytest.raises(ZeroDivisionError), moving.in_place(policy.model):
        raise ZeroDivisionError
    assert torch.equal(weights(policy), moved)
    assert policy.model.training is training
    assert torch.is_grad_enabled()


def test_a_pass_of_the_reference_leaves_the_policys_gradient_alone(policy: Policy) -> None:
    """The policy's pass comes first and its backward pass afterwards."""
    moving = MovingReference(policy.model, 0.5, 2)
    moved_to(policy, 1)
    ids = torch.tensor([[1, 2, 3]])

    def gradient(between: bool) -> torch.Tensor:
        policy.model.zero_grad()
        loss = policy.model(input_ids=ids).logits.log_softmax(-1)[0, :, 5].sum()
        if between:
            with moving.in_place(policy.model):
                policy.model(input_ids=ids)
        loss.backward()
        return torch.cat([w.grad.flatten().clone() for w in policy.model.parameters() if w.grad is not None])

    assert torch.equal(gradient(between=True), gradient(between=False))


def test_it_is_read_back_as_it_was_saved(tmp_path: Path, policy: Policy) -> None:
    moving = MovingReference(policy.model, 0.3, 1)
    moved_to(policy, 1)
    moving.follow(1)
    moving.save(tmp_path)
    again = MovingReference(policy.model, 0.3, 1)
    again.load(tmp_path)
    assert torch.equal(kept(again, policy), kept(moving, policy))


def test_a_checkpoint_without_one_is_no_checkpoint_of_it(tmp_path: Path, policy: Policy) -> None:
    with pytest.raises(OSError, match="moving_reference"):
        MovingReference(policy.model, 0.3, 1).load(tmp_path)


# Through the trainer.


def margin(policy: Policy, moving: dict[str, Any], folder: Path, **changes: Any) -> float:
    """The first batch's mean margin to a reference from which the policy was then moved."""
    training = training_with(policy, PAIRS, folder, {"name": "trdpo", "beta": 1.0}, moving=moving, **changes)
    trainer, _ = trl_engine.build(training)
    moved_to(policy, 3)
    trainer.model.train()
    trainer.accelerator.prepare(trainer.model)
    trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    return float(trainer._metrics["train"]["rewards/margins"][0])


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_compares_with_where_the_policy_was(
    tmp_path: Path, policy: Policy, precision: Any, checkpointing: bool
) -> None:
    """Also in bf16, where a pass might find the other's weights among those that were already rounded."""
    start = score(policy.model, PAIRS, 16, policy.pad_id)
    own = Policy(policy.model, policy.tokenizer, precision)
    found = margin(own, {"mixup": 0.5, "sync_steps": 4}, tmp_path, gradient_checkpointing=checkpointing)
    now = score(policy.model, PAIRS, 16, policy.pad_id)
    expected = (now.chosen_logps - start.chosen_logps - now.rejected_logps + start.rejected_logps).mean().item()
    assert abs(expected) > 0.1
    assert found == pytest.approx(expected, abs=1e-4 if precision == "fp32" else 0.08)


def test_dropout_is_the_policys_alone(tmp_path: Path) -> None:
    """With half of an adapter's inputs dropped two passes of the reference say the same, two of the policy do not."""
    policy = talker(lora=True, dropout=0.5)
    training = training_with(policy, PAIRS, tmp_path, TRDPO, moving={"mixup": 0.5, "sync_steps": 4})
    trainer, _ = trl_engine.build(training)
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    one, other = (trainer._reference(trainer.model, batch) for _ in range(2))
    assert torch.equal(one, other)
    one, other = (trainer._ask(trainer.model, batch).log_probs for _ in range(2))
    assert not torch.equal(one, other)


# Token 1 won eight of ten comparisons with token 0, which the policy says three times as often.
TEN = [pair([1], [0])] * 8 + [pair([0], [1])] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("mixup", "sync_steps"), [(1.0, 1), (0.6, 1), (0.5, 2), (0.6, 16)])
def test_trdpo_on_two_actions_is_what_it_is_by_hand(tmp_path: Path, mixup: float, sync_steps: int) -> None:
    """Six steps of gradient descent on the head's rows, whose sums a and b are the two logits, a - b = s.

    The head has two columns, so a row's sum moves twice as fast as each of its weights, and s by both rows:
    s <- s - 4 lr dL/ds with dL/ds = -beta (p - sigmoid(beta (s - s_ref))), each row's weights moving by lr dL/ds.
    The reference is a mixture of weights, which for the logits is a mixture of them.
    """
    beta, rate = 0.5, 0.3
    policy = bandit([math.log(3), 0.0])
    for weight in policy.model.model.parameters():
        weight.requires_grad_(False)
    trl_engine.train(
        training_with(
            policy, TEN, tmp_path, {"name": "trdpo", "beta": beta},
            moving={"mixup": mixup, "sync_steps": sync_steps}, learning_rate=rate, max_steps=6,
        )
    )  # fmt: skip
    s = ref = -math.log(3)
    for step in range(1, 7):
        s += 4 * rate * beta * (0.8 - 1 / (1 + math.exp(-beta * (s - ref))))
        if step % sync_steps == 0:
            ref = mixup * s + (1 - mixup) * ref
    assert float(torch.logit(probabilities(policy)[1].double())) == pytest.approx(s, abs=1e-5)


def run(folder: Path, cache_dir: Path, reporter: Recorder | None = None, **changes: Any) -> RunResult:
    reporter = reporter or Recorder()
    config = run_config("trdpo", reference={"kind": "moving", "mixup": 0.6, "sync_steps": 3}, **changes)
    result = train(run_spec(folder, cache_dir, config), reporter)
    reporter.do_what_is_left()
    return result


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "none"])
@pytest.mark.parametrize("stop_at", [4, 6])
def test_a_run_that_goes_on_ends_as_if_it_had_never_stopped(
    tmp_path: Path, cache_dir: Path, peft: str, stop_at: int
) -> None:
    """Stopped between two syncs, and right after one: a reference that began anew would be somewhere else."""
    changes: dict[str, Any] = {"training__learning_rate": 5e-3, "training__gradient_checkpointing": True}
    if peft == "none":
        changes["peft"] = {"kind": "none"}
    whole = run(tmp_path / "whole", cache_dir, **changes)
    assert run(tmp_path / "parts", cache_dir, Recorder(stop_at=stop_at), **changes).status == "cancelled"
    parts = run(tmp_path / "parts", cache_dir, **changes)
    assert (whole.status, whole.error) == (parts.status, parts.error) == ("completed", None)
    assert parts.metrics["train/loss"] == pytest.approx(whole.metrics["train/loss"], abs=1e-6)
    assert parts.metrics["eval/margin_nats"] == pytest.approx(whole.metrics["eval/margin_nats"], abs=1e-5)


@pytest.mark.slow
def test_held_out_pairs_are_compared_with_where_the_policy_began(tmp_path: Path, cache_dir: Path) -> None:
    """Moved along at every step, the reference would leave next to no margin of its own."""
    result = run(tmp_path, cache_dir, training__learning_rate=2e-2)
    assert abs(result.metrics["eval/margin_nats"] or 0.0) > 0.1
