"""Trains on pairs of answers with a loss of `trainers.losses`: TRL's DPOTrainer but for what it minimises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback
from trl import DPOTrainer

from trainers.losses import Answers
from trainers.moving_reference import MovingReference
from trainers.trainer_base import PreparedTrainer, Row

PairLoss = Callable[[Answers, Answers], Tensor]


class PairTrainer(PreparedTrainer, DPOTrainer):  # type: ignore[misc]
    """Rows are {prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps, ref_rejected_logps}."""

    def __init__(
        self,
        *,
        loss: PairLoss,
        reward_scale: float,
        reward_per_token: bool = False,
        learns_prompt: bool = False,
        moving: MovingReference | None = None,
        **kwargs: Any,
    ) -> None:
        """`moving` takes the place of the rows' reference. `learns_prompt`: the loss reads the prompt's likelihood too.

        `train/rewards/*` are `reward_scale` times the log-ratios, averaged over tokens where `reward_per_token`.
        """
        self._pair_loss, self._moving = loss, moving
        self._reward_scale, self._reward_per_token, self._learns_prompt = reward_scale, reward_per_token, learns_prompt
        super().__init__(**kwargs)
        # Reference log-probabilities come with the rows, or from the policy's own past.
        self.ref_model = None
        self.precompute_ref_logps = True
        if moving is not None:
            self.add_callback(_Follow(moving))

    def _compute_loss(self, model: Any, inputs: Row, return_outputs: bool) -> Any:
        assert not return_outputs
        outputs = self._ask(model, inputs)
        chosen, rejected = self._answers(outputs.log_probs, self._reference(model, inputs), inputs)
        loss = self._pair_loss(chosen, rejected).mean()
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        with torch.no_grad():
            self._note_rewards(chosen, rejected)
            self._note_tokens(outputs, inputs)
        return loss

    def _ask(self, model: Any, inputs: Row) -> Any:
        """Log-probabilities of the tokens of [chosen, rejected] that the loss reads, 0 elsewhere."""
        read = inputs["attention_mask"] if self._learns_prompt else inputs["completion_mask"]
        return model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["input_ids"].masked_fill(read == 0, -100),
            use_cache=False,
            fused_lm_head=True,
            **({"output_router_logits": True} if self.aux_loss_enabled else {}),
        )

    def _reference(self, model: Any, inputs: Row) -> Tensor:
        """log π_ref of [chosen, rejected], of shape (2n,)."""
        if self._moving is None:
            return torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        with self._moving.in_place(model):
            logps: Tensor = self._ask(model, inputs).log_probs
        summed: Tensor = (logps * inputs["completion_mask"][:, 1:]).sum(-1)
        return summed

    def _answers(self, logps: Tensor, ref_logps: Tensor, inputs: Row) -> list[Answers]:
        mask = inputs["completion_mask"][:, 1:].bool()
        text_tokens = (inputs["attention_mask"].sum(-1) - 1).clamp(min=1)
        parts = zip(
            logps.masked_fill(~mask, 0.0).chunk(2),
            mask.chunk(2),
            ref_logps.to(logps).chunk(2),
            logps.sum(-1).chunk(2),
            text_tokens.chunk(2),
            strict=True,
        )
        return [Answers(*part) for part in parts]

    def _note_rewards(self, chosen: Answers, rejected: Answers) -> None:
        def reward(answers: Answers) -> Tensor:
            return self._reward_scale * (answers.mean_logratios if self._reward_per_token else answers.logratios)

        reward_w, reward_l = reward(chosen), reward(rejected)
        noted = {
            "rewards/chosen": reward_w,
            "rewards/rejected": reward_l,
            "rewards/accuracies": (reward_w > reward_l).float(),
            "rewards/margins": reward_w - reward_l,
            "logps/chosen": chosen.logps,
            "logps/rejected": rejected.logps,
        }
        for name, values in noted.items():
            self._metrics["train"][name].append(values.mean().item())

    def _note_tokens(self, outputs: Any, inputs: Row) -> None:
        """TRL's measures of tokens, under its names."""
        metrics = self._metrics["train"]
        mask = inputs["completion_mask"][:, 1:].bool()
        mask_w, mask_l = mask.chunk(2)
        logits_w, logits_l = outputs.mean_logits.chunk(2)
        metrics["entropy"].append(_mean_at(outputs.entropy, mask))
        metrics["logits/chosen"].append(_mean_at(logits_w, mask_w))
        metrics["logits/rejected"].append(_mean_at(logits_l, mask_l))
        metrics["mean_token_accuracy"].append(_mean_at(outputs.is_top1.chunk(2)[0].float(), mask_w))
        self._total_train_tokens += inputs["attention_mask"].sum().item()
        metrics["num_tokens"] = [self._total_train_tokens]

    def _save_files(self, folder: Path) -> None:
        super()._save_files(folder)
        if self._moving is not None:
            self._moving.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: PreTrainedModel | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._moving is not None:
            self._moving.load(Path(resume_from_checkpoint))


class _Follow(TrainerCallback):  # type: ignore[misc]
    """Moves the reference after each step, before a checkpoint of it is saved."""

    def __init__(self, moving: MovingReference) -> None:
        self._moving = moving

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        self._moving.follow(state.global_step)


def _mean_at(values: Tensor, mask: Tensor) -> float:
    return ((values * mask).sum() / mask.sum().clamp(min=1)).item()
