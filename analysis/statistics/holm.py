"""A family of tests, so that the chance of a single false finding among all of them stays below the level."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down p-values (Scandinavian Journal of Statistics 6, 1979), in the order given; NaN stays NaN.

    The smallest of m is multiplied by m, the next by m - 1, ..., none below one before it, none above 1. Tests that
    could not be made (NaN) are no part of the family.
    """
    values = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(values, np.nan)
    made = np.flatnonzero(~np.isnan(values))
    order = made[np.argsort(values[made], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return [float(value) for value in adjusted]
