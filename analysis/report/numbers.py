"""Numbers as the report writes them: the same digits in the page, in its tables and in figures."""

import math
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

MINUS = "−"  # noqa: RUF001 - the sign that is as wide as a plus
MISSING = "–"  # noqa: RUF001 - an empty place
_MOST_DECIMALS = 5


def fixed(value: float | None, decimals: int) -> str:
    """A number with so many decimals; ties away from zero, as JavaScript's toFixed rounds, and no minus zero."""
    if value is None or not math.isfinite(value):
        return MISSING
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    text = f"{abs(rounded):f}"
    return f"{MINUS}{text}" if rounded < 0 else text


def decimals(spreads: Iterable[float], values: Iterable[float]) -> int:
    """Decimals that tell a metric: two digits of the middle standard error, else three of the largest value.

    Never more than three, but for values that are small themselves.

    Standard errors 0.012, 0.036, 0.041 -> 3, as in 0.641 ± 0.036
    """
    known = sorted(spread for spread in spreads if math.isfinite(spread) and spread > 0)
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    three_digits = _within(2 - math.floor(math.log10(largest))) if largest > 0 else 3
    return (
        min(max(3, three_digits), _within(1 - math.floor(math.log10(known[len(known) // 2]))))
        if known
        else three_digits
    )


def strength(value: float | None) -> str:
    """A strength as people type it: 0.05, 10, 1e-05; "" where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:g}"


def significant(value: float, digits: int = 4) -> float:
    """A number with so many significant digits, to be stored."""
    return float(f"{value:.{digits}g}")


def _within(places: int) -> int:
    return max(0, min(_MOST_DECIMALS, places))
