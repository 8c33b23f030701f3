"""What the toy problems measure besides: how likely the policy says each action, or each answer of the one pair.

Three actions -> {"eval/p_a": 0.56, "eval/p_b": 0.29, "eval/p_c": 0.15}; two -> eval/logit = log p_a - log p_b besides.
"""

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import torch

from trainers.data_config import Bandit, OnePair
from trainers.data_toys import PROMPT
from trainers.evaluation.scorer import Scores


def toy_metrics(model: Any, data: Bandit | OnePair, scores: Scores) -> dict[str, float]:
    """Probabilities, `scores` being the policy's on the pairs; float64, for those of collapsed answers."""
    if isinstance(data, OnePair):
        return {
            "eval/p_chosen": scores.chosen_logps.double().exp().item(),
            "eval/p_rejected": scores.rejected_logps.double().exp().item(),
        }
    logps = _next_token_logps(model, PROMPT)
    found = {f"eval/p_{name}": logp.exp().item() for name, logp in zip(ascii_lowercase, logps, strict=False)}
    return found | ({"eval/logit": (logps[0] - logps[1]).item()} if len(logps) == 2 else {})


def _next_token_logps(model: Any, prompt: Sequence[int]) -> torch.Tensor:
    """log π(token | prompt), float64 of shape (vocabulary,), on the CPU."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ids = torch.tensor([list(prompt)], device=next(model.parameters()).device)
            logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0, -1]
    finally:
        model.train(training)
    return logits.double().log_softmax(-1).cpu()
