"""Who says what answers are worth: the built-in world's known reward, where the data are its own.

A scorer is anything that rates answers to prompts, `trainers.reward_model.Reward`:

    scorer.rate([Asked(ids, "Recall the sea:")], [Sample(ids, " I love it.", ...)], heed) -> [2.1]
"""

import math
import sys
from collections.abc import Callable, Sequence

from trainers.config import RunConfig
from trainers.distributed import World
from trainers.reward_model import Gold, Reward
from trainers.samples import Asked, Sample

Scorer = Reward


def scorer_of(config: RunConfig) -> Scorer | None:
    """Who rates this run's answers; None where nobody knows what they are worth."""
    return Gold() if config.data.kind == "toy" else None


def rated(
    scorer: Scorer | None,
    asked: Sequence[Asked],
    answers: Sequence[Sample],
    heed: Callable[[], None],
    world: World,
) -> list[float | None]:
    """A reward for each answer to the prompt at its place, None where it has none.

    The first rank asks for all of them. `heed` may end it with an exception where one rank rates alone; of several all
    must end together, which is asked before.
    """
    heed()
    rewards: list[float | None] = [None] * len(answers)
    if scorer is not None and world.first:
        found = scorer.rate(asked, answers, heed if not world.shared else lambda: None)
        rewards = [reward if math.isfinite(reward) else None for reward in found]
        if None in rewards:
            print(f"evaluation: {rewards.count(None)} of {len(rewards)} answers have no finite reward", file=sys.stderr)
    return world.agreed(rewards)
