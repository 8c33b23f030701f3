"""One run from its spec to its result: load, score the reference, train, evaluate, save.

Importing this module loads torch and trl and does nothing else, so that a fork server may do it ahead of the runs:
`trainers.preload` does, on machines with a GPU too.
"""

import contextlib
import dataclasses
import gc
import math
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from trainers import data, distributed, inputs, models, reference_kinds, reference_step, tracking, trl_engine
from trainers.config import Bandit, OnePair, RunConfig, check
from trainers.data import TokenisedPair
from trainers.data_tokens import told_cuts
from trainers.distributed import World
from trainers.errors import InvalidInput, Stopped
from trainers.evaluate import Scores, check_finite, metrics, score
from trainers.method_reference import scored_for
from trainers.methods import METHODS
from trainers.models import Policy, load_policy
from trainers.spec import Reporter, RunFolder, RunResult, RunSpec, Status
from trainers.splits import Splits, load_splits
from trainers.stages import Stage, stages
from trainers.toy_metrics import toy_metrics
from trainers.world_samples import sample_metrics


def train(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Carry out a run in `spec.run_dir`, from its newest whole checkpoint if an earlier attempt left one.

    Whatever goes wrong in the run is a result with status "failed" and one sentence, its traceback on stderr; status
    "cancelled" is what the reporter asked for. Raises only KeyboardInterrupt and SystemExit. Metrics are the last value
    of each: `eval/...` as in `trainers.evaluate.metrics`, `train/...` as TRL names them. What may wait until the result
    is on disk is left to `reporter.afterwards`: dropping the checkpoints, and waiting for W&B.

    Where torchrun has started several ranks, each of them calls this with the same spec, and all end the same way. Only
    the first writes anything. One that fails alone takes the others with it, as failed with RankLost.
    """
    if spec.step is not None:
        return reference_step.carry_out(spec, reporter)
    started, world = time.monotonic(), World.here()
    progress = _Progress(reporter, world)
    models.be_quiet()
    status: Status = "failed"
    error = None
    try:
        config = check(spec.config)
        if faults := inputs.changed(config, spec.inputs):
            raise InvalidInput(faults)
        config = reference_kinds.settled(config, spec)
        _check_shares(config, world)
        if world.shared:
            _build_world(config, spec.cache_dir)
        with (
            distributed.joined(world, reporter.stop_asked),
            _tracker(spec, config, reporter, world) as progress.tracker,
        ):
            status = _run(spec, config, progress)
            if status == "completed" and world.first:
                # They only serve to go on with training, which is over.
                reporter.afterwards(lambda: shutil.rmtree(spec.folder.checkpoints, ignore_errors=True))
    except Exception as problem:
        traceback.print_exc(file=sys.stderr)
        status, error = "failed", _sentence(problem, world)
    if torch.cuda.is_available():
        # A trainer and its model refer to each other: the next run of this process needs their memory now.
        gc.collect()
        torch.cuda.empty_cache()
    return RunResult(
        run_id=spec.run_id,
        status=status,
        params=dict(spec.params),
        metrics=progress.metrics,
        steps=progress.steps,
        seconds=time.monotonic() - started,
        error=error,
        tracking_url=progress.tracker.url(),
        versions=_versions(spec.config),
    )


def _check_shares(config: RunConfig, world: World) -> None:
    """Raises InvalidInput where a step cannot be shared by the ranks such that it stays the same step."""
    batch_size, accumulation = config.training.batch_size, config.training.gradient_accumulation
    each, _ = distributed.micro_batches(batch_size, accumulation, world.size)
    if each != batch_size and METHODS[config.method.name].data_format == "unpaired":
        raise InvalidInput(
            [
                f"training.gradient_accumulation={accumulation}: method={config.method.name} estimates its point of "
                f"comparison in each micro-batch, which {world.size} ranks may share out but not cut: make it a "
                f"multiple of {world.size}"
            ]
        )


def _build_world(config: RunConfig, cache_dir: Path) -> None:
    """Build what the run needs of the built-in world, before its ranks have met.

    Afterwards transformers would write a model's files on the first rank alone, and any of them may be the builder.
    """
    models.locate(config.model.path, cache_dir)
    if config.reference.kind == "model":
        models.locate(config.reference.path, cache_dir)
    if config.data.kind == "toy":
        data.load_pairs(config.data, cache_dir)


def _tracker(
    spec: RunSpec, config: RunConfig, reporter: Reporter, world: World
) -> contextlib.AbstractContextManager[tracking.Tracker]:
    if not world.first:
        return contextlib.nullcontext(tracking.Tracker())
    return tracking.start(spec, config, reporter.afterwards)


def _run(spec: RunSpec, config: RunConfig, progress: "_Progress") -> Status:
    try:
        return _trained_and_evaluated(spec, config, progress)
    except Stopped:
        return "cancelled"


def _trained_and_evaluated(spec: RunSpec, config: RunConfig, progress: "_Progress") -> Status:
    progress.begin("loading")
    policy = load_policy(config, spec.cache_dir)
    progress.heed()
    splits = load_splits(config, policy.tokenizer, spec.cache_dir)
    if progress.world.first:
        _tell_cuts(splits)

    progress.begin("scoring")
    world = progress.world
    scored = scored_for(config, policy, splits.pairs, spec.cache_dir, progress.heed, world)
    evaluation = _Evaluation(config, policy, splits.pairs["heldout"], scored["heldout"], progress.heed, world)

    parts = stages(config, splits.pairs["train"], scored.get("train"))
    ended = _trained(parts, evaluation, splits, scored, spec, progress)
    progress.steps = ended.steps
    if ended.stopped:
        return "cancelled"

    try:
        progress.begin("evaluating")
        measured = evaluation.measure()
    except Stopped:
        ended.save()
        raise
    check_finite(measured)
    progress.report(ended.steps, measured)
    if config.training.save_final and world.first:
        _save(policy, config, spec.folder)
    return "completed"


def _trained(
    parts: Sequence[Stage],
    evaluation: "_Evaluation",
    splits: Splits,
    scored: Mapping[str, Scores],
    spec: RunSpec,
    progress: "_Progress",
) -> trl_engine.Ended:
    """Train one stage after the other; steps are counted through."""
    policy, world, folder = evaluation.policy, progress.world, spec.folder.checkpoints
    progress.begin("training", sum(trl_engine.total_steps(part.config, len(part.pairs)) for part in parts))
    done = 0
    for number, part in enumerate(parts):
        config = part.config
        ended = trl_engine.train(
            trl_engine.Training(
                config=config,
                policy=policy,
                pairs=part.pairs,
                reference=part.reference if number == 0 else evaluation.score(part.pairs),
                mismatched=(splits.pairs["mismatched"], scored["mismatched"]) if "mismatched" in scored else None,
                desirable=splits.desirable,
                checkpoints=folder / f"stage-{number}" if len(parts) > 1 else folder,
                watch=_Watch(progress, evaluation, config.evaluation.every, done),
                world=world,
            )
        )
        done += ended.steps
        if ended.stopped:
            break
        if number + 1 < len(parts):
            # An attempt that goes on in the next stage starts from here, and takes its reference from here.
            ended.save()
    return dataclasses.replace(ended, steps=done)


def score_reference(config: RunConfig, policy: Policy, cache_dir: Path, heed: Callable[[], None]) -> None:
    """Have the reference's scores kept that a run of this config will look for; `policy` may be a stand-in for it."""
    scored_for(config, policy, load_splits(config, policy.tokenizer, cache_dir).pairs, cache_dir, heed)


def _tell_cuts(splits: Splits) -> None:
    """Say in the run's log what max_length has cut: of chat messages and sets of the hub only the run can tell."""
    told = told_cuts([pair for pairs in splits.pairs.values() for pair in pairs])
    if told:
        print(f"data: {told}", file=sys.stderr)


@dataclass(frozen=True)
class _Evaluation:
    """The policy on the held-out pairs, as it is now, beside the reference."""

    config: RunConfig
    policy: Policy
    pairs: Sequence[TokenisedPair]
    reference: Scores
    heed: Callable[[], None]
    world: World

    def measure(self) -> dict[str, float]:
        """Raises Stopped in the middle where the run is asked to stop."""
        scores = self.score(self.pairs)
        found = metrics(scores, self.reference)
        if isinstance(self.config.data, Bandit | OnePair):
            found |= toy_metrics(self.policy.model, self.config.data, scores)
        if self.config.evaluation.samples:
            self.heed()
            found |= sample_metrics(self.policy.model, self.pairs[: self.config.evaluation.samples])
        return found

    def score(self, pairs: Sequence[TokenisedPair]) -> Scores:
        """What the policy says of some pairs, as it is now. Raises Stopped as `measure` does."""
        policy = self.policy
        return score(
            policy.model,
            pairs,
            self.config.evaluation.batch_size,
            policy.pad_id,
            autocast=policy.autocast,
            heed=self.heed,
            world=self.world,
        )


class _Progress:
    """What the run has come to, told to the reporter and to the tracker alike.

    Whether to stop is asked of all ranks together, each time: one that was asked stops them all, at the same place.
    """

    def __init__(self, reporter: Reporter, world: World) -> None:
        self._reporter, self.world = reporter, world
        self.tracker = tracking.Tracker()
        self.steps = 0
        self.metrics: dict[str, float | None] = {}

    def begin(self, phase: str, steps: int | None = None) -> None:
        """Raises Stopped where the run is asked to stop instead."""
        self._reporter.begin(phase, steps)
        self.heed()

    def heed(self) -> None:
        """Raises Stopped where the run is asked to stop."""
        if self.world.any(self._reporter.stop_asked()):
            raise Stopped

    def report(self, step: int, values: Mapping[str, float]) -> bool:
        """True where the run is asked to stop. What is no finite number is None in the result, and told to nobody."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.steps = step
        self.metrics.update({name: finite.get(name) for name in values})
        self.tracker.log(step, finite)
        return self.world.any(self._reporter.report(step, finite))


@dataclass(frozen=True)
class _Watch:
    """Watches the training: tells of each step, and evaluates every so many (0: never)."""

    progress: _Progress
    evaluation: _Evaluation
    every: int
    # Steps of the stages before.
    before: int = 0

    def step(self, step: int) -> bool:
        step += self.before
        due = self.every > 0 and step % self.every == 0
        try:
            measured = self.evaluation.measure() if due else {}
        except Stopped:
            # The step is done, and saved with a True; this one evaluation is left out.
            self.progress.report(step, {})
            return True
        check_finite(measured)
        return self.progress.report(step, measured)

    def logged(self, step: int, values: Mapping[str, float]) -> bool:
        return self.progress.report(self.before + step, values)


def _save(policy: Policy, config: RunConfig, folder: RunFolder) -> None:
    if config.peft.kind == "none":
        policy.model.save_pretrained(folder.model)
        policy.tokenizer.save_pretrained(folder.model)
    else:
        # Embeddings are never trained; finding that out would ask the hub.
        policy.model.save_pretrained(folder.adapter, save_embedding_layers=False)


def _sentence(problem: Exception, world: World) -> str:
    """The problem's type and what it says first."""
    name = type(problem).__name__
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        where = "GPU" if isinstance(problem, torch.OutOfMemoryError) else "machine"
        return f"{name}: the {where}'s memory is full: lower training.batch_size (and raise gradient_accumulation), " \
               "or training.max_length"  # fmt: skip
    if isinstance(problem, InvalidInput):
        return f"{name}: {'; '.join(problem.faults)}"
    lines = str(problem).strip().splitlines()
    if world.shared and distributed.lost_a_rank(problem):
        # What torch says of it is which of its lines noticed first.
        name = distributed.RankLost.__name__
    return f"{name}: {lines[0]}" if lines else name


def _versions(config: Mapping[str, Any]) -> dict[str, str]:
    packages = ["torch", "transformers", "trl", "peft"]
    if "bitsandbytes" in sys.modules and _in_4_bits(config):
        packages.append("bitsandbytes")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in packages}


def _in_4_bits(config: Mapping[str, Any]) -> bool:
    # What failed its check may have any form.
    quantization, model = config.get("quantization"), config.get("model")
    nf4 = isinstance(quantization, Mapping) and quantization.get("kind") == "nf4"
    return nf4 or (isinstance(model, Mapping) and model.get("prequantized") is True)


# The trainer collects garbage before its first step, going over all that torch and trl have made at import: a quarter
# of a second of a small run. None of it ever becomes garbage.
gc.freeze()
