"""Preference pairs, and how a row of each data format becomes one.

{"prompt": "2+2?", "chosen": "4", "rejected": "5"} -> Pair("2+2?", "4", "5")
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, str]
Messages = tuple[Message, ...]
Text = str | Messages

TURN = "\n\nAssistant:"
# Characters of a user's text that an error message quotes.
QUOTED = 80


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt, the answer that was preferred, and the other: all three text, or all three chat messages.

    A message is {"role", "content"}; the answers are then the assistant's closing messages (TRL's conversational form).
    """

    prompt: Text
    chosen: Text
    rejected: Text


@dataclass(frozen=True, slots=True)
class Row:
    """A pair as read: `same_prompt` is False where the two answers came with different conversations."""

    pair: Pair
    same_prompt: bool = True


class RowFault(Exception):
    """A row that is no pair: why, and what to change; `given` is what stands in this row, after the reason."""

    def __init__(self, reason: str, given: str = "") -> None:
        self.reason, self.given = reason, given
        super().__init__(f"{reason}{given}")


class Unusable(RowFault):
    """A row of the right form that nothing can be learnt from: an empty text, or two equal answers."""


Reader = Callable[[Mapping[str, Any]], Row]


def quoted(text: object) -> str:
    """A user's text for an error message: one line of ASCII, so that no control character reaches a terminal."""
    shown = ascii(text)
    return shown if len(shown) <= QUOTED else shown[: QUOTED - 3] + "..."


def key(text: Text) -> str | tuple[tuple[str, str], ...]:
    """What tells two texts or conversations apart, hashable."""
    return text if isinstance(text, str) else tuple((message["role"], message["content"]) for message in text)


def plain(text: Text) -> str:
    """What is said, without roles."""
    return text if isinstance(text, str) else "\n".join(message["content"] for message in text)


def fields(prompt: str, chosen: str, rejected: str, *, settings: str = "") -> Reader:
    """Reader of rows with the three fields named so, each text or chat messages.

    Where any of the three is messages, all become messages. An answer that opens with another role than the assistant
    holds the whole conversation: its last message is the answer, the rest the prompt. `settings` is what the settings
    that name the fields begin with.
    """

    names = {"prompt": prompt, "chosen": chosen, "rejected": rejected}

    def read(row: Mapping[str, Any]) -> Row:
        missing = {f"{settings}{role}": name for role, name in names.items() if name not in row}
        if len(missing) > 1 and {"completion", "label"} <= row.keys():
            advice = "" if settings else ": use data=unpaired"
            raise RowFault(f"an answer by itself where a pair, chosen and rejected, is asked for{advice}")
        if missing.keys() - {f"{settings}prompt"}:
            raise MissingField(missing, tuple(row), names.values())
        first, second = text_in(row, chosen), text_in(row, rejected)
        if isinstance(first, tuple) and isinstance(second, tuple) and is_whole(first) and is_whole(second):
            return _of_conversations(first, second)
        if missing:
            raise MissingField(missing, tuple(row), names.values())
        asked = text_in(row, prompt)
        if isinstance(asked, str) and isinstance(first, str) and isinstance(second, str):
            return _row(asked, first, second)
        return _row(as_messages(asked, "user"), as_messages(first, "assistant"), as_messages(second, "assistant"))

    # The common case, three strings, without the general path's checks.
    def read_quickly(row: Mapping[str, Any]) -> Row:
        asked, first, second = row.get(prompt), row.get(chosen), row.get(rejected)
        if type(asked) is str and type(first) is str and type(second) is str:
            return _row(asked, first, second)
        return read(row)

    return read_quickly


def hh(row: Mapping[str, Any]) -> Row:
    """Anthropic's transcripts: all up to the last "Assistant:" is the prompt, what follows is the answer."""
    (prompt, chosen), (other_prompt, rejected) = _split(row, "chosen"), _split(row, "rejected")
    return _row(prompt, chosen, rejected, same_prompt=prompt == other_prompt)


