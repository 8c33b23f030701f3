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
from typing import Any, Literal, Protocol

import torch

from trainers import (
    checkpoints,
    data,
    distributed,
    inputs,
    models,
    reference_kinds,
    reference_step,
    tracking,
    trl_engine,
)
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data import TokenisedPair
from trainers.data_config import Bandit, OnePair, Unpaired
from trainers.data_tokens import told_cuts
from trainers.distributed import World
from trainers.errors import InvalidInput, Stopped
from trainers.evaluate import Scores, check_finite, metrics, score
from trainers.method_reference import scored_for
from trainers.methods import METHODS
from trainers.models import RATING, WRITING, Policy, load_policy
from trainers.reference import reference_scores
from trainers.reward_trainer import RewardEvaluation
from trainers.sampled_reward import held_out_reward
from trainers.samples import Asked
from trainers.spec import Reporter, RunFolder, RunResult, RunSpec, Status
from trainers.splits import Splits, load_splits
from trainers.stage import Materials
from trainers.stages import stages
from trainers.start import Start
from trainers.toy_metrics import toy_metrics
from trainers.world_metrics import sample_metrics


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
    data_format = METHODS[config.method.name].data_format
    policy = load_policy(config, spec.cache_dir, _TASKS.get(data_format, WRITING))
    progress.heed()
    splits = load_splits(config, policy.tokenizer, spec.cache_dir)
    if progress.world.first:
        _tell_cuts(splits)

    progress.begin("scoring")
    score_needed = _SCORED.get(data_format, scored_for)
    scored = score_needed(config, policy, splits.pairs, spec.cache_dir, progress.heed, progress.world)
    run = _Made(spec, config, policy, splits, scored, progress)
    evaluation = _EVALUATIONS.get(data_format, _beside_reference)(run)

    ended = _trained(run, evaluation)
    progress.steps = ended.steps
    if ended.stopped:
        return "cancelled"

    try:
        progress.begin("evaluating")
        measured = {**evaluation.measure(), **_AT_THE_END.get(data_format, _nothing_more)(run)}
    except Stopped:
        ended.save()
        raise
    check_finite(measured)
    progress.report(ended.steps, measured)
    if config.training.save_final and progress.world.first:
        _save(policy, config, spec.folder)
    return "completed"


@dataclass(frozen=True)
class _Made:
    """What a run has before it trains. `scored` is by split, as `splits` is."""

    spec: RunSpec
    config: RunConfig
    policy: Policy
    splits: Splits
    scored: Mapping[str, Scores]
    progress: "_Progress"

    @property
    def mismatched(self) -> tuple[Sequence[TokenisedPair], Scores] | None:
        """Answers to other prompts and the reference's scores of them, for methods on unpaired answers."""
        if "mismatched" not in self.scored:
            return None
        return self.splits.pairs["mismatched"], self.scored["mismatched"]

    def prompts(self, split: Literal["train", "heldout"]) -> list[Asked]:
        """Each once, in the order of the pairs."""
        assert not isinstance(self.config.data, Unpaired | Bandit | OnePair)
        texts: Sequence[data.Pair] = getattr(data.load_pairs(self.config.data, self.spec.cache_dir), split)
        pairs = zip(texts, self.splits.pairs[split], strict=True)
        return list({tuple(ids.prompt_ids): Asked(ids.prompt_ids, text.prompt) for text, ids in pairs}.values())


class _Measures(Protocol):
    """A run's model on the held-out pairs, as it is now."""

    def measure(self) -> dict[str, float]:
        """Raises Stopped in the middle where the run is asked to stop."""

    def score(self, pairs: Sequence[TokenisedPair]) -> Scores:
        """Log-probabilities of some pairs. Raises Stopped as `measure` does."""


def _beside_reference(run: _Made) -> _Measures:
    heldout = (run.splits.pairs["heldout"], run.scored["heldout"])
    return _Evaluation(run.config, run.policy, *heldout, run.progress.heed, run.progress.world)


