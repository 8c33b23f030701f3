"""What a policy answers to held-out prompts, and what its opponent does: it before training, or another run's policy.

Each prompt has random numbers of its own, drawn from its text, so that the same policy answers alike in every run and,
but for rounding, in every batch. The opponent draws others than the policy: the two are independent, as a win rate
wants.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from trainers import models
from trainers.config import RunConfig
from trainers.data_pairs import Pair
from trainers.data_tokens import tokenise
from trainers.distributed import World
from trainers.evaluation.answer_store import AnswerStore
from trainers.evaluation.beside import identity, policy_of, start_part
from trainers.evaluation.opponent import Opponent, opponent
from trainers.evaluation.other_tokens import NO_LIMIT, read
from trainers.evaluation.prompts import Prompt
from trainers.evaluation.room import with_room
from trainers.generate import Draw, Sampling, ends, sample, text_of
from trainers.models import Policy
from trainers.reference_kinds import Part
from trainers.samples import Sample

# The same for each evaluation and run: what differs between them is the policy.
_OF_POLICY, _OF_OPPONENT = 1, 2


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
    part = start_part(config)
    return _kept_or_made(config, policy, part, policy.tokenizer, prompts, cache_dir, heed, world)


def opponent_answers(
    config: RunConfig,
    policy: Policy,
    prompts: Sequence[Prompt],
    texts: Sequence[Pair],
    cache_dir: Path,
    heed: Callable[[], None],
    world: World,
) -> list[Sample]:
    """The same of the opponent that the config names; `texts` are the pairs whose prompts they are.

    One with a tokenizer or a chat template of its own is asked in its words; its answers are then told in the policy's
    tokens, with the log-probability that they had in its own. Raises InvalidInput or OSError where it cannot be loaded.
    """
    other = opponent(config)
    if other is None:
        return start_answers(config, policy, prompts, cache_dir, heed, world)
    own = _tokenizer(other, cache_dir)
    if _reads_alike(own, policy.tokenizer):
        return _kept_or_made(config, policy, other.part, policy.tokenizer, prompts, cache_dir, heed, world)
    pairs = tokenise(texts, own, config.training.max_length)
    asked = [
        replace(prompt, asked=replace(prompt.asked, ids=pair.prompt_ids))
        for prompt, pair in zip(prompts, pairs, strict=True)
    ]
    found = _kept_or_made(config, policy, other.part, own, asked, cache_dir, heed, world)
    told = read([prompt.asked for prompt in prompts], found, policy.tokenizer, NO_LIMIT)
    return [replace(answer, ids=list(ids)) for answer, (_, ids) in zip(found, told, strict=True)]


def _reads_alike(one: Any, other: Any) -> bool:
    return bool(one.chat_template == other.chat_template and one.get_vocab() == other.get_vocab())


def _tokenizer(other: Opponent, cache_dir: Path) -> Any:
    path, revision = other.tokenizer
    tokenizer = models.tokenizer_at(path, revision, cache_dir)
    return models.completed(tokenizer, other.chat_template, path)


def _kept_or_made(
    config: RunConfig,
    policy: Policy,
    part: Part,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    cache_dir: Path,
    heed: Callable[[], None],
    world: World,
) -> list[Sample]:
    """Answers of a model that reads with that tokenizer."""
    reader = replace(policy, tokenizer=tokenizer)
    opened = partial(policy_of, config, reader, part, cache_dir)
    store = _store(config, reader, part, prompts, cache_dir) if world.first else None
    found = world.agreed(store.find() if store is not None else None)
    if found is None:
        made = _made(config, opened, prompts, heed, world)
        found = world.agreed(store.keep(made) if store is not None else made)
    return [Sample(answer.ids, text_of(reader, answer.ids), answer.logp, answer.ended) for answer in found]


def _made(
    config: RunConfig,
    opened: Callable[[], AbstractContextManager[Policy]],
    prompts: Sequence[Prompt],
    heed: Callable[[], None],
    world: World,
) -> list[Sample]:
    with opened() as other:
        return _sampled(config, other, prompts, _OF_OPPONENT, heed, world)


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


def _store(
    config: RunConfig, reader: Policy, part: Part, prompts: Sequence[Prompt], cache_dir: Path
) -> AnswerStore | None:
    """Of answers of the part, which reads with the tokenizer of `reader`; None where its weights cannot be read."""
    try:
        known = identity(config, reader, part, cache_dir)
    except OSError as error:
        print(f"answers of {part}: {error}: they are not kept", file=sys.stderr)
        return None
    draws = _draws(config, prompts, _OF_OPPONENT)
    asked = json.dumps([[list(draw.prompt_ids), list(draw.key), draw.room] for draw in draws])
    question: dict[str, Any] = {
        "model": known,
        "prompts": hashlib.sha256(asked.encode()).hexdigest(),
        "max_new_tokens": config.evaluation.max_new_tokens,
        "temperature": config.evaluation.temperature,
        # Those that another model declares besides belong to its weights.
        "ends": ends(reader) if part.own else [int(reader.tokenizer.eos_token_id)],
    }
    return AnswerStore(cache_dir / "answers", question)
