"""What training takes and returns: the spec of a run, its result, its folder, and how it reports on the way."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from pydantic import TypeAdapter, ValidationError

from trainers.files import read_json, write_json

Scalar = str | int | float | bool | None
Status = Literal["completed", "failed", "pruned", "cancelled"]
# reference: computes the log-probabilities of a reference that several runs share. evaluation: measures a policy of a
# run once more.
Step = Literal["reference", "evaluation"]
# The policy that training left, among those of a run; the others are checkpoints.
FINAL = "final"
# The ends that stand; after the others a run is tried again.
FOR_GOOD: tuple[Status, ...] = ("completed", "pruned")
# Why an attempt did not complete: the run's own error; memory or disk are full; somebody's SIGKILL; the job's time
# limit; a job that had to make room; a node that died; a job that nobody knows any more; another process that still
# works on the run.
Cause = Literal[
    "error", "out_of_memory", "disk_full", "killed", "time_limit", "preempted", "node_failure", "lost", "busy"
]


@dataclass(frozen=True)
class EvaluationFolder:
    """What an evaluation of a policy leaves: `metrics` is written last, so that a folder with it is whole."""

    root: Path

    @property
    def metrics(self) -> Path:
        """JSON: metrics, why some are null, why the policy is degenerate, which one of the run it is, settings."""
        return self.root / "metrics.json"

    @property
    def pairs(self) -> Path:
        """One row a held-out pair: log-probabilities and log-ratios of its answers, in nats."""
        return self.root / "pairs.parquet"

    @property
    def answers(self) -> Path:
        """JSON lines: what the policy answers to held-out prompts. Untrusted text, escaped."""
        return self.root / "answers.jsonl"

    @property
    def tokens(self) -> Path:
        """JSON: which tokens the policy says less and more often than the reference."""
        return self.root / "tokens.json"


@dataclass(frozen=True)
class RunFolder:
    """Every file name of a run's folder, so that no other line of the project spells one."""

    root: Path

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: step, time (Unix seconds), and metrics as `train/loss` or `eval/margin_nats`."""
        return self.root / "metrics.jsonl"

    @property
    def heartbeat(self) -> Path:
        """JSON: phase, since (Unix seconds), step, steps (the total, or null); rewritten every few seconds at least."""
        return self.root / "heartbeat"

    @property
    def stop(self) -> Path:
        """Its presence asks the run to save a checkpoint and stop at the next step."""
        return self.root / "stop"

    @property
    def prune(self) -> Path:
        """JSON: step, and why; its presence asks the run to stop at the next step, and not to be gone on with."""
        return self.root / "prune"

    def rank_error(self, rank: int) -> Path:
        """Why a process that trained together with the first one failed, in a sentence."""
        return self.root / f"rank-{rank}.error"

    @property
    def lock(self) -> Path:
        """Locked by the process that works in the folder; says which attempt it is."""
        return self.root / "lock"

    @property
    def attempts(self) -> Path:
        """JSON lines: when and where each attempt began, how it ended, and why it was made again."""
        return self.root / "attempts.jsonl"

    @property
    def adjusted(self) -> Path:
        """JSON: config keys that a retry changes without changing what the run computes."""
        return self.root / "adjusted.json"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def samples(self) -> Path:
        """JSON lines: answers that the policy gave while it trained, by phase and prompt. Untrusted text, escaped."""
        return self.root / "samples.jsonl"

    @property
    def evaluation(self) -> EvaluationFolder:
        """Of the policy as training left it."""
        return EvaluationFolder(self.root / "evaluation")

    def evaluation_of(self, policy: str) -> EvaluationFolder:
        """Of one of the run's policies, "final" or the name of a checkpoint in its folder of checkpoints."""
        return self.evaluation if policy == FINAL else EvaluationFolder(self.evaluation.root / policy)

    @property
    def judge_bill(self) -> Path:
        """JSON lines: what each reply of a judge took in tokens."""
        return self.root / "judge.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def tracking(self) -> Path:
        """The folder in which the W&B client makes its own `wandb/`."""
        return self.root


