"""Reads local files of pairs or of single answers, one JSON object a line, and tells every fault in them at once.

A file whose second line reads {"question": "2+2?", ...} -> InvalidInput: "pairs.jsonl line 2: no field 'prompt'; it has
'question', ...; data.prompt_field=question reads another".
"""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from trainers.data_pairs import MissingField, Reader, Row, RowFault, Unusable, quoted
from trainers.errors import InvalidInput
from trainers.nearest import listed, nearest

# Reasons that are told of a file, and rows that are named for each.
TOLD, NAMED = 10, 3
BOM = b"\xef\xbb\xbf"

T = TypeVar("T")


class Faults:
    """Collects faults of the rows of a file: each reason once, with the first rows that have it, and how many more."""

    def __init__(self, name: str, row: str) -> None:
        """`name` of the file, and what a row of it is called."""
        self._name, self._row = name, row
        self._kinds: dict[str, _Kind] = {}

    def add(self, number: int, fault: RowFault, advice: str = "") -> None:
        """A row's fault, with what may be done about it."""
        kind = self._kinds.setdefault(fault.reason, _Kind(fault.reason, fault.given, advice))
        kind.rows.append(number)
        kind.alike = kind.alike and fault.given == kind.given

    def told(self) -> list[str]:
        """ "pairs.jsonl lines 3, 4, 5 and 7 more: no field 'prompt'; it has 'question'", in the order of the file."""
        kinds = list(self._kinds.values())
        told = [f"{self._name} {kind.told(self._row)}" for kind in kinds[:TOLD]]
        more = sum(len(kind.rows) for kind in kinds[TOLD:])
        return [*told, f"{self._name}: and {more} more {self._row}s with other faults"] if more else told


@dataclass
class _Kind:
    """Rows with one reason; `given` and `advice` are of the first of them."""

    reason: str
    given: str
    advice: str
    rows: list[int] = field(default_factory=list)
    alike: bool = True

    def told(self, row: str) -> str:
        given = self.given if self.alike else f"{self.given} in {row} {self.rows[0]}"
        return f"{_numbered(row, self.rows)}: {self.reason}{given}{self.advice}"


def _numbered(row: str, numbers: Sequence[int]) -> str:
    """ "line 3", "lines 3 and 4", "lines 3, 4, 5 and 7 more"."""
    if len(numbers) == 1:
        return f"{row} {numbers[0]}"
    more = len(numbers) - NAMED
    return f"{row}s {listed([*map(str, numbers[:NAMED]), *([f'{more} more'] if more > 0 else [])])}"


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
    faults, skipped = Faults(quoted(path.name)[1:-1], "line"), 0
    rows: list[T] = []
    for number, line in numbered_lines(path, setting):
        try:
            rows.append(reader(_parse(line)))
        except Unusable as fault:
            if skip_unusable:
                skipped += 1
            else:
                faults.add(number, fault)
        except MissingField as fault:
            faults.add(number, fault, _settings(fault))
        except RowFault as fault:
            faults.add(number, fault)
    if told := faults.told():
        raise InvalidInput(told)
    if not rows:
        raise InvalidInput([f"{setting}: {quoted(str(path))} holds no {what}: one JSON object a line is asked for"])
    return rows, skipped


def read_mappings(rows: Iterable[Mapping[str, Any]], setting: str, reader: Reader) -> tuple[list[Row], int]:
    """As `read_rows`, for rows that a library has read."""
    faults, read, skipped = Faults(setting, "row"), [], 0
    for number, row in enumerate(rows, 1):
        try:
            read.append(reader(row))
        except Unusable:
            skipped += 1
        except RowFault as fault:
            faults.add(number, fault)
    if told := faults.told():
        raise InvalidInput(told)
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
        at = f": byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line"
        raise RowFault("not UTF-8", at) from None
    except json.JSONDecodeError as error:
        raise RowFault("not JSON", f": {error.msg} at column {error.colno}: {quoted(_around(error))}") from None
    except (RecursionError, ValueError) as error:
        raise RowFault("not JSON that can be read", f": {quoted(str(error))}") from None
    if not isinstance(value, dict):
        raise RowFault("a JSON object is asked for", f", got {quoted(value)}")
    return value


def _around(error: json.JSONDecodeError) -> str:
    return error.doc[max(0, error.pos - 20) : error.pos + 20].rstrip("\n")


def _settings(fault: MissingField) -> str:
    """The settings that would read other fields of the row instead, where the format lets fields be named."""
    options = [name for name in fault.others if name.isprintable()]
    advice = ""
    for role in filter(None, fault.missing):
        known = [name for name in options if name.lower() in _OTHER_NAMES[role.removeprefix("eval_")]]
        near = known or nearest(fault.missing[role], options, cutoff=0.5)
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
