"""Which held-out prompts a policy is asked: the first distinct ones, the same for all runs on like data.

[Pair("Hi", ...), Pair("Hi", ...), Pair("Ho", ...)], two of them -> the prompts of pairs 0 and 2
"""

from dataclasses import dataclass

from trainers.data_pairs import Text, key
from trainers.evaluation.names import prompt_name
from trainers.evaluation.pairs import HeldOut
from trainers.samples import Asked


@dataclass(frozen=True)
class Prompt:
    """A prompt that is answered: its name, the same for every tokenizer, and the place of its first pair."""

    asked: Asked
    name: str
    place: int


def prompts(held: HeldOut, count: int) -> list[Prompt]:
    """The first `count` distinct prompts, fewer where there are no more; none where the data are token ids."""
    firsts: dict[object, int] = {}
    for place, pair in enumerate(held.texts or ()):
        if len(firsts) == count:
            break
        firsts.setdefault(key(pair.prompt), place)
    assert held.texts is not None or not firsts
    return [_prompt(held, place) for place in firsts.values()]


def _prompt(held: HeldOut, place: int) -> Prompt:
    assert held.texts is not None
    text = held.texts[place].prompt
    return Prompt(Asked(held.pairs[place].prompt_ids, text), prompt_name(text), place)


def shown(prompt: Text) -> str:
    """A prompt as a person reads it: of a conversation of several messages, who says what."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)
