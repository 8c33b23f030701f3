"""The schema of `reference`, one section for each kind of it."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.sections import Count, Section, asked

# How the reference's weights are stored: as the policy's are, or otherwise.
Quantised = Literal["same", "none", "nf4"]


class OtherReference(Section):
    quantization: Quantised = "same"
    # Used by some kinds only; specs of older studies, and experiments, have them whatever the kind.
    path: str | None = None
    revision: str | None = None
    first: str | None = None
    second: str | None = None
    weight: float | None = None


class SelfReference(OtherReference):
    kind: Literal["self"]


class NoReference(OtherReference):
    kind: Literal["none"]


class MovingReference(OtherReference):
    kind: Literal["moving"]
    mixup: Annotated[float, Field(gt=0, le=1)]
    sync_steps: Count


class RunReference(OtherReference):
    kind: Literal["run"]
    # What tells that run from the others of its study, as {"method": "sft"}.
    run: Annotated[
        dict[str, str | int | float | bool | None],
        Field(min_length=1),
        asked("what tells that run from the others of its study", {"method": "sft"}),
    ]
    # Its fingerprint, once the study is planned.
    of: str | None = None


class ModelReference(OtherReference):
    kind: Literal["model"]
    path: Annotated[str, asked("the reference model, a hub id or a folder", "/models/larger")]


class AdapterReference(OtherReference):
    kind: Literal["adapter"]
    path: Annotated[str, asked("the folder of an adapter that peft saved", "outputs/STUDY/runs/RUN/adapter")]


class CheckpointReference(OtherReference):
    kind: Literal["checkpoint"]
    path: Annotated[str, asked("the folder of a run, or of a checkpoint in it", "outputs/STUDY/runs/RUN")]


class MixtureReference(OtherReference):
    kind: Literal["mixture"]
    first: str
    second: Annotated[str, asked("the other model, or the folder of an adapter or a run", "/models/larger")]
    # Of the first; the second has the rest.
    weight: Annotated[float, Field(gt=0, lt=1)]


Reference = (
    SelfReference | NoReference | MovingReference | RunReference | ModelReference | AdapterReference
    | CheckpointReference | MixtureReference
)  # fmt: skip
