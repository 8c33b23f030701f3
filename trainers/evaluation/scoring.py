"""Who says what answers are worth: the reward model that `evaluation.reward_model` names, or the known reward.

A scorer is anything that rates answers to prompts, `trainers.reward_model.Reward`:

    scorer.rate([Asked(ids, "Recall the sea:")], [Sample(ids, " I love it.", ...)], heed) -> [2.1]
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from trainers.config import RunConfig
from trainers.distributed import World
from trainers.evaluation.room import with_room
from trainers.methods import GOLD
from trainers.models import Policy
from trainers.reference_models import give_back_memory
from trainers.reward_model import Classifier, Gold, Reward, load_reward
from trainers.samples import Asked, Sample

Scorer = Reward


def named(config: RunConfig) -> str | None:
    """Path of who rates this run's answers; None where nobody knows what they are worth."""
    given = config.evaluation.reward_model
    return GOLD if given is None and config.data.kind == "toy" else given


@contextlib.contextmanager
def opened(config: RunConfig, policy: Policy, cache_dir: Path) -> Iterator[Scorer | None]:
    """The scorer, its memory given back at the end. Raises whatever loading a model may raise."""
    path = named(config)
    if path is None or path == GOLD:
        yield None if path is None else Gold()
        return
    held = [load_reward(path, policy, cache_dir, config.evaluation.sampling_batch, key="evaluation.reward_model")]
    try:
        yield held[0]
    finally:
        held.clear()
        give_back_memory()


def rated(
    scorer: Scorer | None,
    asked: Sequence[Asked],
    answers: Sequence[Sample],
    heed: Callable[[], None],
    world: World,
) -> list[float | None]:
    """A reward for each answer to the prompt at its place, None where it has none; for one rank to ask."""
    if scorer is None:
        return [None] * len(answers)

    def found(batch_size: int) -> list[float]:
        sized = replace(scorer, batch_size=batch_size) if isinstance(scorer, Classifier) else scorer
        return sized.rate(asked, answers, heed)

    rewards = with_room(found, scorer.batch_size if isinstance(scorer, Classifier) else 1, world)
    finite = [reward if math.isfinite(reward) else None for reward in rewards]
    if None in finite:
        print(f"evaluation: {finite.count(None)} of {len(finite)} answers have no finite reward", file=sys.stderr)
    return finite
