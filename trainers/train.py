"""One run from its spec to its result: load, score the reference, train, evaluate, save.

Importing this module loads torch and trl and does nothing else, so that a fork server may do it ahead of the runs:
`trainers.preload` does, on machines with a GPU too.
"""

import contextlib
import gc
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from trainers import (
    data,
    distributed,
    evaluation_step,
    inputs,
    measures,
    models,
    outcome,
    reference_step,
    tracking,
)
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data_tokens import told_cuts
from trainers.distributed import World
from trainers.errors import InvalidInput, Stopped
from trainers.evaluation import harness
from trainers.evaluation.folder import write as write_evaluation
from trainers.measures import Prepared
from trainers.methods import METHODS
from trainers.models import load_policy
from trainers.needed_runs import settled
from trainers.progress import Progress
from trainers.quiet import be_quiet
from trainers.spec import Reporter, RunResult, RunSpec, Status, Step
from trainers.splits import Splits, load_splits
from trainers.staged import trained


def train(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Carry out a run in `spec.run_dir`, from its newest whole checkpoint if an earlier attempt left one.

    Whatever goes wrong in the run is a result with status "failed" and one sentence, its traceback on stderr; status
    "cancelled" is what the reporter asked for, "pruned" where that was to prune the run. Raises only KeyboardInterrupt
    and SystemExit. Metrics are the last value of each: `eval/...` as in docs/evaluation.md, `train/...` as TRL names
    them. What may wait until the result is on disk is left to `reporter.afterwards`: dropping the checkpoints, and
    waiting for W&B.

    Where torchrun has started several ranks, each of them calls this with the same spec, and all end the same way. Only
    the first writes anything. One that fails alone takes the others with it, as failed with RankLost.
    """
    if spec.step is not None:
        return _STEPS[spec.step](spec, reporter)
    started, world = time.monotonic(), World.here()
    progress = Progress(reporter, world)
    be_quiet()
    status: Status = "failed"
    error = None
    try:
        config = check(spec.config)
        if faults := inputs.changed(config, spec.inputs):
            raise InvalidInput(faults)
        config = settled(config, spec)
        _check_shares(config, world)
        harness.check_tasks(config)
        if world.shared:
            _build_world(config, spec.cache_dir)
        with (
            distributed.joined(world, reporter.stop_asked),
            _tracker(spec, config, reporter, world) as progress.tracker,
        ):
            status = _run(spec, config, progress)
            progress.sum_up(status)
            if status == "completed" and world.first and not config.training.save_checkpoints:
                # They only serve to go on with training, which is over.
                reporter.afterwards(lambda: shutil.rmtree(spec.folder.checkpoints, ignore_errors=True))
    except Exception as problem:
        traceback.print_exc(file=sys.stderr)
        status, error = "failed", outcome.sentence(problem, world)
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
        versions=outcome.versions(spec.config),
        degenerate=progress.degenerate,
    )


_STEPS: Mapping[Step, Callable[[RunSpec, Reporter], RunResult]] = {
    "reference": reference_step.carry_out,
    "evaluation": evaluation_step.carry_out,
}


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


def _run(spec: RunSpec, config: RunConfig, progress: Progress) -> Status:
    try:
        return _trained_and_evaluated(spec, config, progress)
    except Stopped:
        return _stopped(spec)


def _stopped(spec: RunSpec) -> Status:
    """What a run is that was asked to stop: one that nobody will go on with, or one to be gone on with later."""
    return "pruned" if spec.folder.prune.exists() else "cancelled"


def _trained_and_evaluated(spec: RunSpec, config: RunConfig, progress: Progress) -> Status:
    progress.begin("loading")
    policy = load_policy(config, spec.cache_dir, measures.task_of(config))
    progress.heed()
    splits = load_splits(config, policy.tokenizer, spec.cache_dir)
    if progress.world.first:
        _tell_cuts(splits)

    progress.begin("scoring")
    scored = measures.scores_before(config, policy, splits, spec.cache_dir, progress.heed, progress.world)
    run = Prepared(spec, config, policy, splits, scored, progress)
    evaluation = measures.measures_of(run)

    ended = trained(run, evaluation)
    progress.steps = ended.steps
    if ended.stopped:
        return _stopped(spec)

    try:
        progress.begin("evaluating")
        final = evaluation.conclude()
    except Stopped:
        ended.save()
        raise
    progress.degenerate = final.findings.degenerate
    progress.report(ended.steps, final.metrics)
    if progress.world.first:
        write_evaluation(spec.folder.evaluation, config, final, outcome.versions(spec.config))
        progress.tracker.keep(spec.folder.evaluation.root, spec.run_dir)
        if config.training.save_final:
            outcome.save(policy, config, spec.folder)
    return "completed"


def _tell_cuts(splits: Splits) -> None:
    """Say in the run's log what max_length has cut: of chat messages and sets of the hub only the run can tell."""
    told = told_cuts([pair for pairs in splits.pairs.values() for pair in pairs])
    if told:
        print(f"data: {told}", file=sys.stderr)


# The trainer collects garbage before its first step, going over all that torch and trl have made at import: a quarter
# of a second of a small run. None of it ever becomes garbage.
gc.freeze()
