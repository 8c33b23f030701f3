"""What concerns a study as a whole, and so is the same for each of its trials: its schema.

{"launcher": {"kind": "local", "workers": 0, ...}} -> BadCommand("launcher.workers: input should be ... got 0")
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from orchestrator.errors import BadCommand
from orchestrator.resources import Positive, Word
from orchestrator.retries import RetryLimits
from orchestrator.search_settings import (
    GridSettings,
    ObjectiveSettings,
    PrunerSettings,
    SamplerSettings,
    StructureSettings,
    Timeout,
)
from trainers.config import RUN_SECTIONS
from trainers.config_faults import describe
from trainers.gpus import GPUName
from trainers.sections import Count, Section

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


class ControllerSettings(Section):
    """The controller's own job, where it is to run on the cluster."""

    time_min: Positive
    mem_gb: Positive
    cpus: Count
    partition: Word | None


class SlurmSettings(Section):
    """Runs are jobs of a Slurm cluster, or of submitit's stand-in for one on this machine."""

    kind: Literal["slurm"]
    cluster: Literal["slurm", "local"]
    partition: Word | None
    account: Word | None
    qos: Word | None
    constraint: Word | None
    exclude: Word | None
    time_min: Positive | None
    mem_gb: Positive | None
    cpus_per_run: Count | None
    gpus_per_run: Annotated[int, Field(ge=0)] | None
    gpu_request: Literal["gres", "gpus"]
    gpu_type: Word | None
    gpu_mem_gb: Positive | None
    nodes: Count | None
    ranks_per_node: Count | None
    extra: list[Annotated[str, Field(pattern=r"^--?[A-Za-z][^\n\r]*$")]]
    setup: list[str]
    python: str | None
    runs_per_job: Count
    runs_at_a_time: Count
    max_submitted: Count | None
    max_array: Count | None
    poll_s: Positive
    grace_s: Annotated[int, Field(ge=5)]
    requeue: bool
    snapshot: bool
    detach: bool
    controller: Literal["here", "slurm"]
    controller_job: ControllerSettings
    retries: RetryLimits
    more_memory: Annotated[float, Field(gt=1, le=16)] | None
    bad_node_after: Count | None
    target: Target
    preload: list[str]


# Keys of a composed config that are the run's own and yet no part of what it computes.
RESOURCES = "resources"
LauncherSettings = LocalSettings | InlineSettings | SlurmSettings


# What trials are compared by where nobody asks for anything.
DEFAULT_OBJECTIVE = {"eval/reward_accuracy": "maximize"}


class TableSettings(Section):
    """What the comparison table shows besides the usual."""

    metrics: list[Annotated[str, Field(pattern=r"^(eval|train)/.+")]] = Field(default_factory=list)
    published: str | None = None


def _as_typed(value: Any) -> Any:
    """study=1 means the name 1."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class StudySettings(Section):
    """What concerns the study as a whole, and so must be the same for each of its trials."""

    launcher: LauncherSettings = Field(discriminator="kind")
    sweeper: GridSettings | SamplerSettings = Field(discriminator="kind")
    objective: ObjectiveSettings
    study: Annotated[str, Field(pattern=r"^\w[\w.+-]{0,99}$"), BeforeValidator(_as_typed)] | None
    output_root: str
    cache_dir: str | None
    reference_step: bool | Literal["auto"]
    fail_fast: bool
    # Defaults for the records of studies that know nothing of them.
    gpu: GPUName | None = None
    size: Literal["full", "small"] = "full"
    sweep: dict[str, str | int | float] = Field(default_factory=dict)
    table: TableSettings = TableSettings()
    search: StructureSettings = StructureSettings()
    pruner: PrunerSettings = PrunerSettings(kind="none")
    n_trials: Count | None = None
    timeout: Timeout | None = None
    max_parallel: Count | None = None
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    seeds_per_trial: Count | None = None

    @property
    def launcher_detaches(self) -> bool:
        """Whether the study is left once its jobs are submitted, with nobody to submit what waits for others."""
        return bool(getattr(self.launcher, "detach", False))


def study_settings(config: Mapping[str, Any]) -> StudySettings:
    """The settings that concern the whole study. Raises BadCommand with every fault in them."""
    values = {key: value for key, value in config.items() if key not in (*RUN_SECTIONS, RESOURCES)}
    try:
        return StudySettings.model_validate(values)
    except ValidationError as error:
        raise BadCommand(describe(error, values)) from None
