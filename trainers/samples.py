"""What a run samples from its policy, kept in samples.jsonl as it is made, so that nothing is made twice.

    {"phase": "round-0", "number": 17, "prompt": "Recall the sea:", "prompt_ids": [82, ...], "rewards": [1.0, -2.0],
     "notes": {}, "answers": [{"text": " I see it.", "ids": [32, ...], "logp": -9.1, "ended": true}, ...]}

One line holds all answers to a prompt, and what they were rated; a line is there whole or not at all. Everything in it
is untrusted text, escaped to ASCII, so that a terminal may show the file.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainers.data import Text
from trainers.distributed import World
from trainers.errors import InvalidInput
from trainers.generate import Draw, Sampling, sample
from trainers.models import Policy


@dataclass(frozen=True)
class Asked:
    """A prompt as the policy reads it, `ids`, and as it was written."""

    ids: Sequence[int]
    text: Text


@dataclass(frozen=True)
class Sample:
    """A sampled answer as it is kept: `logp` is log π(y|x) in nats; for the rest see `trainers.generate.Answer`."""

    ids: Sequence[int]
    text: str
    logp: float
    ended: bool


@dataclass(frozen=True)
class Label:
    """What the answers to one prompt are worth, a number each, and what finding out was like, for metrics."""

    rewards: Sequence[float] = ()
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """The answers to one prompt in one phase, and their label; `number` is the prompt's place among all."""

    phase: str
    number: int
    asked: Asked
    answers: Sequence[Sample]
    label: Label


# (prompts, answers to each) -> a label for each prompt.
Labeller = Callable[[Sequence[Asked], Sequence[Sequence[Sample]]], Sequence[Label]]


class SampleFile:
    """samples.jsonl of a run: read once, then only added to."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where it cannot be read. What a killed attempt left of a line is cut off before the next."""
        self._path = path
        self._found: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                values = _parsed(line)
                if values is None:
                    break
                self._found[values["phase"], values["number"]] = values
                self._whole += len(line)

    def groups(self, phase: str, asked: Mapping[int, Asked]) -> dict[int, Group]:
        """Those of a phase, by number; one whose prompt is no longer the same does not count."""
        found = {}
        for number, prompt in asked.items():
            values = self._found.get((phase, number))
            if values is not None and values["prompt_ids"] == list(prompt.ids):
                answers = [Sample(**answer) for answer in values["answers"]]
                found[number] = Group(phase, number, prompt, answers, Label(values["rewards"], values["notes"]))
        return found

    def add(self, groups: Iterable[Group], shown: Callable[[Asked], str]) -> None:
        """Append, and wait until it is on disk. Raises OSError."""
        lines = b"".join(_line(group, shown(group.asked)) for group in groups)
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.truncate(self._whole)
            file.seek(self._whole)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._whole += len(lines)


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    try:
        values = json.loads(line) if line.endswith(b"\n") else None
        return values if {"phase", "number", "prompt_ids", "answers", "rewards", "notes"} <= set(values or {}) else None
    except ValueError:
        return None


def _line(group: Group, prompt: str) -> bytes:
    values = {
        "phase": group.phase,
        "number": group.number,
        "prompt": prompt,
        "prompt_ids": list(group.asked.ids),
        "rewards": list(group.label.rewards),
        "notes": dict(group.label.notes),
        "answers": [asdict(answer) for answer in group.answers],
    }
    return json.dumps(values, ensure_ascii=True, allow_nan=False).encode() + b"\n"


@dataclass(frozen=True)
class Sampler:
    """Makes answers and keeps them: who answers, how, and where they go.

    `max_length` bounds prompt and answer together, in tokens. `heed` may end it between two passes with an exception;
    what is done by then is on disk.
    """

    policy: Policy
    sampling: Sampling
    path: Path
    seed: int
    max_length: int
    heed: Callable[[], None]
    world: World

    def groups(
        self, phase: str, asked: Mapping[int, Asked], answers: int, label: Labeller, salt: int = 0
    ) -> list[Group]:
        """So many answers to each prompt, labelled, in the prompts' order: those on disk, and the others made now.

        `salt` keeps the random numbers of phases apart. The policy must be the one that made those on disk.
        """
        file = SampleFile(self.path) if self.world.first else None
        done = self.world.agreed(file.groups(phase, asked) if file else {})
        missing = [number for number in asked if number not in done]
        size = max(1, self.sampling.batch_size // answers) * self.world.size
        for start in range(0, len(missing), size):
            part = {number: asked[number] for number in missing[start : start + size]}
            made = self._made(phase, part, answers, label, salt)
            if file:
                file.add(made, self._shown)
            done.update({group.number: group for group in made})
        return [done[number] for number in asked]

    def _made(self, phase: str, asked: Mapping[int, Asked], answers: int, label: Labeller, salt: int) -> list[Group]:
        draws = [
            Draw(prompt.ids, (self.seed, salt, number, place), max(1, self.max_length - len(prompt.ids)))
            for number, prompt in asked.items()
            for place in range(answers)
        ]
        found = sample(self.policy, draws, self.sampling, self.heed, self.world)
        samples = [Sample(answer.ids, answer.text, answer.logp, answer.ended) for answer in found]
        each = [samples[start : start + answers] for start in range(0, len(samples), answers)]
        labels = self._labelled(list(asked.values()), each, label)
        return [
            Group(phase, number, prompt, own, rated)
            for (number, prompt), own, rated in zip(asked.items(), each, labels, strict=True)
        ]

    def _labelled(
        self, asked: Sequence[Asked], answers: Sequence[Sequence[Sample]], label: Labeller
    ) -> Sequence[Label]:
        """By the first rank: a reward model need not be loaded twice, nor a judge be paid twice."""
        labels: Sequence[Label] | None = None
        problem: Exception | None = None
        if self.world.first:
            try:
                labels = label(asked, answers)
            except Exception as error:
                if not self.world.shared:
                    raise
                problem = InvalidInput([f"{type(error).__name__}: {error}"])
        labels, problem = self.world.agreed((labels, problem))
        if problem is not None:
            raise problem
        assert labels is not None
        return labels

    def _shown(self, asked: Asked) -> str:
        return str(self.policy.tokenizer.decode(list(asked.ids), skip_special_tokens=True))


def unlabelled(asked: Sequence[Asked], _answers: Sequence[Sequence[Sample]]) -> Sequence[Label]:
    """A labeller that says nothing."""
    return [Label() for _ in asked]
