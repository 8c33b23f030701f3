"""The list columns of runs (`history.step`, `answers.text`), whatever holds their lists, and their token studies."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.runs import Runs


def names(runs: Runs, part: str) -> list[str]:
    """What the runs have of a part, without its prefix: ["step", "train/loss"] of "history"."""
    return [name.removeprefix(f"{part}.") for name in runs.frame.columns if name.startswith(f"{part}.")]


def lists(runs: Runs, column: str) -> Iterator[list[Any]]:
    """Each run's list, empty where it has none."""
    if column not in runs.frame.columns:
        yield from ([] for _ in range(len(runs)))
        return
    for value in runs.frame[column]:
        yield list(value) if isinstance(value, list | tuple | np.ndarray) else []


def floats(runs: Runs, column: str) -> Iterator[NDArray[np.float64]]:
    """Each run's list as numbers, NaN where it has none."""
    for values in lists(runs, column):
        yield np.array([np.nan if value is None else value for value in values], dtype=np.float64)
