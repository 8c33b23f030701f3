"""Reference log-probabilities of all pairs, before training: from the policy's own start, or from another model.

They are computed once, so that no second model stays in memory while the policy trains.
"""

import contextlib
import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from trainers.config import ModelReference, RunConfig
from trainers.data import TokenisedPair
from trainers.distributed import ALONE, World
from trainers.errors import InvalidInput
from trainers.evaluate import Scores, score
from trainers.models import Policy, load_base, tokenizer_at


def reference_scores(
    config: RunConfig,
    policy: Policy,
    splits: Mapping[str, Sequence[TokenisedPair]],
    cache_dir: Path,
    heed: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> dict[str, Scores]:
    """{"train": pairs, "heldout": pairs} -> {"train": Scores, "heldout": Scores} of the reference.

    reference=self, and none, take the policy as it is now, before its first step, without its adapter. `heed` and
    `world` are as in `trainers.evaluate.score`. Raises InvalidInput where another model's tokenizer differs from the
    policy's.
    """
    if config.reference.kind != "model":
        with _without_adapter(policy.model):
            return _score(config, policy, policy.model, splits, heed, world)
    _check_same_tokenizer(config.reference, policy, cache_dir)
    model = load_base(config, config.reference.path, config.reference.revision, cache_dir)
    try:
        return _score(config, policy, model, splits, heed, world)
    finally:
        # The trainer gets the memory back before it begins.
        del model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _score(
    config: RunConfig,
    policy: Policy,
    model: Any,
    splits: Mapping[str, Sequence[TokenisedPair]],
    heed: Callable[[], None],
    world: World,
) -> dict[str, Scores]:
    batch_size, cast = config.evaluation.batch_size, policy.autocast
    return {
        name: score(model, pairs, batch_size, policy.pad_id, autocast=cast, heed=heed, world=world)
        for name, pairs in splits.items()
    }


def _without_adapter(model: Any) -> contextlib.AbstractContextManager[None]:
    return model.disable_adapter() if hasattr(model, "disable_adapter") else contextlib.nullcontext()


def _check_same_tokenizer(reference: ModelReference, policy: Policy, cache_dir: Path) -> None:
    """The reference scores the policy's tokens: the same numbers must mean the same text to both."""
    other = tokenizer_at(reference.path, reference.revision, cache_dir)
    if other.get_vocab() != policy.tokenizer.get_vocab():
        raise InvalidInput(
            [
                f"reference.path: the tokenizer of {reference.path} ({len(other)} tokens) differs from the policy's "
                f"({len(policy.tokenizer)} tokens): the reference must share the policy's vocabulary, "
                "as a model of the same family does"
            ]
        )
