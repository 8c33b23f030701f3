"""Evaluates a policy that a run has kept once more, without training: a step of its own, in a folder beside the run's.

    runs/evaluation-1a2b3c4d/spec.json (needs t0003, policy checkpoint-40) -> runs/t0003/evaluation/checkpoint-40/

The policy is loaded as the run loaded it, its reference scored, and only then are its own weights put in: with the
run's settings the numbers are the run's own.
"""

import dataclasses
import gc
import time
import traceback

import torch

from trainers import inputs, measures, outcome
from trainers.config_check import check
from trainers.distributed import ALONE, World
from trainers.errors import InvalidInput, Stopped
from trainers.evaluation import harness
from trainers.evaluation.folder import write
from trainers.kept_policy import restored, weights_of
from trainers.measures import Prepared
from trainers.models import load_policy
from trainers.needed_runs import settled
from trainers.progress import Progress
from trainers.quiet import be_quiet
from trainers.spec import Reporter, RunResult, RunSpec, Status
from trainers.splits import load_splits


def carry_out(step: RunSpec, reporter: Reporter) -> RunResult:
    """Measure the policy that the step names by the step's settings, and leave the findings in its run's folder.

    What goes wrong is a failed result, and leaves there what was there before; so does a stop that is asked for.
    """
    if not World.here().first:  # which does it for all of them
        return RunResult(step.run_id, "completed")
    be_quiet()
    started, progress = time.monotonic(), Progress(reporter, ALONE)
    status: Status = "completed"
    error = None
    try:
        _evaluate(step, progress)
    except Stopped:
        status = "cancelled"
    except Exception as problem:
        traceback.print_exc()
        status, error = "failed", outcome.sentence(problem, ALONE)
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
    return RunResult(
        step.run_id,
        status,
        metrics=progress.metrics,
        seconds=time.monotonic() - started,
        error=error,
        versions=outcome.versions(step.config),
        degenerate=progress.degenerate,
    )


def _evaluate(step: RunSpec, progress: Progress) -> None:
    progress.begin("loading")
    (run_id,) = step.needs
    spec = dataclasses.replace(RunSpec.read(step.run_dir.parent / run_id), config=step.config)
    config = check(step.config)
    if faults := inputs.changed(config, step.inputs):
        raise InvalidInput(faults)
    config = settled(config, spec)
    harness.check_tasks(config)
    weights_of(spec.folder, step.policy)  # before anything is loaded
    policy = load_policy(config, step.cache_dir, measures.task_of(config))
    splits = load_splits(config, policy.tokenizer, step.cache_dir)
    splits = dataclasses.replace(splits, pairs={"heldout": splits.pairs["heldout"]})

    progress.begin("scoring")
    # As long as the policy is what it began as, which may be its reference.
    scored = measures.scores_before(config, policy, splits, step.cache_dir, progress.heed)
    policy = restored(policy, config, spec.folder, step.policy, step.cache_dir)
    spec = dataclasses.replace(spec, cache_dir=step.cache_dir)
    evaluation = measures.measures_of(Prepared(spec, config, policy, splits, scored, progress))

    progress.begin("evaluating")
    final = evaluation.conclude()
    progress.degenerate = final.findings.degenerate
    progress.report(0, final.metrics)
    write(spec.folder.evaluation_of(step.policy), config, final, outcome.versions(step.config), step.policy)
