"""Trains a run's stages one after the other, its steps counted through, from where an earlier attempt was."""

import contextlib
import dataclasses
from collections.abc import Sequence

from trainers import checkpoints, trl_engine
from trainers.data import TokenisedPair
from trainers.errors import InvalidInput, Stopped
from trainers.evaluation.scorer import Scores
from trainers.measures import Measures, Prepared
from trainers.methods import METHODS
from trainers.progress import Progress, Watch
from trainers.reference import reference_scores
from trainers.schedule import total_steps
from trainers.stage import Materials, Stage
from trainers.stages import stages
from trainers.start import Start


def trained(run: Prepared, evaluation: Measures) -> trl_engine.Ended:
    """Train one stage after the other; steps are counted through.

    Of several stages an attempt takes up the last one that is over, and makes the next ones anew from what is on disk.
    One of nothing is left out. Raises InvalidInput where all are.
    """
    progress, policy, root = run.progress, run.policy, run.spec.folder.checkpoints
    start = Start(policy.model) if METHODS[run.config.method.name].data_format == "prompts" else None
    makers = stages(_materials(run, evaluation, start))
    first, done = progress.world.agreed(checkpoints.newest_ended(root, len(makers)))
    ended, nothing = None, ""
    for number in range(first, len(makers)):
        part = makers[number]()
        if not part.size:
            nothing = part.nothing
            _tell(progress, part, done)
            continue
        if start is not None and part.afresh:
            start.restore()
        own = total_steps(part.config, part.size)
        progress.begin("training", done + own * (len(makers) - number))
        _tell(progress, part, done)
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
                watch=Watch(progress, evaluation, run.config.evaluation, done),
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
    if ended is None:
        raise InvalidInput([f"there is nothing to train on: {nothing}"])
    return dataclasses.replace(ended, steps=done)


def _tell(progress: Progress, part: Stage, done: int) -> None:
    if part.metrics and progress.report(done, part.metrics):
        raise Stopped


def _materials(run: Prepared, evaluation: Measures, start: Start | None) -> Materials:
    config, policy, progress = run.config, run.policy, run.progress

    def score_reference(pairs: Sequence[TokenisedPair]) -> Scores:
        with start.in_place() if start is not None else contextlib.nullcontext():
            made = {"made": pairs}
            return reference_scores(config, policy, made, run.spec.cache_dir, progress.heed, progress.world)["made"]

    return Materials(
        config=config,
        policy=policy,
        pairs=run.splits.pairs["train"],
        prompts=run.prompts if start is not None else (),
        reference=run.scored.get("train"),
        score=evaluation.score,
        score_reference=score_reference,
        folder=run.spec.folder,
        cache_dir=run.spec.cache_dir,
        begin=progress.begin,
        heed=progress.heed,
        world=progress.world,
    )
