"""Makes the table of runs out of rows, each column of one type whatever the rows hold.

[{"run_id": "t0000-s0-...", "seed": 0, "eval/reward": 1.5, "history.step": array([1, 2])}, ...] -> DataFrame
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.runs import IDENTITY, Part, is_metric

# One run: identity columns, metrics, parts. What is missing, it has not.
Row = dict[str, Any]
WHOLE = ("trial", "seed", "steps")
NUMBERS = ("beta", "seconds")
# Columns of the parts, with what an array of them holds: "text", "float", "int" or "bool".
PAIRS: Mapping[str, str] = {
    "pair": "text",
    "chosen_logp": "float", "rejected_logp": "float", "chosen_logratio": "float", "rejected_logratio": "float",
    "chosen_tokens": "int", "rejected_tokens": "int",
}  # fmt: skip
ANSWERS: Mapping[str, str] = {
    "prompt": "text", "prompt_text": "text", "text": "text", "tokens": "int", "ended": "bool",
    "kl": "float", "k1": "float", "k3": "float", "entropy": "float", "repetition": "float", "reward": "float",
    "start_text": "text", "start_tokens": "float", "start_reward": "float", "win": "float", "opponent": "text",
}  # fmt: skip
# What a frame has of a part that was asked for, if only to say that no run has it.
_OF: Mapping[Part, Sequence[str]] = {
    "history": ["history.step"],
    "pairs": [f"pairs.{name}" for name in PAIRS],
    "answers": [f"answers.{name}" for name in ANSWERS],
    "tokens": ["tokens"],
}


def make_frame(rows: Sequence[Row], parts: Collection[Part] = ()) -> pd.DataFrame:
    """The frame of `analysis.runs.Runs`, rows in the order given."""
    names = dict.fromkeys(name for row in rows for name in row)
    metrics = sorted(name for name in names if is_metric(name))
    asked = [name for part in _OF if part in parts for name in _OF[part]]
    others = [name for name in names if name not in IDENTITY and not is_metric(name) and name not in asked]
    columns = [*IDENTITY, *metrics, *asked, *sorted(name for name in others if is_part(name))]
    return pd.DataFrame({name: _column(name, [row.get(name) for row in rows]) for name in columns})


def is_part(name: str) -> bool:
    """Whether a column belongs to one of the parts."""
    return name == "tokens" or name.startswith(("history.", "pairs.", "answers."))


def _column(name: str, values: Sequence[Any]) -> pd.Series:
    if name in WHOLE:
        return pd.Series([None if value is None else int(value) for value in values], dtype="Int64")
    if name in NUMBERS or is_metric(name):
        return pd.Series([number(value) for value in values], dtype="float64")
    cells = np.empty(len(values), dtype=object)  # an array made of arrays of one length would become two-dimensional
    for place, value in enumerate(values):
        cells[place] = clean(value) if isinstance(value, str) else value
    return pd.Series(cells, dtype=object)


def number(value: object) -> float:
    """A finite number, or NaN: infinities, which rank nothing, are none, and W&B spells them as text."""
    try:
        found = float(value) if value is not None else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def clean(text: str) -> str:
    """Text that can be written as UTF-8: halves of a character, which JSON can spell, are replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def array(kind: str, values: Iterable[object]) -> "np.ndarray[Any, Any]":
    """The cell of a part's column; what is missing is NaN, None, 0 or False."""
    match kind:
        case "text":
            texts = [None if value is None else clean(str(value)) for value in values]
            cell = np.empty(len(texts), dtype=object)
            cell[:] = texts
            return cell
        case "bool":
            return np.array([value is True or value == 1 for value in values], dtype=bool)
        case "int":
            whole = [number(value) for value in values]
            return np.array([0 if math.isnan(value) else int(value) for value in whole], dtype=np.int64)
        case _:
            return np.array([number(value) for value in values], dtype=np.float64)
