"""Answers to the same prompts side by side, as many as a page may hold.

Runs share prompts by their digests. Where there are too many runs, the best of each setting go first.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.report import columns
from analysis.report.content import Answer, Prompt, Responses
from analysis.runs import Runs

# Bytes of answers in a page, before they are packed.
MOST_BYTES = 4_000_000
MOST_PROMPTS = 64
MOST_OF_A_TEXT = 6_000

_Row = Mapping[str, Any]


def make_responses(runs: Runs, preferred: Sequence[int]) -> Responses:
    """Prompts in the order of the runs, each with the answers to it. `preferred`: runs, the most telling first."""
    told_of = [name for name in columns.names(runs, "answers") if name]
    if "prompt" not in told_of:
        return Responses()
    table = {name: list(columns.lists(runs, f"answers.{name}")) for name in told_of}
    prompts: dict[str, dict[str, Any]] = {}
    left, kept = MOST_BYTES, 0
    with_answers = [run for run in preferred if table["prompt"][run]]
    for run in with_answers:
        rows = [row for row in _rows(table, run) if row["prompt"] in prompts or len(prompts) < MOST_PROMPTS]
        left -= sum(len(_text(row, "text")[:MOST_OF_A_TEXT].encode("utf-8", "replace")) for row in rows)
        if left < 0 and kept:
            break
        kept += 1
        for row in rows:
            known = prompts.setdefault(
                row["prompt"], {"text": _text(row, "prompt_text"), "start": _start(row), "by": {}}
            )
            known["by"].setdefault(run, _answer(row))
    told = "" if kept == len(with_answers) else f"The answers of {kept} of {len(with_answers)} runs are in this page."
    return Responses([Prompt(each["text"], each["start"], each["by"]) for each in prompts.values()], told)


def _rows(table: Mapping[str, Sequence[list[Any]]], run: int) -> list[_Row]:
    size = len(table["prompt"][run])
    whole = {name: lists[run] for name, lists in table.items() if len(lists[run]) == size}
    return [{name: values[place] for name, values in whole.items()} for place in range(size)]


def _answer(row: _Row) -> Answer:
    ended = row.get("ended")
    return Answer(
        _text(row, "text"),
        _integer(row.get("tokens")),
        reward=_number(row.get("reward")),
        kl=_number(row.get("kl")),
        win=_number(row.get("win")),
        ended=bool(ended) if ended is not None else None,
    )


def _start(row: _Row) -> Answer | None:
    if row.get("start_text") is None or row.get("opponent", "start") not in ("start", None):
        return None
    return Answer(_text(row, "start_text"), _integer(row.get("start_tokens")), _number(row.get("start_reward")))


def _text(row: _Row, name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known and isinstance(value, int | float) else None


def _integer(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
