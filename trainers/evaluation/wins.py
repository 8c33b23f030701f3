"""Which of two answers to a prompt wins, by their rewards, and how often the policy's does, at equal length too.

[2.0, 1.0, None], [1.0, 1.0, 0.0] -> [1.0, 0.5, None] -> 0.75
"""

import math
from collections.abc import Sequence

from trainers.evaluation import length_controlled
from trainers.evaluation.estimates import mean
from trainers.samples import Sample


def by_reward(rewards: Sequence[float | None], others: Sequence[float | None]) -> list[float | None]:
    """1 where the first is above the other, 0.5 at a tie, 0 below; None where one of them is not known."""
    return [
        None if own is None or other is None else float(own > other) + float(own == other) / 2
        for own, other in zip(rewards, others, strict=True)
    ]


def win_rate(wins: Sequence[float | None]) -> tuple[float, float]:
    """Mean of the wins that are known, and its standard error; NaN where there are too few."""
    known = [win for win in wins if win is not None]
    return mean(known) if known else (math.nan, math.nan)


def names(name: str) -> tuple[str, ...]:
    """The measures of `rates`: the rate and, at equal length, that of `length_controlled`, with standard errors."""
    return (f"eval/{name}", f"eval/{name}_se", f"eval/{name}_lc", f"eval/{name}_lc_se")


def rates(
    name: str, wins: Sequence[float | None], said: Sequence[Sample], others: Sequence[Sample] | None
) -> dict[str, float]:
    """Of wins of answers over others; NaN where there are none to win over. Lengths are characters."""
    if others is None:
        return dict.fromkeys(names(name), math.nan)
    lengths = [[float(len(answer.text)) for answer in answers] for answers in (said, others)]
    found = (*win_rate(wins), *length_controlled.win_rate(wins, *lengths))
    return dict(zip(names(name), found, strict=True))
