"""What concerns a study as a whole, and so is the same for each of its trials: its schema.

{"launcher": {"kind": "local", "workers": 0, ...}} -> BadCommand("launcher.workers: input should be ... got 0")
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from orchestrator.errors import BadCommand
from trainers.config import RUN_SECTIONS, Count, Section, describe

# What carries out a run: a function that takes a RunSpec and a Reporter, and returns a RunResult.
Target = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]


class LocalSettings(Section):
    """Where runs go on one machine."""

    kind: Literal["local"]
    workers: Count | Literal["auto"]
    threads: Count | Literal["auto"]
    runs_per_gpu: Count
    timeout_min: Annotated[float, Field(gt=0)] | None
    grace_s: Annotated[float, Field(ge=0)]
    target: Target
    preload: list[str]


class InlineSettings(Section):
    """Runs go on in the controller itself."""

    kind: Literal["inline"]
    target: Target


class GridSettings(Section):
    """Every combination."""

    kind: Literal["grid"]


class ObjectiveSettings(Section):
    """By which metric, and which way, trials are compared."""

    metric: Annotated[str, Field(pattern=r"^(eval|train)/.+")]
    direction: Literal["maximize", "minimize"]


def _as_typed(value: Any) -> Any:
    """study=1 means the name 1."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class StudySettings(Section):
    """What concerns the study as a whole, and so must be the same for each of its trials."""

    launcher: LocalSettings | InlineSettings = Field(discriminator="kind")
    sweeper: GridSettings
    objective: ObjectiveSettings
    study: Annotated[str, Field(pattern=r"^\w[\w.+-]{0,99}$"), BeforeValidator(_as_typed)] | None
    output_root: str
    cache_dir: str | None
    fail_fast: bool


def study_settings(config: Mapping[str, Any]) -> StudySettings:
    """The settings that concern the whole study. Raises BadCommand with every fault in them."""
    values = {key: value for key, value in config.items() if key not in RUN_SECTIONS}
    try:
        return StudySettings.model_validate(values)
    except ValidationError as error:
        raise BadCommand(describe(error, values)) from None
