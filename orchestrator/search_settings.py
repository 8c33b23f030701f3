"""The schema of a search: who proposes trials, by what they are judged, what ends them early, how their keys depend.

{"kind": "tpe", "seed": 0, "storage": None, "arguments": {"n_startup_trials": 5}} -> SamplerSettings(...)
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from sweeps.types import Scalar
from trainers.sections import Count, Section

Metric = Annotated[str, Field(pattern=r"^(eval|train)/.+")]
Direction = Literal["maximize", "minimize"]
# As in a command: one value, or a sweep in Hydra's grammar.
Swept = dict[str, str | int | float | bool | None]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class GridSettings(Section):
    """Every combination."""

    kind: Literal["grid"]


class SamplerSettings(Section):
    """One of Optuna's samplers; `arguments` are those of its constructor."""

    kind: Literal["random", "tpe", "gp", "cmaes", "qmc", "nsga2", "nsga3", "bruteforce", "auto"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    storage: str | None
    arguments: dict[str, Any]


class PrunerSettings(Section):
    """What ends a run early that does worse than others did at its step; `arguments` are those of Optuna's pruner."""

    kind: Literal["none", "nop", "asha", "hyperband", "median", "percentile", "patient", "wilcoxon"]
    # null: the first metric of the objective.
    metric: Metric | None = None
    # Steps between two values: null takes an eighth of a run.
    every: Count | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)


class ObjectiveSettings(Section):
    """By which metric, and which way, trials are compared; or by several, of which none may be worse."""

    metric: Metric | None = None
    direction: Direction | None = None
    metrics: dict[Metric, Direction] | None = None
    allow_incomparable: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> "ObjectiveSettings":
        if self.metrics is not None and not self.metrics:
            raise ValueError("metrics: at least one")
        if self.metrics is None and (self.metric is None or self.direction is None):
            raise ValueError("metric and direction are asked for, or metrics: {METRIC: maximize, METRIC: minimize}")
        return self

    @property
    def directions(self) -> Mapping[str, Direction]:
        """Each metric with its better way, the first one being what tables are sorted by where only one can be."""
        if self.metrics is not None:
            return self.metrics
        assert self.metric is not None
        assert self.direction is not None
        return {self.metric: self.direction}


class WhenSettings(Section):
    """Keys that are swept only where others have some values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_by_name=True, validate_by_alias=True)

    given: dict[str, Scalar | list[Scalar]] = Field(alias="if")
    sweep: Swept


class StructureSettings(Section):
    """How swept keys hang together, beyond every combination of their values."""

    zip: list[Swept] = Field(default_factory=list)
    when: list[WhenSettings] = Field(default_factory=list)
    any_of: list[Swept] = Field(default_factory=list)
    enqueue: list[dict[str, Scalar]] = Field(default_factory=list)
    constraints: list[str] = Field(default_factory=list)
    # Whether a study of another space goes on in this one, with the trials that fit.
    adopt: bool = False

    @property
    def empty(self) -> bool:
        """Whether every combination is meant."""
        return not (self.zip or self.when or self.any_of or self.constraints)


def _seconds(value: Any) -> Any:
    """90, "90s", "30m", "8h" or "2d" as seconds."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value) if isinstance(value, str) else None
    if found is None and isinstance(value, str):
        raise ValueError("a time is written as 90s, 30m, 8h or 2d")
    if found is None:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return float(found[1]) * _SECONDS[found[2] or "s"]


# In seconds.
Timeout = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_seconds)]
