"""What the trained policy's answers to held-out prompts are truly worth, where that is known: in the built-in world."""

from collections.abc import Callable, Sequence
from pathlib import Path

from trainers.config import RunConfig
from trainers.distributed import World
from trainers.generate import Sampling
from trainers.method_config import Sampled
from trainers.models import Policy
from trainers.reward_model import Gold
from trainers.rounds import rated_by, reward_mean
from trainers.samples import Asked, Sampler


def held_out_reward(
    config: RunConfig, policy: Policy, asked: Sequence[Asked], path: Path, heed: Callable[[], None], world: World
) -> dict[str, float]:
    """{"eval/reward": mean gold reward of one answer to each prompt, at temperature 1}; {} for data of other worlds.

    The answers are kept in the file at `path`. `heed` and `world` are as in `trainers.generate.sample`.
    """
    method = config.method
    if config.data.kind != "toy" or not isinstance(method, Sampled):
        return {}
    # Whatever the run itself samples at: measures of different runs must mean the same.
    sampling = Sampling(256, 1.0, method.sampling_batch)
    sampler = Sampler(policy, sampling, path, config.seed, config.training.max_length, heed, world)
    label = rated_by(Gold(), lambda: None)
    return {"eval/reward": reward_mean(sampler.groups("heldout", dict(enumerate(asked)), 1, label, salt=1 << 31))}
