"""Models of reward: one number for an answer, from a model of ours, anybody's, or the built-in world's known reward.

load_reward("outputs/rm/runs/t0000-s0-1a2b3c4d/adapter", ...) or load_reward("builtin:gold", ...)
reward.rate([Asked(ids, "Recall the sea:")], [answer]) -> [1.7]
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig
from trl.trainer.reward_trainer import suppress_seqcls_warning
from trl.trainer.utils import disable_dropout_in_model

from trainers import world_text
from trainers.data import Messages
from trainers.distributed import ALONE, World
from trainers.errors import InvalidInput
from trainers.files import read_json
from trainers.methods import GOLD
from trainers.models import Policy, keep_from_repacking, locate
from trainers.samples import Asked, Sample
from trainers.weights_folders import BASE_QUANTIZATION

_ADAPTER = "adapter_config.json"


class Reward(Protocol):
    """Says what answers are worth, in units of its own."""

    def rate(self, asked: Sequence[Asked], answers: Sequence[Sample], heed: Callable[[], None]) -> list[float]:
        """A number for each answer to the prompt at its place; `heed` may end it with an exception."""


class Gold:
    """The built-in world's known reward, `trainers.world_text.gold_reward`: for its plain-text prompts only."""

    def rate(
        self, asked: Sequence[Asked], answers: Sequence[Sample], _heed: Callable[[], None] = lambda: None
    ) -> list[float]:
        """As `Reward.rate`; in [-8, 8]."""
        return [
            world_text.gold_reward(str(prompt.text), answer.text) for prompt, answer in zip(asked, answers, strict=True)
        ]


@dataclass(frozen=True)
class Classifier:
    """A sequence-classification model of one label. `same_tokens`: it reads the policy's tokens as they are."""

    model: Any
    tokenizer: Any
    same_tokens: bool
    batch_size: int

    def rate(
        self, asked: Sequence[Asked], answers: Sequence[Sample], heed: Callable[[], None] = lambda: None
    ) -> list[float]:
        """As `Reward.rate`."""
        sequences = [self._ids(prompt, answer) for prompt, answer in zip(asked, answers, strict=True)]
        rated: list[float] = rate(
            self.model, sequences, self.batch_size, int(self.tokenizer.pad_token_id), heed=heed
        ).tolist()
        return rated

    def _ids(self, prompt: Asked, answer: Sample) -> list[int]:
        if self.same_tokens:
            return [*prompt.ids, *answer.ids]
        if isinstance(prompt.text, str):
            ids = self.tokenizer(prompt.text + answer.text, verbose=False)["input_ids"]
        else:
            ids = self._chat(prompt.text, answer.text)
        # What a model has no positions for goes at the beginning, so that the answer's end is read.
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return list(ids) if longest is None else list(ids)[-int(longest) :]

    def _chat(self, messages: Messages, answer: str) -> list[int]:
        conversation = [*map(dict, messages), {"role": "assistant", "content": answer}]
        return list(self.tokenizer.apply_chat_template(conversation, return_dict=True)["input_ids"])


def load_reward(
    path: str, policy: Policy, cache_dir: Path, batch_size: int, key: str = "method.reward_model"
) -> Reward:
    """The reward model at `path`: a hub id, a folder with a model or with an adapter beside its tokenizer, or gold.

    Weights are read in the policy's dtype, and lie where it does; those under an adapter that was trained over weights
    in 4 bits are packed as they were then. Raises InvalidInput where it gives more than one number, or reads chat
    messages without a template, in words of the setting `key` that names it.
    """
    if path == GOLD:
        return Gold()
    folder = locate(path, cache_dir)
    base = _base(folder)
    if base is not None and Path(base).is_absolute() and not Path(base).exists():
        raise InvalidInput([
            f"{key}={path}: it is an adapter to {base}, which is gone: put that model back, or train the "
            "reward model with peft=none, whose folder holds all"
        ])  # fmt: skip
    device = next(policy.model.parameters()).device
    with suppress_seqcls_warning():
        model = AutoModelForSequenceClassification.from_pretrained(
            str(folder if base is None else locate(base, cache_dir)),
            trust_remote_code=False,
            **({} if base is None else {"num_labels": 1}),
            **(_packed(folder, device) or {"dtype": policy.model.dtype}),
        )
    keep_from_repacking(model)
    if model.config.num_labels != 1:
        raise InvalidInput([
            f"{key}={path}: it gives {model.config.num_labels} numbers for a text, and a reward is one: "
            "give a sequence-classification model of one label, as method=reward trains"
        ])  # fmt: skip
    if base is not None:
        model = PeftModel.from_pretrained(model, str(folder), torch_device=str(device))
    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # A classifier reads its number off the last token that is no padding.
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    disable_dropout_in_model(model)
    model.requires_grad_(False)
    same = tokenizer.get_vocab() == policy.tokenizer.get_vocab()
    return Classifier(model.to(device).eval(), tokenizer, same, batch_size)


def _base(folder: Path) -> str | None:
    """Whose adapter the folder holds, None where it holds a model."""
    try:
        return str(json.loads((folder / _ADAPTER).read_text())["base_model_name_or_path"])
    except OSError:
        return None


def _packed(folder: Path, device: torch.device) -> dict[str, Any]:
    """How the weights under an adapter are to be loaded where it was trained over 4 bits, else nothing."""
    known = read_json(folder / BASE_QUANTIZATION)
    if not isinstance(known, dict):
        return {}
    packing = BitsAndBytesConfig.from_dict(known)
    return {"quantization_config": packing, "dtype": packing.bnb_4bit_compute_dtype, "device_map": {"": device}}


def rate(
    model: Any,
    sequences: Sequence[Sequence[int]],
    batch_size: int,
    pad_id: int,
    *,
    autocast: torch.dtype | None = None,
    heed: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> torch.Tensor:
    """What a classifier of one label gives for each sequence of token ids, float32 of shape (n,).

    `batch_size` sequences make a forward pass, like-long ones together; for the rest see
    `trainers.evaluation.scorer.score`.
    """
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    rated = torch.zeros(len(sequences), dtype=torch.float32)
    device = next(model.parameters()).device
    cast = torch.autocast(device.type, autocast) if autocast else contextlib.nullcontext()
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), cast:
            for batch in world.turns(batches):
                heed()
                if batch is not None:
                    rated[batch] = _forward(model, [sequences[index] for index in batch], pad_id, device)
    finally:
        model.train(training)
    return world.sum(rated)


def _forward(model: Any, sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> torch.Tensor:
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), pad_id)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(list(sequence))
        mask[row, : len(sequence)] = 1
    # Not every classifier has a cache to leave out.
    logits: torch.Tensor = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
    return logits[:, 0].float().cpu()
