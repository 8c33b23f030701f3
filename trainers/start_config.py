"""The schema of `start`, one section for each place where a policy may begin."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.sections import Section, asked

# What tells a run from the others of its study, as {"method": "sft"}.
Named = dict[str, str | int | float | bool | None]


class BaseStart(Section):
    kind: Literal["base"]


class RunStart(Section):
    kind: Literal["run"]
    run: Annotated[
        Named, Field(min_length=1), asked("what tells that run from the others of its study", {"method": "sft"})
    ]
    # Its fingerprint, once the study is planned.
    of: str | None = None


class AdapterStart(Section):
    kind: Literal["adapter"]
    path: Annotated[str, asked("the folder of an adapter that peft saved", "outputs/STUDY/runs/RUN/adapter")]


class CheckpointStart(Section):
    kind: Literal["checkpoint"]
    path: Annotated[str, asked("the folder of another run, or of a checkpoint of it", "outputs/STUDY/runs/RUN")]


Start = BaseStart | RunStart | AdapterStart | CheckpointStart
