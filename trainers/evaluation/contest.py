"""A policy's answers beside its opponent's: what each is worth, and who wins, by reward and by judge.

    contest(...) -> Contest({"eval/win_rate": 0.7, "eval/win_rate_lc": 0.62, ...}, [{"reward": 2.1, "win": 1.0}, ...])

A trained policy is worth more than its rating: where a reward model cannot be loaded or a judge stays away, the
measures are NaN, with the reason beside, and the run goes on to its end.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainers.config import RunConfig
from trainers.distributed import World
from trainers.errors import InvalidInput, Stopped
from trainers.evaluation import scoring, wins
from trainers.evaluation.estimates import mean
from trainers.evaluation.judging import judged
from trainers.models import Policy
from trainers.samples import Asked, Sample

Rewards = Sequence[float | None]
_REWARDS = ("eval/reward", "eval/reward_se", "eval/start_reward", *wins.names("win_rate"))


@dataclass(frozen=True)
class Contest:
    """Measures; columns of answers.jsonl, a row a prompt; and by measure why it could not be taken."""

    metrics: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]]
    missing: Mapping[str, str] = field(default_factory=dict)


def contest(
    config: RunConfig,
    policy: Policy,
    cache_dir: Path,
    asked: Sequence[Asked],
    said: Sequence[Sample],
    others: Sequence[Sample] | None,
    heed: Callable[[], None],
    world: World,
) -> Contest:
    """`others` are the opponent's answers to the prompts at their places, None where it could not be asked.

    The first rank asks the raters for all of them. `heed` may end it with an exception where one rank rates alone; of
    several all must end together, which is asked before.
    """
    heed()
    alone = heed if not world.shared else lambda: None
    found = _contest(config, policy, cache_dir, asked, said, others, alone, world) if world.first else None
    agreed = world.agreed(found)
    assert agreed is not None
    return agreed


def _contest(
    config: RunConfig,
    policy: Policy,
    cache_dir: Path,
    asked: Sequence[Asked],
    said: Sequence[Sample],
    others: Sequence[Sample] | None,
    heed: Callable[[], None],
    world: World,
) -> Contest:
    nothing: list[float | None] = [None] * len(said)
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    rewards, start_rewards = nothing, nothing
    if scoring.named(config) is not None:
        rewards, start_rewards, why = _rated(config, policy, cache_dir, asked, said, others, heed, world)
        if why is not None:
            missing |= dict.fromkeys(_REWARDS, why)
    won = wins.by_reward(rewards, start_rewards)
    if scoring.named(config) is not None:
        metrics |= _of_rewards(rewards, start_rewards) | wins.rates("win_rate", won, said, others)

    by_judge = nothing
    if config.evaluation.judge.base_url is not None and others is not None:
        judgement = judged(config, cache_dir, asked, said, others, heed)
        by_judge = list(judgement.wins)
        if judgement.why is not None:
            missing |= dict.fromkeys(wins.names("judge_win_rate"), judgement.why)
        metrics |= judgement.spent
    if config.evaluation.judge.base_url is not None:
        metrics |= wins.rates("judge_win_rate", by_judge, said, others)
    for why in dict.fromkeys(missing.values()):
        print(f"evaluation: {why}", file=sys.stderr)
    rows = [
        {"reward": reward, "start_reward": other, "win": win, "judge_win": judge_win}
        for reward, other, win, judge_win in zip(rewards, start_rewards, won, by_judge, strict=True)
    ]
    return Contest(metrics, rows, missing)


def _rated(
    config: RunConfig,
    policy: Policy,
    cache_dir: Path,
    asked: Sequence[Asked],
    said: Sequence[Sample],
    others: Sequence[Sample] | None,
    heed: Callable[[], None],
    world: World,
) -> tuple[list[float | None], list[float | None], str | None]:
    """Rewards of both, and why there are none."""
    nothing: list[float | None] = [None] * len(said)
    try:
        with scoring.opened(config, policy, cache_dir) as scorer:
            rewards = scoring.rated(scorer, asked, said, heed, world)
            return rewards, nothing if others is None else scoring.rated(scorer, asked, others, heed, world), None
    except Stopped:
        raise
    except Exception as problem:  # of a model that is anybody's
        if not isinstance(problem, InvalidInput):
            traceback.print_exc(file=sys.stderr)
        return nothing, nothing, why_not(f"evaluation.reward_model={scoring.named(config)} cannot rate", problem)


def why_not(what: str, problem: Exception) -> str:
    """What could not be done, and why, in a line."""
    if isinstance(problem, InvalidInput):
        return "; ".join(problem.faults)
    said = str(problem).strip().splitlines()
    return f"{what}: {type(problem).__name__}{f': {said[0]}' if said else ''}"


def _of_rewards(rewards: Rewards, start_rewards: Rewards) -> dict[str, float]:
    """eval/reward, eval/start_reward: mean reward of the policy's answers, and of its opponent's."""
    found: dict[str, float] = {}
    found["eval/reward"], found["eval/reward_se"] = mean([reward for reward in rewards if reward is not None])
    found["eval/start_reward"], _ = mean([reward for reward in start_rewards if reward is not None])
    return found
