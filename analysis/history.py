"""Reads what a run logged as it went: lines of metrics.jsonl, or rows that W&B gives, as one array a metric.

{"step": 1, "time": ..., "train/loss": 0.69}
{"step": 2, "time": ..., "train/loss": 0.68}           history.step        [1, 2]
{"step": 2, "time": ..., "eval/margin_nats": 0.1}  ->  history.train/loss  [0.69, 0.68]
                                                       history.eval/margin_nats  [nan, 0.1]

A step stands once, in ascending order, with the last value that was logged of each metric.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from analysis.frame import clean, number
from analysis.runs import is_metric

Cells = dict[str, Any]
_BLOCK = 1 << 20


def history_of_file(content: bytes) -> tuple[Cells, int]:
    """The cells of metrics.jsonl's content, none where nothing was logged, and how many lines are damaged."""
    whole, _, rest = content.rpartition(b"\n")
    if rest.strip():
        # A line that is being written, or that a kill cut short; a file from elsewhere may just end without a newline.
        whole = content if _line(rest) is not None else whole
    cut = 1 if rest.strip() and whole is not content else 0
    if not whole.strip():
        return {}, cut
    columns = _quickly(whole)
    if columns is not None:
        return _merged(*columns), cut
    lines = [line for line in whole.split(b"\n") if line.strip()]
    rows = [row for row in map(_line, lines) if row is not None]
    return history_of_rows(rows, "step"), len(lines) - len(rows) + cut


def history_of_rows(rows: Iterable[Mapping[str, Any]], step: str) -> Cells:
    """The cells of rows that each have a step under that name; rows that have none are left out."""
    sound = [row for row in rows if isinstance(row.get(step), int) and not isinstance(row[step], bool)]
    if not sound:
        return {}
    names = dict.fromkeys(name for row in sound for name in row if is_metric(name))
    steps = np.array([row[step] for row in sound], dtype=np.int64)
    columns = {name: _numbers([row.get(name) for row in sound]) for name in names}
    return _merged(steps, {name: values for name, values in columns.items() if values is not None})


def _line(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    sound = isinstance(row, dict) and isinstance(row.get("step"), int) and abs(row["step"]) < 2**63
    return row if sound else None


def _numbers(values: Iterable[object]) -> "np.ndarray[Any, Any] | None":
    """None where they are something else than numbers, and the metric no metric."""
    kept = list(values)
    if any(isinstance(value, bool | list | dict) for value in kept):
        return None
    return np.array([number(value) for value in kept], dtype=np.float64)


def _quickly(content: bytes) -> "tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]] | None":
    """Steps and metrics by pyarrow's reader; None where a line is not as our own reporter writes it."""
    reading = pa.json.ReadOptions(use_threads=False, block_size=max(_BLOCK, len(content) + 1))
    try:
        table = pa.json.read_json(pa.BufferReader(content), read_options=reading)
        names = table.column_names
    except (pa.ArrowException, UnicodeDecodeError, OverflowError):
        return None
    if "step" not in names or not pa.types.is_int64(table["step"].type) or table["step"].null_count:
        return None
    columns = {}
    for name in filter(is_metric, names):
        kind = table[name].type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            return None
        values = table[name].cast(pa.float64()).to_numpy()
        columns[name] = np.where(np.isfinite(values), values, np.nan)
    return table["step"].to_numpy(), columns


def _merged(steps: "np.ndarray[Any, Any]", columns: "Mapping[str, np.ndarray[Any, Any]]") -> Cells:
    if len(steps) and np.all(np.diff(steps) > 0):
        return {"history.step": steps, **{_cell(name): values for name, values in columns.items()}}
    distinct, places = np.unique(steps, return_inverse=True)
    cells = {"history.step": distinct}
    for name, values in columns.items():
        there = ~np.isnan(values)
        merged = np.full(len(distinct), np.nan)
        merged[places[there]] = values[there]
        cells[_cell(name)] = merged
    return cells


def _cell(name: str) -> str:
    return f"history.{clean(name)}"
