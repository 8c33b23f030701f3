"""Loads every kind of preference set: train and held-out pairs, split by prompt, or answers and held-out pairs.

data=jsonl data.path=pairs.jsonl, a file of 543 lines -> Pairs: some 490 train pairs, 53 held-out ones of other prompts.
"""

import collections
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trainers.data_answers import Answer, answer_fields
from trainers.data_answers_report import AnswersReport, describe_answers
from trainers.data_config import HubPairs, Jsonl, Orca, Toy, Unpaired
from trainers.data_files import read_mappings, read_rows
from trainers.data_pairs import Pair, Reader, Row, fields, hh, key, orca, ultrafeedback
from trainers.data_report import DataReport, describe
from trainers.errors import InvalidInput
from trainers.paths import local_path
from trainers.world import toy_pairs

Data = Toy | Jsonl | HubPairs | Orca
T = TypeVar("T")

# For a local file in the format of a published set that has a test split of its own.
HELD_OUT_SHARE = 0.1

READERS: dict[str, Reader] = {"hh": hh, "ultrafeedback": ultrafeedback, "orca": orca}


@dataclass(frozen=True)
class Pairs:
    """Train and held-out pairs in file order, and what there is to know of them."""

    train: tuple[Pair, ...]
    heldout: tuple[Pair, ...]
    report: DataReport


@dataclass(frozen=True)
class Answers:
    """Answers to train on, in file order, held-out pairs, and what there is to know of them."""

    train: tuple[Answer, ...]
    heldout: tuple[Pair, ...]
    report: AnswersReport


def load_pairs(data: Data, cache_dir: Path) -> Pairs:
    """The pairs of a data section; the same each time.

    No prompt of one file is in both halves: a prompt is held out if its hash with split_seed is among the lowest
    eval_fraction, so a file that grows keeps its old split. max_train_samples and max_eval_samples then keep the first
    pairs in file order. Raises InvalidInput with all faults found.
    """
    if isinstance(data, Toy):
        train, heldout = toy_pairs(data, cache_dir)
        return Pairs(tuple(train), tuple(heldout), describe(train, heldout))
    if isinstance(data, Jsonl):
        return _jsonl(data)
    return _published(data)


def load_answers(data: Unpaired) -> Answers:
    """The answers of a data section and its held-out pairs; the same each time.

    max_train_samples and max_eval_samples keep the first in file order. Raises InvalidInput with all faults of both
    files.
    """
    answers = answer_fields(data.prompt_field, data.completion_field, data.label_field)
    pairs = fields(data.eval_prompt_field, data.eval_chosen_field, data.eval_rejected_field, settings="eval_")
    faults: list[str] = []
    read = _read("data.path", data.path, answers, faults, what="answers")
    held = _read("data.eval_path", data.eval_path, pairs, faults)
    if faults:
        raise InvalidInput(faults)
    train, rows = tuple(read[: data.max_train_samples]), held[: data.max_eval_samples]
    heldout = tuple(row.pair for row in rows)
    differing = sum(not row.same_prompt for row in rows)
    return Answers(train, heldout, describe_answers(train, heldout, differing_prompts=differing))


def _jsonl(data: Jsonl) -> Pairs:
    reader = fields(data.prompt_field, data.chosen_field, data.rejected_field)
    faults: list[str] = []
    halves = [
        _read(setting, path, reader, faults)
        for setting, path in (("data.path", data.path), ("data.eval_path", data.eval_path))
        if path is not None
    ]
    if faults:
        raise InvalidInput(faults)
    train, heldout = halves if data.eval_path else split(halves[0], data.eval_fraction, data.split_seed)
    return _pairs(data, train, heldout)


def _read(
    setting: str, path: str, reader: Callable[[Mapping[str, Any]], T], faults: list[str], what: str = "pairs"
) -> list[T]:
    """The rows of a file. Its faults are added to `faults`, for there may be more in others."""
    try:
        return read_rows(local_path(path), setting, reader, what=what)[0]
    except InvalidInput as error:
        faults += error.faults
        return []


