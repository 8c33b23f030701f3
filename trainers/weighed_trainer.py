"""Trains on sampled answers that each have an advantage: REINFORCE leave-one-out, arXiv:2402.14740.

TRL's RLOOTrainer computes the same (`_compute_loss` and the advantages of `_generate_and_score_completions`, trl 1.16),
but it samples inside a step: nothing of it is on disk, a stop waits for the whole batch, its batches count answers, and
ranks share them in another way than `trainers.data_parallel` does. For a LoRA run it keeps a second adapter as its
reference, for full fine-tuning it loads a second model by name. Here answers are sampled before, by `trainers.samples`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl import DPOTrainer

from trainers.trainer_base import PreparedTrainer, Row


@dataclass(frozen=True)
class WeighedAnswer:
    """An answer in tokens, log π(y|x) in nats of the policy that wrote it, and its advantage."""

    prompt_ids: Sequence[int]
    ids: Sequence[int]
    logp: float
    advantage: float


def advantages(rewards: Tensor, logps: Tensor, ref_logps: Tensor, beta: float) -> Tensor:
    """R_i minus the mean of the others' R, R = r - β [log π(y|x) - log π_ref(y|x)]: RLOO, arXiv:2402.14740.

    All of shape (prompts, answers); k answers to a prompt, at least two.
    """
    regularised = rewards - beta * (logps - ref_logps)
    others = (regularised.sum(1, keepdim=True) - regularised) / (regularised.shape[1] - 1)
    return regularised - others


def clipped_loss(logps: Tensor, old_logps: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-min(ρ A, clamp(ρ, 1 - ε, 1 + ε) A), ρ = π(y|x)/π_old(y|x) of whole answers; of shape (n,).

    At ρ = 1 its gradient is REINFORCE's; arXiv:1707.06347, eq. 7.
    """
    # exp() of more than 80 is infinite in fp32, and such a ratio is far beyond the clip.
    ratio = (logps - old_logps).clamp(max=80.0).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def weighed_rows(answers: Sequence[WeighedAnswer]) -> list[Row]:
    """One row an answer."""
    return [
        {"prompt_ids": list(a.prompt_ids), "answer_ids": list(a.ids), "logp": a.logp, "advantage": a.advantage}
        for a in answers
    ]


@dataclass(frozen=True)
class WeighedCollator:
    """Rows to tensors, padded at the right."""

    pad_id: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """{"input_ids", "attention_mask", "completion_mask": (n, T), "old_logps", "advantages": (n,)}."""
        width = max(len(row["prompt_ids"]) + len(row["answer_ids"]) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id)
        attended, answered = (torch.zeros((len(rows), width), dtype=torch.long) for _ in range(2))
        for number, row in enumerate(rows):
            start = len(row["prompt_ids"])
            end = start + len(row["answer_ids"])
            ids[number, :end] = torch.tensor([*row["prompt_ids"], *row["answer_ids"]])
            attended[number, :end] = 1
            answered[number, start:end] = 1
        return {
            "input_ids": ids,
            "attention_mask": attended,
            "completion_mask": answered,
            "old_logps": torch.tensor([row["logp"] for row in rows], dtype=torch.float32),
            "advantages": torch.tensor([row["advantage"] for row in rows], dtype=torch.float32),
        }


class WeighedTrainer(PreparedTrainer, DPOTrainer):  # type: ignore[misc]
    """Rows are those of `weighed_rows`."""

    def __init__(self, *, clip: float, **kwargs: Any) -> None:
        self._clip = clip
        super().__init__(**kwargs)
        self.ref_model = None
        self.precompute_ref_logps = True

    def _compute_loss(self, model: Any, inputs: Row, return_outputs: bool) -> Any:
        assert not return_outputs
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100),
            use_cache=False,
            fused_lm_head=True,
        )
        logps: Tensor = outputs.log_probs.sum(-1)
        with torch.no_grad():
            self._note(logps - inputs["old_logps"], inputs)
        return clipped_loss(logps, inputs["old_logps"], inputs["advantages"], self._clip).mean()

    def _note(self, moved: Tensor, inputs: Row) -> None:
        metrics = self._metrics["train"]
        metrics["approx_kl"].append((-moved).mean().item())
        metrics["clip_ratio"].append(((moved.exp() - 1).abs() > self._clip).float().mean().item())
        metrics["completions/mean_length"].append(inputs["completion_mask"].sum(-1).float().mean().item())
        self._total_train_tokens += inputs["attention_mask"].sum().item()
        metrics["num_tokens"] = [self._total_train_tokens]
