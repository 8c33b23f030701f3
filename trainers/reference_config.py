"""The schema of `reference`, one section for each kind of it."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.sections import Count, Section

# How the reference's weights are stored: as the policy's are, or otherwise.
Quantised = Literal["same", "none", "nf4"]


class OtherReference(Section):
    quantization: Quantised = "same"
    # Used by some kinds only; there so that reference=self,model may be swept beside one reference.path.
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
    run: Annotated[dict[str, str | int | float | bool | None], Field(min_length=1)]
    # Its fingerprint, once the study is planned.
    of: str | None = None


class ModelReference(OtherReference):
    kind: Literal["model"]
    path: str


class AdapterReference(OtherReference):
    kind: Literal["adapter"]
    path: str


class CheckpointReference(OtherReference):
    kind: Literal["checkpoint"]
    path: str


class MixtureReference(OtherReference):
    kind: Literal["mixture"]
    first: str
    second: str
    # Of the first; the second has the rest.
    weight: Annotated[float, Field(gt=0, lt=1)]


Reference = (
    SelfReference | NoReference | MovingReference | RunReference | ModelReference | AdapterReference
    | CheckpointReference | MixtureReference
)  # fmt: skip
