"""Groups runs into cells: settings that differ in more than the seed, with the mean of every metric over their seeds.

dpo at beta 0.1 with seeds 0 and 1 -> Cell("dpo", strength=0.1, runs=[0, 1], scores={"eval/reward": Estimate(...)})
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report import numbers
from analysis.report.content import Cell, Estimate
from analysis.report.untrusted import one_line
from analysis.runs import Runs
from trainers.methods import METHODS

# What identity columns tell already, under whatever name it was swept.
_TOLD = ("method", "reference", "model", "data", "seed", "beta", "lambda", "tau")
# As long as a part of a label may be.
_WORD = 60
SPREAD = "mean ± one standard error over seeds"


@dataclass(frozen=True)
class _Key:
    """What a cell's runs have in common. `others`: values of further swept keys."""

    method: str
    reference: str
    model: str
    data: str
    others: tuple[tuple[str, str], ...]
    strength: float | None


def make_cells(runs: Runs, metrics: Sequence[str]) -> list[Cell]:
    """Cells in the order of method, reference, model, data and other keys as they first come up, then by strength.

    A score is over a cell's completed runs; its band one standard error to each side, none of a single seed.
    """
    keys = _keys(runs)
    groups: dict[_Key, list[int]] = {}
    for run, key in enumerate(keys):
        groups.setdefault(key, []).append(run)
    values = {name: _values(runs, name) for name in metrics}
    return [_cell(key, keys, groups[key], values, runs) for key in _ordered(list(groups))]


def strength_name(method: str) -> str:
    """What a method calls its strength: beta, tau, lambda."""
    known = METHODS.get(method)
    return (known.strength if known else None) or "beta"


def over_seeds(values: Sequence[float] | NDArray[np.float64]) -> Estimate | None:
    """The mean and one standard error to each side; None where there are no values."""
    if not len(values):
        return None
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, None, None, 1)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Estimate(mean, mean - error, mean + error, len(values))


def _keys(runs: Runs) -> list[_Key]:
    columns = {name: list(map(text_of, runs.frame[name])) for name in ("method", "reference", "model", "data")}
    strengths = pd.to_numeric(runs.frame["beta"], errors="coerce").astype(float)
    finite = [None if not math.isfinite(value) else value for value in strengths]
    params = [mapping_of(text) for text in runs.frame["params"]]
    named = list(zip(*columns.values(), finite, strict=True))
    told = [name for name in dict.fromkeys(key for each in params for key in each) if name not in _TOLD]
    # Keys that say nothing beyond the columns, as method.name or model.path, are left out.
    told = [name for name in told if _divides(name, named, params)]
    keys = []
    for (method, reference, model, data, strength), own in zip(named, params, strict=True):
        others = tuple((name, text_of(own[name])) for name in told if own.get(name) is not None)
        keys.append(_Key(method, reference, model, data, others, strength))
    return keys


def _divides(name: str, named: Sequence[tuple[Any, ...]], params: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs that are alike in the columns differ in this key."""
    values: dict[tuple[Any, ...], set[str]] = {}
    for key, own in zip(named, params, strict=True):
        values.setdefault(key, set()).add(text_of(own.get(name)))
    return any(len(found) > 1 for found in values.values())


def _ordered(keys: list[_Key]) -> list[_Key]:
    places = [
        {value: place for place, value in enumerate(dict.fromkeys(getattr(key, name) for key in keys))}
        for name in ("method", "reference", "model", "data", "others")
    ]

    def order(key: _Key) -> tuple[float, ...]:
        named = (key.method, key.reference, key.model, key.data, key.others)
        first = (float(place[value]) for place, value in zip(places, named, strict=True))
        return (*first, math.inf if key.strength is None else key.strength)

    return sorted(keys, key=order)


def _values(runs: Runs, name: str) -> NDArray[np.float64]:
    """A metric of each run, NaN where it did not complete or has none that is finite."""
    values = pd.to_numeric(runs.frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan).copy()
    values[~np.isfinite(values) | (runs.frame["status"] != "completed").to_numpy()] = np.nan
    return values


def _cell(
    key: _Key, keys: Sequence[_Key], rows: list[int], values: Mapping[str, NDArray[np.float64]], runs: Runs
) -> Cell:
    scores = {}
    for name, all_of_them in values.items():
        own = all_of_them[rows]
        estimate = over_seeds(own[~np.isnan(own)])
        if estimate is not None:
            scores[name] = estimate
    reasons = [text_of(reason) for reason in runs.frame["degenerate"].iloc[rows]]
    return Cell(
        method=key.method,
        reference=key.reference,
        model=key.model,
        data=key.data,
        strength=key.strength,
        others=dict(key.others),
        label=_label(key, keys),
        runs=rows,
        scores=scores,
        degenerate="; ".join(dict.fromkeys(reason for reason in reasons if reason)),
    )


def _label(key: _Key, keys: Sequence[_Key]) -> str:
    """What tells a cell from the others: "dpo, beta 0.1, held to model:larger"."""
    several = {name: len({getattr(each, name) for each in keys}) > 1 for name in ("reference", "model", "data")}
    words = [one_line(key.method, _WORD) or "?"]
    words += [f"{strength_name(key.method)} {numbers.strength(key.strength)}"] if key.strength is not None else []
    words += [f"held to {one_line(key.reference, _WORD)}"] if several["reference"] and key.reference else []
    words += [
        one_line(text, _WORD) for name, text in (("model", key.model), ("data", key.data)) if several[name] and text
    ]
    words += [one_line(f"{name}={value}", _WORD) for name, value in key.others]
    return one_line(", ".join(words), 4 * _WORD)


def text_of(value: object) -> str:
    """A cell of a table as text, "" where it is empty."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def mapping_of(text: object) -> Mapping[str, Any]:
    """What JSON text holds, nothing where it holds no mapping."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
