"""The schema of `start`, one section for each place where a policy may begin."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.sections import Section

# What tells a run from the others of its study, as {"method": "sft"}.
Named = dict[str, str | int | float | bool | None]


class OtherStart(Section):
    # Used by some kinds only; there so that start=base,run may be swept beside one start.run.
    path: str | None = None
    run: Named | None = None
    # The fingerprint of the run that start.run names, once the study is planned.
    of: str | None = None


class BaseStart(OtherStart):
    kind: Literal["base"]


class RunStart(OtherStart):
    kind: Literal["run"]
    run: Annotated[Named, Field(min_length=1)]


class AdapterStart(OtherStart):
    kind: Literal["adapter"]
    path: str


class CheckpointStart(OtherStart):
    kind: Literal["checkpoint"]
    path: str


Start = BaseStart | RunStart | AdapterStart | CheckpointStart