def _of_rewards(run: _Made) -> _Measures:
    return RewardEvaluation(run.config, run.policy, run.splits.pairs["heldout"], run.progress.heed, run.progress.world)


def _nothing_more(_run: _Made) -> dict[str, float]:
    return {}


def _sampled_reward(run: _Made) -> dict[str, float]:
    asked = run.prompts("heldout")
    progress = run.progress
    return held_out_reward(run.config, run.policy, asked, run.spec.folder.samples, progress.heed, progress.world)


# Where a method's data format makes a difference to the story: by what its model is loaded as, what is scored before
# training, and what is measured during and after it.
_TASKS = {"comparisons": RATING}
_SCORED: Mapping[str, Callable[..., dict[str, Scores]]] = {"comparisons": lambda *_anything: {}}
_EVALUATIONS: Mapping[str, Callable[[_Made], _Measures]] = {"comparisons": _of_rewards}
_AT_THE_END: Mapping[str, Callable[[_Made], dict[str, float]]] = {"prompts": _sampled_reward}


def _trained(run: _Made, evaluation: _Measures) -> trl_engine.Ended:
    """Train one stage after the other; steps are counted through.

    Of several stages an attempt takes up the last one that is over, and makes the next ones anew from what is on disk.
    """
    progress, policy, root = run.progress, run.policy, run.spec.folder.checkpoints
    start = Start(policy.model) if METHODS[run.config.method.name].data_format == "prompts" else None
    makers = stages(_materials(run, evaluation, start))
    first, done = progress.world.agreed(checkpoints.newest_ended(root, len(makers)))
    for number in range(first, len(makers)):
        part = makers[number]()
        if start is not None and part.afresh:
            start.restore()
        own = trl_engine.total_steps(part.config, part.size)
        progress.begin("training", done + own * (len(makers) - number))
        if part.metrics and progress.report(done, part.metrics):
            raise Stopped
        ended = trl_engine.train(
            trl_engine.Training(
                config=part.config,
                policy=policy,
                pairs=part.pairs,
                reference=part.reference,
                mismatched=run.mismatched,
                desirable=run.splits.desirable,
                answers=part.answers,
                checkpoints=checkpoints.stage(root, number) if len(makers) > 1 else root,
                watch=_Watch(progress, evaluation, run.config.evaluation.every, done),
                world=progress.world,
            )
        )
        before, done = done, done + ended.steps
        if ended.stopped:
            break
        if number + 1 < len(makers):
            # An attempt that goes on in the next stage starts from here, and takes its reference from here.
            ended.save()
            if progress.world.first:
                checkpoints.end_stage(root, number, before)
    return dataclasses.replace(ended, steps=done)


def _materials(run: _Made, evaluation: _Measures, start: Start | None) -> Materials:
    config, policy, progress = run.config, run.policy, run.progress

    def score_reference(pairs: Sequence[TokenisedPair]) -> Scores:
        with start.in_place() if start is not None else contextlib.nullcontext():
            made = {"made": pairs}
            return reference_scores(config, policy, made, run.spec.cache_dir, progress.heed, progress.world)["made"]

    return Materials(
        config=config,
        policy=policy,
        pairs=run.splits.pairs["train"],
        prompts=run.prompts("train") if start is not None else (),
        reference=run.scored.get("train"),
        score=evaluation.score,
        score_reference=score_reference,
        folder=run.spec.folder,
        cache_dir=run.spec.cache_dir,
        begin=progress.begin,
        heed=progress.heed,
        world=progress.world,
    )


def score_reference(config: RunConfig, policy: Policy, cache_dir: Path, heed: Callable[[], None]) -> None:
    """Have the reference's scores kept that a run of this config will look for; `policy` may be a stand-in for it."""
    score_needed = _SCORED.get(METHODS[config.method.name].data_format, scored_for)
    score_needed(config, policy, load_splits(config, policy.tokenizer, cache_dir).pairs, cache_dir, heed)


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
    evaluation: _Measures
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
        if policy.task.self_contained:
            policy.tokenizer.save_pretrained(folder.adapter)


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
