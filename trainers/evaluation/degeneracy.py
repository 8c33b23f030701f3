"""When a policy is no longer worth comparing, and why: it repeats itself, never ends, says nothing, or left the scale.

{"eval/repetition": 0.8, "eval/ended": 0.0, ...} -> "repetition, length"
"""

from collections.abc import Mapping, Sequence

from trainers.evaluation_config import Degenerate


def reason(bounds: Degenerate, metrics: Mapping[str, float], texts: Sequence[str], start_ended: float) -> str | None:
    """The reasons that hold, in this order; None where none does. A measure that is NaN holds nothing.

    repetition  the mean share of repeated 4-grams is above `bounds.repetition`
    length      fewer than `bounds.ended` of the answers end by themselves, although as many of the start's do
    kl          `eval/kl_per_token` is above `bounds.kl_per_token`
    empty       more than `bounds.empty` of the answers say nothing
    """
    blank = sum(not text.strip() for text in texts) / len(texts) if texts else 0.0
    held = {
        "repetition": _above(metrics.get("eval/repetition"), bounds.repetition),
        "length": _above(bounds.ended, metrics.get("eval/ended")) and not _above(bounds.ended, start_ended),
        "kl": _above(metrics.get("eval/kl_per_token"), bounds.kl_per_token),
        "empty": _above(blank, bounds.empty),
    }
    return ", ".join(name for name, holds in held.items() if holds) or None


def _above(value: float | None, bound: float | None) -> bool:
    return value is not None and bound is not None and value > bound
