"""The schema of `data`, one section for each kind of it."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.sections import Count, Section, asked


class Data(Section):
    max_train_samples: Count | None
    max_eval_samples: Count | None


class Toy(Data):
    kind: Literal["toy"]
    seed: Annotated[int, Field(ge=0)]


class Jsonl(Data):
    kind: Literal["jsonl"]
    path: Annotated[str, asked("the file of pairs, one JSON object a line", "pairs.jsonl")]
    eval_path: str | None
    eval_fraction: Annotated[float, Field(gt=0, lt=1)]
    split_seed: int
    prompt_field: str
    chosen_field: str
    rejected_field: str


class Unpaired(Data):
    kind: Literal["unpaired"]
    path: Annotated[str, asked("the file of answers judged one by one, a JSON object a line", "answers.jsonl")]
    prompt_field: str
    completion_field: str
    label_field: str
    eval_path: Annotated[str, asked("a file of pairs, on which all methods are measured", "heldout.jsonl")]
    eval_prompt_field: str
    eval_chosen_field: str
    eval_rejected_field: str


class HubPairs(Data):
    kind: Literal["hh", "ultrafeedback"]
    path: str
    revision: str | None
    train_split: str
    eval_split: str


class Orca(Data):
    kind: Literal["orca"]
    path: str
    revision: str | None
    train_split: str
    eval_split: str | None
    eval_fraction: Annotated[float, Field(gt=0, lt=1)]
    split_seed: int


class Bandit(Section):
    kind: Literal["bandit"]
    pairs: Annotated[str, Field(pattern=r"^[a-z]{2}(\*[1-9]\d{0,3})?( +[a-z]{2}(\*[1-9]\d{0,3})?)*$")]
    draws: Count | None


Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class OnePair(Section):
    kind: Literal["one_pair"]
    prompt: Tokens
    chosen: Tokens
    rejected: Tokens
