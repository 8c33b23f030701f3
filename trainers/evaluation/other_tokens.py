"""Log-probabilities of sampled answers under a reference with another tokenizer: sums over whole texts.

Token by token the two cannot be compared; log π(y|x) - log ref(y|x) of whole answers can, and k1 is made of that.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from trainers import models, reference_kinds
from trainers.config import RunConfig
from trainers.data import Pair, Text, tokenise
from trainers.distributed import World
from trainers.evaluation.beside import opened
from trainers.evaluation.scorer import score_answers
from trainers.models import Policy
from trainers.samples import Asked, Sample

# Longer than any text, for models that have no longest one.
NO_LIMIT = 1 << 30


def reference_logps(
    config: RunConfig,
    policy: Policy,
    asked: Sequence[Asked],
    answers: Sequence[Sample],
    cache_dir: Path,
    heed: Callable[[], None],
    world: World,
) -> torch.Tensor:
    """Σ_i w_i log ref_i(y|x) of each answer, float64 of shape (n,), in nats; each model reads the texts in its tokens.

    Raises InvalidInput where a model cannot read them, such as chat messages without a template.
    """
    summed = torch.zeros(len(answers), dtype=torch.float64)
    for part in reference_kinds.parts(config):
        tokenizer = models.tokenizer_at(part.path, part.revision, cache_dir)
        with opened(config, policy, part, cache_dir) as other, other.in_place():
            same = part.own or tokenizer.get_vocab() == policy.tokenizer.get_vocab()
            told = _as_they_are(asked, answers) if same else read(asked, answers, tokenizer, _longest(other.model))
            size = 2 * config.evaluation.batch_size
            pad_id = policy.pad_id if same else 0
            logps, _ = score_answers(
                other.model, told, size, pad_id, autocast=policy.autocast, heed=heed, world=world
            )  # fmt: skip
            summed += part.weight * logps.double()
        # Before the next one is loaded.
        del other
    return summed


def _as_they_are(asked: Sequence[Asked], answers: Sequence[Sample]) -> list[tuple[Sequence[int], Sequence[int]]]:
    return [(prompt.ids, answer.ids) for prompt, answer in zip(asked, answers, strict=True)]


def read(
    asked: Sequence[Asked], answers: Sequence[Sample], tokenizer: Any, limit: int
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Ids of prompt and answer; an answer that did not end by itself has no end here either, if it is plain text."""
    texts = [_said(prompt.text, answer.text) for prompt, answer in zip(asked, answers, strict=True)]
    pairs = [Pair(prompt.text, text, text) for prompt, text in zip(asked, texts, strict=True)]
    found: list[tuple[Sequence[int], Sequence[int]]] = []
    for pair, answer in zip(tokenise(pairs, tokenizer, limit), answers, strict=True):
        ids = pair.chosen_ids
        if not answer.ended and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids = ids[:-1]
        found.append((pair.prompt_ids, ids))
    return found


def _said(prompt: Text, text: str) -> Text:
    return text if isinstance(prompt, str) else ({"role": "assistant", "content": text},)


def _longest(model: Any) -> int:
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or NO_LIMIT)
