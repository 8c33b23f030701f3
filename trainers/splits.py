"""What a run trains on and what it is measured by, in tokens, in the form that its method learns from.

method=dpo -> {"train", "heldout"}; method=kto on pairs -> {"train", "heldout", "mismatched"}, answers to other prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.config import RunConfig
from trainers.data import Pair, TokenisedPair, load_answers, load_pairs, tokenise, tokenise_answers, toy_pairs
from trainers.data_config import Bandit, OnePair, Unpaired
from trainers.evaluation.pairs import HeldOut
from trainers.methods import METHODS
from trainers.unpaired_trainer import beside_others, mismatch


@dataclass(frozen=True)
class Splits:
    """Pairs by the name of their split: all that a reference may have to score.

    `desirable`: which of the train split's answers are good, where they came one by one; each is then the chosen one of
    a pair with an answer to another prompt.
    """

    pairs: Mapping[str, Sequence[TokenisedPair]]
    desirable: Sequence[bool] | None = None
    # What the held-out pairs say; None where the data are token ids.
    texts: Sequence[Pair] | None = None

    @property
    def heldout(self) -> HeldOut:
        """What every policy is measured by."""
        return HeldOut(self.pairs["heldout"], self.texts)


def load_splits(config: RunConfig, tokenizer: Any, cache_dir: Path) -> Splits:
    """The same for each run of a config. Raises InvalidInput where the data cannot be read or turned into tokens."""
    if isinstance(config.data, Unpaired):
        return _of_answers(config, config.data, tokenizer)
    length = config.training.max_length
    splits, texts = _of_pairs(config, tokenizer, cache_dir)
    if METHODS[config.method.name].data_format == "unpaired":
        splits["mismatched"] = mismatch(splits["train"], config.seed, length)
    return Splits(splits, texts=texts)


def _of_pairs(
    config: RunConfig, tokenizer: Any, cache_dir: Path
) -> tuple[dict[str, Sequence[TokenisedPair]], Sequence[Pair] | None]:
    data, length = config.data, config.training.max_length
    if isinstance(data, Bandit | OnePair):
        return dict(toy_pairs(data, config.seed)), None
    assert not isinstance(data, Unpaired)
    pairs = load_pairs(data, cache_dir)
    train, heldout = tokenise(pairs.train, tokenizer, length), tokenise(pairs.heldout, tokenizer, length)
    return {"train": train, "heldout": heldout}, pairs.heldout


def _of_answers(config: RunConfig, data: Unpaired, tokenizer: Any) -> Splits:
    length = config.training.max_length
    answers = load_answers(data)
    heldout = tokenise(answers.heldout, tokenizer, length)
    if METHODS[config.method.name].data_format == "demonstrations":
        shown = tokenise_answers([answer for answer in answers.train if answer.desirable], tokenizer, length)
        train = [
            TokenisedPair(one.prompt_ids, one.answer_ids, [], one.truncated, one.answer_cut, one.prompt_cut)
            for one in shown
        ]
        return Splits({"train": train, "heldout": heldout}, texts=answers.heldout)
    learnt = tokenise_answers(answers.train, tokenizer, length)
    return Splits(
        {"train": beside_others(learnt, config.seed, length), "heldout": heldout},
        [answer.desirable for answer in learnt],
        answers.heldout,
    )
