"""How much an answer repeats itself: seq-rep-4 of arXiv:1908.04319, section 6.

"a b c d e" -> 0.0; "a b a b a b a b" -> 1 - 2/5 = 0.6: its five 4-grams are two different ones
"""

from collections.abc import Sequence

N = 4


def repetition(ids: Sequence[int]) -> float:
    """1 - (different 4-grams) / (4-grams) of an answer's tokens, in [0, 1); 0 where it has fewer than four."""
    grams = [tuple(ids[at : at + N]) for at in range(len(ids) - N + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
