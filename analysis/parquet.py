"""The file that `pull` makes: the table of runs with all parts in one parquet file, written whole or not at all.

Columns are those of `analysis.runs.Runs.frame`, list columns for the parts, and `pulled.mark`, by which a later pull
knows what has not changed. The schema's metadata has what was told.
"""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import AnalysisError, NoRuns
from analysis.frame import Row, is_part, make_frame
from analysis.gather import Asked, Gathered
from analysis.runs import Part, Runs
from analysis.told import Told
from trainers.files import write_whole

_FORMAT = 1
_METADATA = b"prefsweep.runs"
_MARK = "pulled.mark"


def write(path: Path, runs: Runs, marks: Sequence[str], sources: Sequence[str]) -> None:
    """Replace `path` by the runs, each with the mark of what it was read from. Raises AnalysisError."""
    columns = {str(name): _array(str(name), runs.frame[name]) for name in runs.frame}
    table = pa.table({**columns, _MARK: pa.array(marks, pa.string())})
    about = {"format": _FORMAT, "told": list(runs.told), "sources": list(sources)}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_METADATA: json.dumps(about).encode()}), buffer, compression="zstd")
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise AnalysisError(f"{path} cannot be written: {error.strerror or error}") from None


def read(path: Path, parts: Collection[Part] = ()) -> Runs:
    """The runs of a file that pull has made. Raises NoRuns where it is none, or damaged."""
    told = Told()
    gathered = gather_parquet(path, Asked(parts), told)
    return Runs(make_frame(gathered.rows, parts), told.sentences())


def gather_parquet(path: Path, asked: Asked, told: Told) -> Gathered:
    """The runs of such a file, with what was told when it was made. Raises NoRuns."""
    file, about = _open(path)
    told.extend(str(sentence) for sentence in about.get("told", []))
    columns = [name for name in file.schema_arrow.names if not is_part(name) or _part(name) in asked.parts]
    try:
        table = file.read(columns=columns)
        rows = _rows(table)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NoRuns(f"{path} is damaged ({_first_line(error)}): delete it, and pull again") from None
    marks = [row.pop(_MARK, None) or "" for row in rows]
    chosen = asked.wanted(rows)
    return Gathered(
        [row for row, wanted in zip(rows, chosen, strict=True) if wanted],
        [mark for mark, wanted in zip(marks, chosen, strict=True) if wanted],
    )


def _open(path: Path) -> tuple[pq.ParquetFile, Mapping[str, Any]]:
    if not path.is_file():
        raise NoRuns(f"{path}: there is no such file")
    try:
        file = pq.ParquetFile(path)
        about = json.loads((file.schema_arrow.metadata or {}).get(_METADATA, b"null"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NoRuns(f"{path} is damaged, or no parquet file ({_first_line(error)})") from None
    if not isinstance(about, dict) or "run_id" not in file.schema_arrow.names:
        raise NoRuns(f"{path} is a parquet file, but not one that pull has made")
    if about.get("format") != _FORMAT:
        raise NoRuns(f"{path} was made by another version of prefsweep: delete it, and pull again")
    return file, about


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _part(name: str) -> str:
    return name.split(".", 1)[0]


def _array(name: str, column: pd.Series) -> pa.Array:
    if not is_part(name) or name == "tokens":
        # Objects here are text or None.
        return pa.array(column, type=pa.string() if column.dtype == object else None, from_pandas=True)
    cells = list(column)
    there = [cell for cell in cells if cell is not None]
    lengths = np.array([0 if cell is None else len(cell) for cell in cells], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = _values(there)
    missing = pa.array([cell is None for cell in cells], pa.bool_())
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values, mask=missing)


def _values(cells: "Sequence[np.ndarray[Any, Any]]") -> pa.Array:
    if not cells:
        return pa.array([], pa.float64())
    together = np.concatenate(cells)
    if together.dtype != object:
        return pa.array(together)  # NaN stays NaN: in a list of numbers it says that there is none, as in the frame
    try:
        return pa.array(together, pa.large_string())
    except (pa.ArrowException, TypeError):  # text in some runs, numbers in others
        return pa.array([None if value is None else str(value) for value in together], pa.large_string())


def _rows(table: pa.Table) -> list[Row]:
    """The rows without what they have not, so that a frame made of them is the frame that was written."""
    rows: list[Row] = [{} for _ in range(table.num_rows)]
    for name in table.column_names:
        column = table[name].combine_chunks()
        cells = _cells(column) if isinstance(column, pa.LargeListArray) else column.to_pylist()
        for row, cell in zip(rows, cells, strict=True):
            row[name] = cell
    return rows


def _cells(column: pa.LargeListArray) -> "list[np.ndarray[Any, Any] | None]":
    values = column.values.to_numpy(zero_copy_only=False)
    offsets = column.offsets.to_numpy()
    there = column.is_valid().to_numpy(zero_copy_only=False)
    return [values[start:end] if is_there else None
            for start, end, is_there in zip(offsets[:-1], offsets[1:], there, strict=True)]  # fmt: skip