def _published(data: HubPairs | Orca) -> Pairs:
    train, skipped = _read_split(data, data.train_split)
    if data.eval_split is None or _is_single_file(data, data.eval_split):
        share = data.eval_fraction if isinstance(data, Orca) else HELD_OUT_SHARE
        train, heldout = split(train, share, data.split_seed if isinstance(data, Orca) else 0)
        return _pairs(data, train, heldout, skipped)
    heldout, more = _read_split(data, data.eval_split)
    return _pairs(data, train, heldout, skipped + more)


def _pairs(data: Data, train: Sequence[Row], heldout: Sequence[Row], left_out: int = 0) -> Pairs:
    train, heldout = train[: data.max_train_samples], heldout[: data.max_eval_samples]
    differing = sum(not row.same_prompt for rows in (train, heldout) for row in rows)
    first, second = tuple(row.pair for row in train), tuple(row.pair for row in heldout)
    return Pairs(first, second, describe(first, second, differing_prompts=differing, left_out=left_out))


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Train and held-out rows: whole prompts, in an order of their own, until `share` of the rows is held out.

    Raises InvalidInput where all rows have one prompt.
    """
    place = functools.cache(lambda prompt: _place(prompt, seed))
    places = [place(key(row.pair.prompt)) for row in rows]
    counts = sorted(collections.Counter(places).items())
    if len(counts) < 2:
        raise InvalidInput([
            f"data: all {len(rows)} pairs have one prompt, and no prompt may be in both train and held-out pairs: "
            "give held-out pairs of other prompts"
        ])  # fmt: skip
    held = set(_lowest(counts, share * len(rows)))
    train = [row for row, at in zip(rows, places, strict=True) if at not in held]
    heldout = [row for row, at in zip(rows, places, strict=True) if at in held]
    return train, heldout


def _lowest(counts: Sequence[tuple[float, int]], wanted: float) -> Iterable[float]:
    """Places from the lowest on, one at least and all but one at most, until so many rows have them."""
    taken = 0
    for at, count in counts[:-1]:
        if taken and taken + count / 2 > wanted:
            return
        yield at
        taken += count


def _place(prompt: object, seed: int) -> float:
    """Where a prompt stands between 0 and 1, for ever."""
    text = prompt if isinstance(prompt, str) else repr(prompt)
    digest = hashlib.blake2b(f"{seed}\n{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def local_files(data: HubPairs | Orca, name: str) -> list[Path]:
    """The .jsonl files of a split that are on this machine: data.path itself, or below it those named for the split."""
    path = local_path(data.path)
    if path.is_file():
        return [path] if name == data.train_split or not local_path(name).is_file() else [local_path(name)]
    return sorted(file for pattern in (f"{name}.jsonl", f"{name}.jsonl.gz") for file in path.rglob(pattern))


def _is_single_file(data: HubPairs | Orca, eval_split: str) -> bool:
    return local_path(data.path).is_file() and not local_path(eval_split).is_file()


def _read_split(data: HubPairs | Orca, name: str) -> tuple[list[Row], int]:
    reader = READERS[data.kind]
    if files := local_files(data, name):
        parts = [read_rows(file, "data.path", reader, skip_unusable=True) for file in files]
        return [row for rows, _ in parts for row in rows], sum(skipped for _, skipped in parts)
    return read_mappings(_hub_rows(data, name), f"{data.path} {name}", reader)


def _hub_rows(data: HubPairs | Orca, name: str) -> Iterable[dict[str, object]]:
    from datasets import load_dataset

    try:
        rows: Iterable[dict[str, object]] = load_dataset(data.path, revision=data.revision, split=name)
    except Exception as error:  # datasets raises many kinds, and all of them mean that this set cannot be had
        raise InvalidInput([
            f"data.path={data.path}: split {name} cannot be loaded: {str(error)[:300]!r}. "
            "Download it to a cache (HF_HOME=...), or give a local copy as data.path=..."
        ]) from error  # fmt: skip
    return rows
