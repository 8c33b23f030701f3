"""Reference log-probabilities of all pairs, before training: looked up, or computed and kept for who needs them next.

They are sums over each answer: a reference may have another tokenizer than the policy, and no second model stays in
memory while the policy trains. `python -m trainers.reference RUN_DIR` computes what a run will need ahead of it.
"""

import contextlib
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from trainers import models, reference_kinds
from trainers.config import RunConfig
from trainers.data import Pair, TokenisedPair, load_answers, load_pairs, tokenise
from trainers.data_config import Bandit, OnePair, Unpaired
from trainers.distributed import ALONE, World
from trainers.errors import InvalidInput
from trainers.evaluation.scorer import Scores, score_answers
from trainers.models import Policy
from trainers.reference_kinds import Part
from trainers.reference_models import ReferenceModel, StandIn, Tally, give_back_memory
from trainers.reference_store import Entry, Key, ReferenceStore, key

# So many answers are computed between two writings: no more is lost when a run is killed while it scores.
_ANSWERS_AT_ONCE = 1024
# Longer than any text, for models that have no longest one.
_NO_LIMIT = 1 << 30

Answer = tuple[Sequence[int], Sequence[int]]


def reference_scores(
    config: RunConfig,
    policy: Policy,
    splits: Mapping[str, Sequence[TokenisedPair]],
    cache_dir: Path,
    heed: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> dict[str, Scores]:
    """{"train": pairs, "heldout": pairs} -> {"train": Scores, "heldout": Scores} of the reference.

    reference=self, and none, take the policy as it is now, before its first step, without its adapter. Where
    `cache_dir` holds all scores already, no model is loaded and the policy is asked nothing. Counts of tokens are the
    policy's, also where the reference has another tokenizer. `heed` and `world` are as in
    `trainers.evaluation.scorer.score`.

    Raises InvalidInput where the reference is not what its kind asks for, or its tokenizer differs from the policy's
    and the pairs are not the data's.
    """
    parts = reference_kinds.parts(config)
    scored = [_of_part(config, policy, part, splits, cache_dir, heed, world) for part in parts]
    return {name: _mixed(parts, [scores[name] for scores in scored], pairs) for name, pairs in splits.items()}


def _of_part(
    config: RunConfig,
    policy: Policy,
    part: Part,
    splits: Mapping[str, Sequence[TokenisedPair]],
    cache_dir: Path,
    heed: Callable[[], None],
    world: World,
) -> dict[str, Scores]:
    own = _in_tokens_of(part, config, policy, splits, cache_dir, world)
    model = ReferenceModel(config, policy, part, cache_dir)
    store = _store(model, cache_dir) if world.first else None
    with _Judge(config, policy, part, model, store, heed, world) as judge:
        return {name: judge.scores(pairs) for name, pairs in own.items()}


def _store(model: ReferenceModel, cache_dir: Path) -> ReferenceStore | None:
    try:
        return ReferenceStore(cache_dir / "reference", model.identity())
    except OSError as error:
        print(f"reference log-probabilities: {error}: they are not kept", file=sys.stderr)
        return None


def _mixed(parts: Sequence[Part], scored: Sequence[Scores], pairs: Sequence[TokenisedPair]) -> Scores:
    """Σ_i w_i log p_i: log-linear, but for a constant of each prompt that would make it a probability."""

    def mix(logps: Sequence[torch.Tensor]) -> torch.Tensor:
        weights = torch.tensor([part.weight for part in parts], dtype=torch.float64)
        return logps[0] if len(logps) == 1 else (weights @ torch.stack(list(logps)).double()).float()

    return Scores(
        mix([scores.chosen_logps for scores in scored]),
        mix([scores.rejected_logps for scores in scored]),
        torch.tensor([_scored_tokens(pair.prompt_ids, pair.chosen_ids) for pair in pairs], dtype=torch.int64),
        torch.tensor([_scored_tokens(pair.prompt_ids, pair.rejected_ids) for pair in pairs], dtype=torch.int64),
    )


def _scored_tokens(prompt: Sequence[int], answer: Sequence[int]) -> int:
    """A model gives no probability to a first token."""
    return len(answer) if prompt else max(0, len(answer) - 1)


class _Judge:
    """Looks answers up, and opens the model at the first that nobody has computed yet."""

    def __init__(
        self,
        config: RunConfig,
        policy: Policy,
        part: Part,
        model: ReferenceModel,
        store: ReferenceStore | None,
        heed: Callable[[], None],
        world: World,
    ) -> None:
        self._config, self._policy, self._model, self._store = config, policy, model, store
        self._heed, self._world = heed, world
        self._name = str(part) if store is None else store.folder.name
        tallies = policy.tallies if isinstance(policy, StandIn) else {}
        self._tally = tallies.setdefault(self._name, Tally(str(part)))
        self._known: dict[Key, Entry] = {}
        self._stack = contextlib.ExitStack()
        self._opened: Any = None

    def __enter__(self) -> "_Judge":
        return self

    def __exit__(self, *problem: object) -> None:
        # The trainer gets the memory back before it begins.
        loaded, self._opened = self._opened is not None, None
        self._stack.close()
        if loaded:
            give_back_memory()

    def scores(self, pairs: Sequence[TokenisedPair]) -> Scores:
        """Sums over the answers, in the order of `pairs`; an answer that occurs twice is computed once."""
        answers = [(pair.prompt_ids, ids) for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
        keys = [key(*answer) for answer in answers]
        distinct = dict(zip(keys, answers, strict=True))
        self._look_up(distinct)
        self._compute({name: answer for name, answer in distinct.items() if name not in self._known})
        logps = torch.tensor([self._known[name].logp for name in keys], dtype=torch.float32)
        tokens = torch.tensor([self._known[name].tokens for name in keys], dtype=torch.int64)
        return Scores(logps[0::2], logps[1::2], tokens[0::2], tokens[1::2])

    def _look_up(self, answers: Mapping[Key, Answer], *, again: bool = False) -> None:
        """What is known of these; `again`, what others have computed meanwhile."""
        found = {}
        if self._store is not None:
            find = self._store.find_new if again else self._store.find
            asked = find(name for name in answers if name not in self._known)
            found = {name: entry for name, entry in asked.items() if entry.tokens == _scored_tokens(*answers[name])}
        found = self._world.agreed(found)
        self._known |= found
        self._tally.known += len(found)

    def _compute(self, missing: Mapping[Key, Answer]) -> None:
        # Longest first, as the scorer has them, so that what does not fit fails at once.
        names = sorted(missing, key=lambda name: -len(missing[name][0]) - len(missing[name][1]))
        blocks = [names[start : start + _ANSWERS_AT_ONCE] for start in range(0, len(names), _ANSWERS_AT_ONCE)]
        for turn, place in enumerate(self._world.agreed(_order(len(blocks)))):
            if turn > 0:
                self._look_up(missing, again=True)
            self._compute_block({name: missing[name] for name in blocks[place] if name not in self._known})

    def _compute_block(self, block: Mapping[Key, Answer]) -> None:
        if not block:
            return
        began = time.monotonic()
        logps, tokens = self._ask(list(block.values()))
        new = dict(zip(block, map(Entry, logps.tolist(), tokens.tolist()), strict=True))
        self._known |= new
        if self._store is not None:
            self._store.add(new)
        self._tally.computed += len(new)
        self._tally.seconds += time.monotonic() - began

    def _ask(self, answers: Sequence[Answer]) -> tuple[torch.Tensor, torch.Tensor]:
        if self._opened is None:
            self._opened = self._stack.enter_context(self._model.opened(self._name))
        return score_answers(
            self._opened,
            answers,
            2 * self._config.evaluation.batch_size,
            self._model.pad_id,
            autocast=self._policy.autocast,
            heed=self._heed,
            world=self._world,
        )


def _order(count: int) -> list[int]:
    """The first, which has the longest answers, then the others in an order of this run's own.

    Runs that begin together, as those of a sweep do, so find what others did meanwhile, and share the work.
    """
    return [0, *random.SystemRandom().sample(range(1, count), count - 1)] if count else []


def _in_tokens_of(
    part: Part,
    config: RunConfig,
    policy: Policy,
    splits: Mapping[str, Sequence[TokenisedPair]],
    cache_dir: Path,
    world: World,
) -> Mapping[str, Sequence[TokenisedPair]]:
    """The pairs as the reference reads them: the same ids where vocabularies are the same, else from their texts."""
    if part.own:
        return splits
    tokenizer = models.tokenizer_at(part.path, part.revision, cache_dir)
    if tokenizer.get_vocab() == policy.tokenizer.get_vocab():
        return splits
    if tokenizer.eos_token is None:
        raise InvalidInput(
            [f"{part.key}: the tokenizer of {part.path} has no end-of-text token: use another reference"]
        )
    texts = _texts(part, config, policy, splits, cache_dir)
    limit = _longest(part, cache_dir)
    read = {name: _tokenised(part, pairs, tokenizer, limit) for name, pairs in texts.items()}
    if world.first:
        _tell_what_is_cut(part, splits, read)
    return read


def _texts(
    part: Part,
    config: RunConfig,
    policy: Policy,
    splits: Mapping[str, Sequence[TokenisedPair]],
    cache_dir: Path,
) -> dict[str, Sequence[Pair]]:
    known = _whole_texts(config, cache_dir)
    for name, pairs in splits.items():
        # By position: another order, or other pairs, would be held to texts that are not theirs.
        if name not in known or tokenise(known[name], policy.tokenizer, config.training.max_length) != list(pairs):
            raise InvalidInput(
                [
                    f"{part.key}: {part.path} has another tokenizer than the policy, and method={config.method.name} "
                    f"compares it on tokens that are no whole texts ({name}): use a reference of the policy's "
                    "vocabulary, or another method"
                ]
            )
    return {name: known[name] for name in splits}


def _whole_texts(config: RunConfig, cache_dir: Path) -> dict[str, Sequence[Pair]]:
    """The pairs of the data as they are, by the name of their split."""
    if isinstance(config.data, Unpaired):
        return {"heldout": load_answers(config.data).heldout}
    if isinstance(config.data, Bandit | OnePair):  # which are token ids
        return {}
    data = load_pairs(config.data, cache_dir)
    return {"train": data.train, "heldout": data.heldout}


def _tokenised(part: Part, pairs: Sequence[Pair], tokenizer: Any, limit: int) -> list[TokenisedPair]:
    try:
        return tokenise(pairs, tokenizer, limit)
    except InvalidInput:
        if getattr(tokenizer, "chat_template", None):
            raise
        raise InvalidInput(
            [
                f"{part.key}: the data are chat messages, but the tokenizer of {part.path} has no chat template: "
                "use a chat model for a reference"
            ]
        ) from None


def _longest(part: Part, cache_dir: Path) -> int:
    """Tokens that the reference can read; training.max_length bounds what the policy reads, in other tokens."""
    place = str(models.locate(part.path, cache_dir))
    found = AutoConfig.from_pretrained(place, revision=part.revision, trust_remote_code=False)
    return int(getattr(found.get_text_config(), "max_position_embeddings", None) or _NO_LIMIT)


def _tell_what_is_cut(
    part: Part, splits: Mapping[str, Sequence[TokenisedPair]], read: Mapping[str, Sequence[TokenisedPair]]
) -> None:
    by_policy = sum(pair.truncated for pairs in splits.values() for pair in pairs)
    by_reference = sum(pair.truncated for pairs in read.values() for pair in pairs)
    if by_policy or by_reference:
        total = sum(map(len, splits.values()))
        print(
            f"warning: {part.key}: of {total} pairs {by_policy} are cut for the policy by training.max_length and "
            f"{by_reference} for {part.path} by its own longest text: there the two do not sum over the same answer",
            file=sys.stderr,
        )


if __name__ == "__main__":
    from trainers.reference_step import main

    sys.exit(main(sys.argv[1:]))
