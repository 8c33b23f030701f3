"""What a policy of the built-in world says when it is asked: its true reward, and how far it has moved to get there.

Two axes of the DPO paper's frontier (arXiv:2305.18290, figure 2) -> {"eval/reward": 3.1, "eval/kl": 12.4, ...}
"""

from collections.abc import Sequence
from typing import Any

import torch

from trainers.data_tokens import TokenisedPair
from trainers.evaluation.passes import asking
from trainers.world_build import PAD_ID, sample, text
from trainers.world_text import gold_reward

# The same for each evaluation and run: what differs between them is the policy. The reference draws its own.
SEED, REFERENCE_SEED = 1, 2


def sample_metrics(model: Any, pairs: Sequence[TokenisedPair]) -> dict[str, float]:
    """Measures on one answer sampled at temperature 1 to each pair's prompt, from a model with an adapter:

    eval/reward    mean true reward of the answers (`world_text.gold_reward`)
    eval/kl        mean over answers of sum_t KL(policy(.|y_<t) || reference(.|y_<t)), in nats: an estimate of the
                   sequence KL with less noise than the log-ratio's; the reference is the model without its adapter
    eval/win_rate  share of prompts at which the answer's reward is above that of one sampled from the reference; a tie
                   counts one half
    eval/length    mean bytes of an answer, its end counted

    Random states are left alone, and the model comes back in the mode (train or eval) it had.
    """
    prompts = [pair.prompt_ids for pair in pairs]
    with asking(model, None):
        answers = sample(model, prompts, SEED)
        kl = _kl(model, prompts, answers)
        with model.disable_adapter():
            others = sample(model, prompts, REFERENCE_SEED)
    rewards, baseline = _rewards(prompts, answers), _rewards(prompts, others)
    return {
        "eval/reward": rewards.mean().item(),
        "eval/kl": kl.mean().item(),
        "eval/win_rate": ((rewards > baseline).double() + (rewards == baseline).double() / 2).mean().item(),
        "eval/length": sum(map(len, answers)) / len(answers),
    }


def _rewards(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> torch.Tensor:
    """True rewards, float64 of shape (answers,)."""
    return torch.tensor(
        [gold_reward(text(asked), text(answer)) for asked, answer in zip(prompts, answers, strict=True)],
        dtype=torch.float64,
    )


def _kl(model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> torch.Tensor:
    """KL of each answer's token distributions, summed over its tokens: float64 of shape (answers,), in nats."""
    device = next(model.parameters()).device
    whole = [[*asked, *answer] for asked, answer in zip(prompts, answers, strict=True)]
    width = max(map(len, whole))
    ids = torch.tensor([row + [PAD_ID] * (width - len(row)) for row in whole], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in whole], device=device)
    said = torch.zeros_like(mask)
    for row, (asked, answer) in enumerate(zip(prompts, answers, strict=True)):
        said[row, len(asked) : len(asked) + len(answer)] = 1
    policy = _logps(model, ids, mask)
    with model.disable_adapter():
        reference = _logps(model, ids, mask)
    each = (policy.exp() * (policy - reference)).sum(-1)
    return (each * said[:, 1:]).sum(-1).cpu()


def _logps(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """log-probabilities of each next token, float64 of shape (sequences, width - 1, vocabulary)."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return logits[:, :-1].double().log_softmax(-1)
