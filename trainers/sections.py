"""What all sections of a run's config are made of: a strict schema, and the numbers that occur in many of them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
# How strongly something is weighed.
Strength = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


def asked(what: str, example: Any) -> Any:
    """For a key that has no default: what is asked for, and an example, which errors tell (`trainers.config_faults`).

    path: Annotated[str, asked("the file of pairs", "pairs.jsonl")]
    """
    return Field(description=what, examples=[example])


class Section(BaseModel):
    """Part of the config: unknown keys are refused, and a whole number serves where a float is asked, nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
