"""Pairs of the toy problems, as token ids: comparisons of a few actions, and one pair of a random model.

Bandit(pairs="ab*2 ca") -> (a over b), (a over b), (c over a): actions are the tokens 0, 1, 2, said after prompt [0].
The pairs are trained on and measured on alike: the question is where training ends, not what it learns of others.
"""

from collections.abc import Iterable
from random import Random
from string import ascii_lowercase

from trainers.data_config import Bandit, OnePair
from trainers.data_tokens import TokenisedPair

# What a bandit is asked; its answer does not depend on it.
PROMPT = [0]


def toy_pairs(data: Bandit | OnePair, seed: int) -> dict[str, list[TokenisedPair]]:
    """{"train": ..., "heldout": ...}, the same; or `data.draws` train pairs, drawn of them with replacement."""
    if isinstance(data, OnePair):
        pairs = [TokenisedPair(data.prompt, data.chosen, data.rejected, truncated=False)]
        return {"train": pairs, "heldout": pairs}
    pairs = [TokenisedPair(PROMPT, [winner], [loser], truncated=False) for winner, loser in comparisons(data)]
    train = pairs if data.draws is None else Random(seed).choices(pairs, k=data.draws)  # noqa: S311
    return {"train": train, "heldout": pairs}


def comparisons(data: Bandit) -> list[tuple[int, int]]:
    """Winner and loser of each pair: "ab*2 ca" -> [(0, 1), (0, 1), (2, 0)]."""
    found = []
    for word in data.pairs.split():
        names, _, times = word.partition("*")
        found += [(ascii_lowercase.index(names[0]), ascii_lowercase.index(names[1]))] * int(times or 1)
    return found


def faults(data: Bandit | OnePair, known: int) -> Iterable[str]:
    """What is wrong with the pairs for a model of `known` tokens."""
    if isinstance(data, OnePair):
        for name in ("prompt", "chosen", "rejected"):
            beyond = sorted(token for token in getattr(data, name) if token >= known)
            if beyond:
                yield f"data.{name}: the model has tokens 0 to {known - 1}, got {beyond}"
        if data.chosen == data.rejected:
            yield "data.chosen and data.rejected are equal"
        return
    pairs = comparisons(data)
    if any(winner == loser for winner, loser in pairs):
        yield f"data.pairs={data.pairs}: an action cannot be chosen over itself"
    if max(max(pair) for pair in pairs) >= known:
        yield (
            f"data.pairs={data.pairs}: the model has {known} actions, a to {ascii_lowercase[known - 1]}: "
            "give model.path a logit for each action"
        )
