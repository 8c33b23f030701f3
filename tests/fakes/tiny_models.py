"""A tiny model whose every token depends on those before it, and trainings of any method on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from tests.fakes.tiny_runs import Ignored, bandit, llama, method, pair, run_config
from trainers.config_check import check
from trainers.data import TokenisedPair
from trainers.evaluation.scorer import Scores, score
from trainers.models import Policy
from trainers.trl_engine import Training
from trainers.unpaired_trainer import mismatch

WORDS = 12
# Prompts and answers of unlike lengths, in tokens 1 to 11; 0 is padding.
PAIRS = [
    pair([3, 4, 5], [6], prompt=[1, 2]),
    pair([7], [8, 9, 10], prompt=[2]),
    pair([11, 3], [4, 5], prompt=[3, 1, 2]),
    pair([6, 7, 8, 9], [10, 11], prompt=[4]),
    pair([2], [3], prompt=[5, 5]),
    pair([1, 1], [2, 2, 2], prompt=[6]),
    pair([9, 8, 7], [9, 8, 6], prompt=[7, 1]),
    pair([10], [11, 1, 2, 3], prompt=[8]),
]


def talker(seed: int = 0, *, lora: bool = False, dropout: float = 0.0) -> Policy:
    """A random Llama of one layer; with `lora`, an adapter that is not yet zero."""
    torch.manual_seed(seed)
    config = llama(WORDS, hidden=8, inner=16, layers=1, heads=2, initializer_range=0.5, attention_dropout=dropout)
    model: Any = LlamaForCausalLM(config)
    if lora:
        model = get_peft_model(
            model,
            LoraConfig(
                r=2, lora_alpha=4, lora_dropout=dropout, target_modules="all-linear", init_lora_weights=False,
                task_type="CAUSAL_LM",
            ),
        )  # fmt: skip
    return Policy(model, bandit([0.0] * WORDS).tokenizer, "fp32")


def reference_of(pairs: Sequence[TokenisedPair], seed: int = 1) -> Scores:
    """Another talker's scores."""
    policy = talker(seed)
    return score(policy.model, pairs, 16, policy.pad_id)


def training_with(
    policy: Policy,
    pairs: Sequence[TokenisedPair],
    folder: Path,
    settings: Mapping[str, Any],
    reference: Scores | None = None,
    moving: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Training:
    """Full-batch plain gradient descent, but for changes; the reference is the policy's start unless one is given.

    `batch_size=2, gradient_accumulation=4` are micro-batches of two pairs, four a step.
    """
    usual = {"batch_size": len(pairs), "max_grad_norm": 0.0, "logging_steps": 1000, "optimizer": "sgd",
             "lr_scheduler": "constant"}  # fmt: skip
    config = run_config(peft={"kind": "none"}, **{f"training__{key}": to for key, to in (usual | changes).items()})
    config["method"] = method(**settings)
    if moving is not None:
        config["reference"] = {"kind": "moving", **moving}
    mismatched = None
    if settings["name"] == "kto":
        others = mismatch(pairs, 0, 512)
        mismatched = (others, score(policy.model, others, 16, policy.pad_id))
    if reference is None:
        reference = score(policy.model, pairs, 16, policy.pad_id)
    return Training(check(config), policy, pairs, reference, folder, Ignored(), mismatched)


def weights(policy: Policy) -> torch.Tensor:
    """All that is trained, in one row."""
    return torch.cat(
        [weight.detach().flatten().clone() for weight in policy.model.parameters() if weight.requires_grad]
    )
