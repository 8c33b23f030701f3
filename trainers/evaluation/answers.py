"""What a policy answers to held-out prompts, and what it answered before training.

Each prompt has random numbers of its own, drawn from its text, so that the same policy answers alike in every run and,
but for rounding, in every batch. The start draws others than the policy: the two are independent, as a win rate wants.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from trainers.config import RunConfig
from trainers.distributed import World
from trainers.evaluation.answer_store import AnswerStore
from trainers.evaluation.beside import start_identity, start_opened
from trainers.evaluation.prompts import Prompt
from trainers.generate import Draw, Sampling, ends, sample, text_of
from trainers.models import Policy
from trainers.samples import Sample

# The same for each evaluation and run: what differs between them is the policy.
_OF_POLICY, _OF_START = 1, 2
T = TypeVar("T")


def answers(
    config: RunConfig, policy: Policy, prompts: Sequence[Prompt], heed: Callable[[], None], world: World
) -> list[Sample]:
    """One answer to each prompt, from the policy as it is now, in the prompts' order."""
    return _sampled(config, policy, prompts, _OF_POLICY, heed, world)


def start_answers(
    config: RunConfig,
    policy: Policy,
    prompts: Sequence[Prompt],
    cache_dir: Path,
    heed: Callable[[], None],
    world: World,
) -> list[Sample]:
    """The same of what the policy started from: looked up, or made and kept for all runs that start alike."""
    store = _store(config, policy, prompts, cache_dir) if world.first else None
    found = world.agreed(store.find() if store is not None else None)
    if found is None:
        with start_opened(config, policy, cache_dir) as start:
            made = _sampled(config, start, prompts, _OF_START, heed, world)
        found = world.agreed(store.keep(made) if store is not None else made)
    return [Sample(answer.ids, text_of(policy, answer.ids), answer.logp, answer.ended) for answer in found]


def _sampled(
    config: RunConfig, policy: Policy, prompts: Sequence[Prompt], seed: int, heed: Callable[[], None], world: World
) -> list[Sample]:
    draws = _draws(config, prompts, seed)

    def drawn(batch_size: int) -> list[Sample]:
        evaluation = config.evaluation
        found = sample(
            policy, draws, Sampling(evaluation.max_new_tokens, evaluation.temperature, batch_size), heed, world
        )
        return [Sample(answer.ids, answer.text, answer.logp, answer.ended) for answer in found]

    return with_room(drawn, config.evaluation.sampling_batch, world)


def _draws(config: RunConfig, prompts: Sequence[Prompt], seed: int) -> list[Draw]:
    room = config.training.max_length
    return [
        Draw(prompt.asked.ids, (seed, int(prompt.name, 16)), max(1, room - len(prompt.asked.ids))) for prompt in prompts
    ]


def _store(config: RunConfig, policy: Policy, prompts: Sequence[Prompt], cache_dir: Path) -> AnswerStore | None:
    try:
        identity = start_identity(config, policy, cache_dir)
    except OSError as error:
        print(f"answers of the start: {error}: they are not kept", file=sys.stderr)
        return None
    draws = _draws(config, prompts, _OF_START)
    asked = json.dumps([[list(draw.prompt_ids), list(draw.key), draw.room] for draw in draws])
    question: dict[str, Any] = {
        "model": identity,
        "prompts": hashlib.sha256(asked.encode()).hexdigest(),
        "max_new_tokens": config.evaluation.max_new_tokens,
        "temperature": config.evaluation.temperature,
        "ends": ends(policy),
    }
    return AnswerStore(cache_dir / "answers", question)


def with_room(work: Callable[[int], T], batch_size: int, world: World) -> T:
    """What `work` gives for a batch size, halved as often as a GPU's memory is too full for it.

    Raises OutOfMemoryError where one at a time is too much, and where several ranks would have to halve together.
    """
    while True:
        try:
            return work(batch_size)
        except torch.OutOfMemoryError:
            if batch_size == 1 or world.shared:
                raise
        # Outside of the handler, whose traceback holds on to what filled the memory.
        torch.cuda.empty_cache()
        batch_size = max(1, batch_size // 2)
        print(f"evaluation: the GPU's memory is full: {batch_size} answers a pass from here on", file=sys.stderr)
