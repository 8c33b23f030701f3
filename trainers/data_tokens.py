"""Turns pairs and single answers into token ids, in a few batched calls.

As TRL's DPOTrainer does (trl 1.16, `_prepare_dataset`):
Pair("ab:", "yes", "no"), a byte per token, eos 257 -> prompt_ids [97, 98, 58], chosen_ids [121, 101, 115, 257],
rejected_ids [110, 111, 257]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainers.data_answers import Answer
from trainers.data_pairs import Messages, Pair, Text
from trainers.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class TokenisedPair:
    """Token ids of a prompt and of its two answers; each answer follows directly on the prompt.

    `truncated`: max_length cut the pair; `answer_cut`: an answer lost its end; `prompt_cut`: the prompt lost its
    beginning, in order to leave room for the answers. Both may be.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    truncated: bool
    answer_cut: bool = False
    prompt_cut: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """How many tokens of a pair's prompt, and of each of its answers, max_length has room for."""

    prompt: int
    answer: int


def room(prompt: int, longest_answer: int, max_length: int) -> Room:
    """What of a pair is kept whose prompt and longer answer are so long, in tokens.

    prompt 50, answer 30, max_length 20 -> Room(prompt=10, answer=10): the prompt's last ten, the answers' first ten.
    """
    if prompt + longest_answer <= max_length:
        return Room(prompt, longest_answer)
    # At least one token of prompt: a model gives no probability to a first token.
    kept = min(prompt, max(1, max_length - max(min(longest_answer, max_length // 2), max_length - prompt)))
    return Room(kept, max_length - kept)


def told_cuts(pairs: Sequence["TokenisedPair"]) -> str | None:
    """What max_length cut of these pairs, in words; None where it cut nothing."""
    cut = sum(pair.truncated for pair in pairs)
    if not cut:
        return None
    answers, prompts = sum(pair.answer_cut for pair in pairs), sum(pair.prompt_cut for pair in pairs)
    return cuts_in_words(cut, answers, prompts, len(pairs))


def cuts_in_words(cut: int, answers: int, prompts: int, pairs: int, what: str = "pairs") -> str:
    """What is cut, and what is lost by it.

    "3 of 40 pairs are longer than training.max_length: 2 lose the end of an answer, 1 the beginning of its prompt"
    """
    lost = [f"{answers} lose the end of an answer"] if answers else []
    lost += [f"{prompts} the beginning of {'its' if prompts == 1 else 'their'} prompt"] if prompts else []
    return f"{cut} of {pairs} {what} are longer than training.max_length: {', '.join(lost)}"


@dataclass(frozen=True, slots=True)
class TokenisedAnswer:
    """Token ids of a prompt and of an answer that is good or bad by itself; the rest as in TokenisedPair."""

    prompt_ids: list[int]
    answer_ids: list[int]
    desirable: bool
    truncated: bool
    answer_cut: bool = False
    prompt_cut: bool = False


def tokenise(pairs: Sequence[Pair], tokenizer: Any, max_length: int) -> list[TokenisedPair]:
    """Token ids of each pair, prompt and answer together at most `max_length`.

    Text answers end in the tokenizer's end of sequence; chat messages go through its chat template. The prompt is what
    the prompt alone and both prompts with answers begin with. What is longer than `max_length` is cut at the end of the
    answer. Where the prompt alone is longer than half of that and its answers do not fit, then, unlike TRL, which drops
    a pair whose prompt alone fills max_length, the prompt loses its beginning: the longer answer keeps up to half of
    max_length. So no pair is lost and no answer empty.

    Raises InvalidInput where chat messages meet a tokenizer without a chat template.
    """
    prompts, chosen, rejected = (_ids(texts, tokenizer) for texts in _texts(pairs, tokenizer))
    return [_pair(*ids, max_length) for ids in zip(prompts, chosen, rejected, strict=True)]


def tokenise_answers(answers: Sequence[Answer], tokenizer: Any, max_length: int) -> list[TokenisedAnswer]:
    """Token ids of each answer, as `tokenise` has those of a pair, and with its faults."""
    end = tokenizer.eos_token or ""
    prompts = _ids([answer.prompt for answer in answers], tokenizer)
    whole = _ids([_whole(answer.prompt, answer.text, end) for answer in answers], tokenizer)
    found = []
    for answer, asked, said in zip(answers, prompts, whole, strict=True):
        prompt, (kept,), cuts = _cut(asked, [said], max_length)
        found.append(TokenisedAnswer(prompt, kept, answer.desirable, **cuts))
    return found


def _pair(prompt: list[int], chosen: list[int], rejected: list[int], max_length: int) -> TokenisedPair:
    prompt, (chosen, rejected), cuts = _cut(prompt, [chosen, rejected], max_length)
    return TokenisedPair(prompt, chosen, rejected, **cuts)


def _texts(pairs: Sequence[Pair], tokenizer: Any) -> tuple[list[Text], list[Text], list[Text]]:
    end = tokenizer.eos_token or ""
    return (
        [pair.prompt for pair in pairs],
        [_whole(pair.prompt, pair.chosen, end) for pair in pairs],
        [_whole(pair.prompt, pair.rejected, end) for pair in pairs],
    )


def _whole(prompt: Text, answer: Text, end: str) -> Text:
    if isinstance(prompt, str) and isinstance(answer, str):
        return prompt + answer if end and answer.endswith(end) else prompt + answer + end
    return (*_messages(prompt), *_messages(answer))


def _messages(text: Text) -> Messages:
    assert not isinstance(text, str), "trainers.data_pairs makes no pairs of both kinds"
    return tuple(text)


def _ids(texts: Sequence[Text], tokenizer: Any) -> list[list[int]]:
    """Ids of each; text in one call, conversations one by one, a prompt being one that does not end in an answer."""
    ids: list[list[int]] = [[]] * len(texts)
    plain = [index for index, text in enumerate(texts) if isinstance(text, str)]
    if plain:
        # verbose=False: texts beyond the model's length are cut below, so the tokenizer need not warn of them.
        found = tokenizer([texts[index] for index in plain], verbose=False)["input_ids"]
        for index, row in zip(plain, found, strict=True):
            ids[index] = list(row)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            ids[index] = _chat_ids(text, tokenizer)
    return ids


def _chat_ids(messages: Messages, tokenizer: Any) -> list[int]:
    if not getattr(tokenizer, "chat_template", None):
        raise InvalidInput([NO_TEMPLATE.format(name=getattr(tokenizer, "name_or_path", "") or "this model")])
    conversation = [dict(message) for message in messages]
    asked = conversation[-1]["role"] != "assistant"
    found = tokenizer.apply_chat_template(conversation, add_generation_prompt=asked, return_dict=True)["input_ids"]
    return list(found)


# Fields of TokenisedPair and TokenisedAnswer.
Cuts = dict[str, bool]

NO_TEMPLATE = (
    "the data are chat messages, but the tokenizer of {name} has no chat template: "
    "give one, model.chat_template=builtin:chatml or a Jinja file as model.chat_template=FILE, or use a chat model"
)


def _cut(prompt: list[int], whole: list[list[int]], max_length: int) -> tuple[list[int], list[list[int]], Cuts]:
    """The prompt, the answers that follow it in `whole`, and what of them had to go."""
    start = min(_shared(prompt, ids) for ids in whole)
    prompt, answers = prompt[:start], [ids[start:] for ids in whole]
    if not all(answers):
        raise InvalidInput(["the chat template leaves an answer without a single token: check model.chat_template"])
    longest = max(map(len, answers))
    fits = room(start, longest, max_length)
    prompt_cut, answer_cut = fits.prompt < start, fits.answer < longest
    cuts = {"truncated": prompt_cut or answer_cut, "answer_cut": answer_cut, "prompt_cut": prompt_cut}
    return prompt[start - fits.prompt :], [ids[: fits.answer] for ids in answers], cuts


def _shared(ids: list[int], others: list[int]) -> int:
    if others[: len(ids)] == ids:
        return len(ids)
    return next(index for index, (one, other) in enumerate(zip(ids, [*others, None], strict=False)) if one != other)