@dataclass(frozen=True)
class RunSpec:
    """One run: a trial's values with one seed, resolved at submission, so that later edits of configs change nothing.

    `config` has the sections of `trainers.config.RunConfig` as plain values; `fingerprint` is a hex digest of what the
    run computes. `run_dir` is where the spec was read from: it is not stored, so that a study may be moved.
    """

    study: str
    trial: int
    seed: int
    method: str
    params: Mapping[str, Scalar]
    config: Mapping[str, Any]
    fingerprint: str
    run_dir: Path
    cache_dir: Path
    # The run's id at W&B: of its own for each study that is made, and the same at each attempt.
    tracking_id: str = ""
    # Digests of the local files and folders that the run reads, by key (trainers.inputs).
    inputs: Mapping[str, str] = field(default_factory=dict)
    # Runs of the same study whose policies it needs, by run id: they lie beside it, and must have completed.
    needs: tuple[str, ...] = ()
    # Steps of the study that do for all what it would else do for itself: they come first, however they end.
    after: tuple[str, ...] = ()
    # What it does for the study's runs instead of training a policy.
    step: Step | None = None
    # Of an evaluation: which policy of the run that it needs, "final" or "checkpoint-40".
    policy: str = ""
    # What the run asks of the machine that carries it out; no part of what it computes.
    resources: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Name of its folder, and of the run at W&B: "t0003-s0-1a2b3c4d", of a step "reference-1a2b3c4d"."""
        if self.step is not None:
            return f"{self.step}-{self.fingerprint[:8]}"
        return f"t{self.trial:04d}-s{self.seed}-{self.fingerprint[:8]}"

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.run_dir)

    def at(self, run_dir: Path) -> "RunSpec":
        """The same run in another folder."""
        return dataclasses.replace(self, run_dir=run_dir)

    def write(self) -> None:
        values = dataclasses.asdict(self)
        del values["run_dir"]
        write_json(self.folder.spec, {**values, "cache_dir": str(self.cache_dir)})

    @classmethod
    def read(cls, run_dir: Path) -> "RunSpec":
        """Raises FileNotFoundError where the folder has no whole spec."""
        values = read_json(RunFolder(run_dir).spec)
        try:
            return _SPECS.validate_python({**values, "run_dir": run_dir} if isinstance(values, dict) else values)
        except ValidationError:
            raise FileNotFoundError(f"{RunFolder(run_dir).spec} is missing or damaged") from None


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `metrics` are the last value of each; `steps` optimiser steps; `seconds` wall-clock time."""

    run_id: str
    status: Status
    params: Mapping[str, Scalar] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    attempts: int = 1
    error: str | None = None
    tracking_url: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    # The run of the same study whose result this is, where two trials compute the same.
    same_as: str | None = None
    # Why it did not complete, where that is known.
    cause: Cause | None = None
    # Why its policy is not worth comparing, though it completed (trainers.evaluation.degeneracy).
    degenerate: str | None = None
    # By which decision it was pruned.
    why: str | None = None

    @property
    def final(self) -> bool:
        """Whether nothing more is to be done for the run: it has completed, or was pruned."""
        return self.status in FOR_GOOD

    def write(self, folder: RunFolder) -> None:
        write_json(folder.result, dataclasses.asdict(self))

    @classmethod
    def read(cls, folder: RunFolder) -> "RunResult | None":
        """None where the run has not ended, or its result is damaged (then it was not written by `write`)."""
        try:
            return _RESULTS.validate_python(read_json(folder.result))
        except ValidationError:
            return None

    def is_sound(self) -> bool:
        """Whether status and metrics are what their types say: what trains may be anybody's code."""
        return self.status in get_args(Status) and isinstance(self.metrics, Mapping)


# Check types as they read: a file may have been edited, and what trains may be anybody's code.
_SPECS = TypeAdapter(RunSpec)
_RESULTS = TypeAdapter(RunResult)


class Reporter(Protocol):
    """How a run tells of itself while it goes on."""

    def begin(self, phase: str, steps: int | None = None) -> None:
        """The run enters a phase ("loading", "training", "evaluating"), of `steps` steps where that is known."""

    def report(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Tell of a step, with metrics or none. True asks the run to save a checkpoint and stop now."""

    def stop_asked(self) -> bool:
        """The same question between steps; cheap, so that what takes long can ask it again and again."""

    def afterwards(self, work: Callable[[], None]) -> None:
        """Have something done once the run's result is on disk: what takes long, or what must not be done before."""
