"""Answers that are good or bad by themselves, and how a row of a file becomes one.

{"prompt": "2+2?", "completion": "4", "label": true} -> Answer("2+2?", "4", desirable=True)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainers.data_pairs import MissingField, RowFault, Text, as_messages, check_said, is_whole, quoted, text_in

AnswerReader = Callable[[Mapping[str, Any]], "Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt and one answer to it, both text or both chat messages, and whether answers should be like it."""

    prompt: Text
    text: Text
    desirable: bool


def answer_fields(prompt: str, completion: str, label: str) -> AnswerReader:
    """Reader of rows with the three fields named so.

    Where one of the texts is messages, both become messages. A completion that opens with another role than the
    assistant holds the whole conversation: its last message is the answer, the rest the prompt.
    """
    names = {"prompt": prompt, "completion": completion, "label": label}

    def read(row: Mapping[str, Any]) -> Answer:
        missing = {role: name for role, name in names.items() if name not in row}
        if "completion" in missing and {"chosen", "rejected"} <= row.keys():
            raise RowFault("a pair, chosen and rejected, where an answer by itself is asked for: use data=jsonl")
        if missing.keys() - {"prompt"}:
            raise MissingField(missing, tuple(row), names.values())
        desirable = _label(row[label], label)
        said = text_in(row, completion)
        if isinstance(said, tuple) and is_whole(said):
            return _answer(said[:-1], said[-1:], desirable=desirable)
        if missing:
            raise MissingField(missing, tuple(row), names.values())
        asked = text_in(row, prompt)
        if isinstance(asked, str) and isinstance(said, str):
            return _answer(asked, said, desirable=desirable)
        return _answer(as_messages(asked, "user"), as_messages(said, "assistant"), desirable=desirable)

    return read


def _label(value: object, field: str) -> bool:
    # 1.0 == 1 too, but a number with a point is a score.
    if not isinstance(value, int) or value not in (0, 1):
        raise RowFault(f"field {field!r} must be true or false, or 1 or 0", f", got {quoted(value)}")
    return bool(value)


def _answer(prompt: Text, text: Text, *, desirable: bool) -> Answer:
    check_said("prompt", prompt)
    check_said("completion", text)
    return Answer(prompt, text, desirable)