def ultrafeedback(row: Mapping[str, Any]) -> Row:
    """Whole conversations in `chosen` and `rejected`: the last message is the answer, the rest the prompt."""
    conversations = [text_in(row, name) for name in ("chosen", "rejected")]
    for name, conversation in zip(("chosen", "rejected"), conversations, strict=True):
        if isinstance(conversation, str):
            raise RowFault(f"field {name!r} must be a list of chat messages", f", got text {quoted(conversation)}")
    chosen, rejected = (as_messages(conversation, "assistant") for conversation in conversations)
    if len(chosen) < 2 or len(rejected) < 2:
        raise RowFault("fields 'chosen' and 'rejected' must each hold the prompt's messages and the answer's")
    return _of_conversations(chosen, rejected)


def orca(row: Mapping[str, Any]) -> Row:
    """Fields system, question, chosen, rejected as chat messages; an empty system message is left out."""
    system, question, chosen, rejected = (_string(row, name) for name in ("system", "question", "chosen", "rejected"))
    opening = as_messages(system, "system") if system.strip() else ()
    prompt = opening + as_messages(question, "user")
    return _row(prompt, as_messages(chosen, "assistant"), as_messages(rejected, "assistant"))


def _row(prompt: Text, chosen: Text, rejected: Text, *, same_prompt: bool = True) -> Row:
    for name, text in (("prompt", prompt), ("chosen", chosen), ("rejected", rejected)):
        check_said(name, text)
    if chosen == rejected:
        raise Unusable("chosen and rejected are equal", f": {quoted(plain(chosen))}")
    return Row(Pair(prompt, chosen, rejected), same_prompt)


def check_said(name: str, text: Text) -> None:
    """Raises Unusable where nothing is said, RowFault where no tokenizer can read it."""
    said = plain(text)
    if not said or said.isspace():
        raise Unusable(f"{name} is empty")
    if not _is_text(said):
        raise RowFault(f"{name} holds half a surrogate pair, which no tokenizer can read", f": {quoted(said)}")


def _is_text(said: str) -> bool:
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def _of_conversations(chosen: Messages, rejected: Messages) -> Row:
    same = key(chosen[:-1]) == key(rejected[:-1])
    return _row(chosen[:-1], chosen[-1:], rejected[-1:], same_prompt=same)


def is_whole(messages: Messages) -> bool:
    """Whether an answer's messages hold the conversation before it too."""
    return len(messages) > 1 and messages[0]["role"] != "assistant"


def as_messages(text: Text, role: str) -> Messages:
    """Text as one message of that role; messages as they are."""
    return ({"role": role, "content": text},) if isinstance(text, str) else text


def _split(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    transcript = _string(row, name)
    before, turn, answer = transcript.rpartition(TURN)
    if not turn:
        raise RowFault(f"field {name!r} has no turn that begins with {TURN!r}", f": {quoted(transcript)}")
    return before + turn, answer


def _string(row: Mapping[str, Any], name: str) -> str:
    value = _value(row, name)
    if not isinstance(value, str):
        raise RowFault(f"field {name!r} must be text", f", got {quoted(value)}")
    return value


def text_in(row: Mapping[str, Any], name: str) -> Text:
    """What the field holds: text, or chat messages with what else they have left out. Raises RowFault."""
    value = _value(row, name)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(map(_is_message, value)):
        return tuple({"role": message["role"], "content": message["content"]} for message in value)
    raise RowFault(
        f'field {name!r} must be text, or a list of chat messages {{"role": ..., "content": ...}}',
        f", got {quoted(value)}",
    )


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _value(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise MissingField({"": name}, tuple(row))
    return row[name]


class MissingField(RowFault):
    """A row without fields that its format asks for.

    `missing` holds their names by role: prompt, chosen, eval_prompt, ... where data.<role>_field names the field, else
    "". `fields` are those that the format reads already.
    """

    def __init__(self, missing: Mapping[str, str], there: tuple[str, ...], fields: Iterable[str] = ()) -> None:
        self.missing, self.others = missing, [name for name in there if name not in {*fields}]
        has = ", ".join(map(quoted, there[:8])) or "none"
        super().__init__(f"no field {', '.join(map(quoted, missing.values()))}", f"; it has {has}")
