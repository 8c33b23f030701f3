"""Which tokens a policy says less and more often than its reference: the study of arXiv:2407.13709.

answers' tokens with log π - log ref of each -> {"lowered": [{"id": 257, "token": "<|eos|>", "mean_logratio": -2.1, ...

A mean log-ratio is over the places where that token stands in the answers; they differ much from token to token, and
the end of an answer is among those that move most.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.evaluation.compare import Compared

SHOWN, BINS = 50, 40
# Of a token that stands there less often the mean says little. Where few tokens stand there so often, all count.
_OFTEN, _ENOUGH = 5, 100


def study(
    answers: Sequence[Compared], tokenizer: Any, ends: Sequence[int], lengths: Mapping[str, Sequence[int]] | None = None
) -> dict[str, Any]:
    """Plain values for JSON, nats throughout; means are null where there is nothing to take a mean of.

    eos              the token that ends answers, the first of `ends` that occurs: its mean log-ratio, its mean
                     log-probability under the policy, how often it stands there
    lowered, raised  the 50 tokens each whose mean log-ratio is lowest and highest, among those of `min_count` places
    histogram        mean log-ratios of these tokens: edges of 40 bins, and how many tokens each bin has
    by_length        by bucket of `lengths`, places in `answers`: mean log-ratio of a token, and how many tokens
    tokens, vocabulary  how many tokens the answers have, and how many different ones
    """
    ids = torch.tensor([token for answer in answers for token in answer.ids], dtype=torch.int64)
    ratios = torch.cat([answer.logratios for answer in answers]) if answers else torch.zeros(0, dtype=torch.float64)
    logps = torch.cat([answer.logps for answer in answers]).double() if answers else ratios
    known, where, counts = torch.unique(ids, return_inverse=True, return_counts=True)
    means = _sums(ratios, where, len(known)) / counts
    often = counts >= _OFTEN
    if int(often.sum()) < _ENOUGH:
        often = counts >= 1
    chosen = torch.nonzero(often & means.isfinite()).squeeze(-1)
    order = chosen[means[chosen].argsort(stable=True)].tolist()

    def told(place: int) -> dict[str, Any]:
        token = int(known[place])
        return {
            "id": token,
            "token": _spelt(tokenizer, token),
            "mean_logratio": float(means[place]),
            "count": int(counts[place]),
        }

    return {
        "eos": _end(ids, ratios, logps, ends),
        "lowered": [told(place) for place in order[:SHOWN] if means[place] < 0],
        "raised": [told(place) for place in reversed(order[-SHOWN:]) if means[place] > 0],
        "histogram": _histogram(means[chosen]),
        "by_length": {name: _mean_of(answers, places) for name, places in (lengths or {}).items()},
        "tokens": len(ids),
        "vocabulary": len(known),
        "min_count": int(counts[often].min()) if bool(often.any()) else 1,
    }


def _sums(values: Tensor, where: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.float64).index_add_(0, where, values)


def _end(ids: Tensor, ratios: Tensor, logps: Tensor, ends: Sequence[int]) -> dict[str, Any]:
    there = set(ids.tolist())
    end = next((token for token in ends if token in there), ends[0])
    places = ids == end
    return {
        "id": end,
        "mean_logratio": _finite(ratios[places]),
        "logp": _finite(logps[places]),
        "count": int(places.sum()),
    }


def _finite(values: Tensor) -> float | None:
    """The mean; None where there is none, or it is no number."""
    found = values.mean().item() if len(values) else torch.nan
    return found if torch.isfinite(torch.tensor(found)) else None


def _histogram(means: Tensor) -> dict[str, Any]:
    if not len(means):
        return {"edges": [], "counts": []}
    low, high = float(means.min()), float(means.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, edges = torch.histogram(means, bins=BINS, range=(low, high))
    return {"edges": edges.tolist(), "counts": [int(count) for count in counts]}


def _mean_of(answers: Sequence[Compared], places: Sequence[int]) -> dict[str, Any]:
    own = [answers[place].logratios for place in places]
    ratios = torch.cat(own) if own else torch.zeros(0, dtype=torch.float64)
    return {"mean_logratio": _finite(ratios), "tokens": len(ratios)}


def _spelt(tokenizer: Any, token: int) -> str:
    """What the token says; a part of a character, which says nothing by itself, by its name in the vocabulary."""
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    if not text or "\ufffd" in text:
        return str(tokenizer.convert_ids_to_tokens(token))
    return text
