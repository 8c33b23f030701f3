"""The valid words that somebody may have meant who gave another.

"a100" among a10, a100-40, a100-80 -> a100-40 and a100-80, which begin so; "bf61" among bf16, fp16 -> bf16
"""

import difflib
from collections.abc import Iterable, Sequence

# More words that begin alike are no hint.
_MOST = 4


def nearest(given: str, valid: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Those that begin with what was given, where these are few; else the one that is spelt most like it, if any is."""
    words = list(valid)
    beginning = [word for word in words if given and word.lower().startswith(given.lower())]
    if 0 < len(beginning) <= _MOST:
        return beginning
    return difflib.get_close_matches(given, words, n=1, cutoff=cutoff)


def did_you_mean(given: str, valid: Iterable[str], cutoff: float = 0.6, prefix: str = "") -> str:
    """ "did you mean a100-40 or a100-80? ", or "" where nothing is near; each word is told after the prefix."""
    words = [f"{prefix}{word}" for word in nearest(given, valid, cutoff)]
    return f"did you mean {listed(words, 'or')}? " if words else ""


def listed(words: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"; nothing of no words."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
