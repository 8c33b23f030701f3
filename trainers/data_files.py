"""Reads local files of pairs or of single answers, one JSON object a line, and tells every fault in them at once.

A file whose second line reads {"question": "2+2?", ...} -> InvalidInput: "pairs.jsonl line 2: no field 'prompt'; it has
'question', ...; data.prompt_field=question reads another".
"""

import difflib
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from trainers.data_pairs import MissingField, Reader, Row, RowFault, Unusable, quoted
from trainers.errors import InvalidInput

# Faults of rows that are told one by one.
TOLD = 10
BOM = b"\xef\xbb\xbf"

T = TypeVar("T")


class Faults:
    """Collects faults of rows: the first ones in full, of the rest the number."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.count = 0

    def add(self, fault: str) -> None:
        """Count one more."""
        self.count += 1
        if self.count <= TOLD:
            self.first.append(fault)

    def told(self) -> list[str]:
        """The first faults, and how many more there are."""
        more = self.count - len(self.first)
        return [*self.first, f"and {more} more rows with faults"] if more else self.first


def read_rows(
    path: Path,
    setting: str,
    reader: Callable[[Mapping[str, Any]], T],
    *,
    skip_unusable: bool = False,
    what: str = "pairs",
) -> tuple[list[T], int]:
    """Every row of the file at `path`, and the number of rows left out; `setting` is the key that names the file.

    Rows that nothing can be learnt from are faults, or with `skip_unusable` left out. Raises InvalidInput with every
    fault of the file.
    """
    faults, skipped = Faults(), 0
    rows: list[T] = []
    name = quoted(path.name)[1:-1]
    for number, line in numbered_lines(path, setting):
        try:
            rows.append(reader(_parse(line)))
        except Unusable as fault:
            if skip_unusable:
                skipped += 1
            else:
                faults.add(f"{name} line {number}: {fault}")
        except MissingField as fault:
            faults.add(f"{name} line {number}: {fault}{_settings(fault)}")
        except RowFault as fault:
            faults.add(f"{name} line {number}: {fault}")
    if faults.count:
        raise InvalidInput(faults.told())
    if not rows:
        raise InvalidInput([f"{setting}: {quoted(str(path))} holds no {what}: one JSON object a line is asked for"])
    return rows, skipped


def read_mappings(rows: Iterable[Mapping[str, Any]], setting: str, reader: Reader) -> tuple[list[Row], int]:
    """As `read_rows`, for rows that a library has read."""
    faults, read, skipped = Faults(), [], 0
    for number, row in enumerate(rows, 1):
        try:
            read.append(reader(row))
        except Unusable:
            skipped += 1
        except RowFault as fault:
            faults.add(f"{setting} row {number}: {fault}")
    if faults.count:
        raise InvalidInput(faults.told())
    return read, skipped


def numbered_lines(path: Path, setting: str) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, without blank ones and without a byte order mark."""
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                content = line.removeprefix(BOM) if number == 1 else line
                if content.strip():
                    yield number, content
    except (OSError, EOFError, ValueError) as error:
        raise InvalidInput([_unreadable(path, setting, error)]) from None


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _unreadable(path: Path, setting: str, error: Exception) -> str:
    shown = quoted(str(path))
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{setting}: there is no file {shown} (from {quoted(str(Path.cwd()))})"
    if isinstance(error, IsADirectoryError):
        return f"{setting}: {shown} is a folder; a file with one JSON object a line is asked for"
    return f"{setting}: {shown} cannot be read: {getattr(error, 'strerror', None) or error}"


def _parse(line: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise RowFault(f"not UTF-8: byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise RowFault(f"not JSON: {error.msg} at column {error.colno}: {quoted(_around(error))}") from None
    except (RecursionError, ValueError) as error:
        raise RowFault(f"not JSON that can be read: {quoted(str(error))}") from None
    if not isinstance(value, dict):
        raise RowFault(f"a JSON object is asked for, got {quoted(value)}")
    return value


def _around(error: json.JSONDecodeError) -> str:
    return error.doc[max(0, error.pos - 20) : error.pos + 20].rstrip("\n")


def _settings(fault: MissingField) -> str:
    """The settings that would read other fields of the row instead, where the format lets fields be named."""
    options = [name for name in fault.others if name.isprintable()]
    advice = ""
    for role in filter(None, fault.missing):
        known = [name for name in options if name.lower() in _OTHER_NAMES[role.removeprefix("eval_")]]
        near = known or difflib.get_close_matches(fault.missing[role], options, n=1, cutoff=0.5)
        advice += f"; data.{role}_field={quoted(near[0])[1:-1] if near else 'NAME'} reads another"
    return advice


# How published preference sets call the fields.
_OTHER_NAMES = {
    "prompt": {"question", "instruction", "query", "input", "user", "context"},
    "chosen": {"preferred", "winner", "better", "response_chosen", "chosen_response", "accepted", "positive"},
    "rejected": {"dispreferred", "loser", "worse", "response_rejected", "rejected_response", "negative"},
    "completion": {"response", "answer", "output", "generation", "reply", "text"},
    "label": {"desirable", "good", "thumbs_up", "preferred", "accepted", "feedback", "rating", "score"},
}
