"""REINFORCE leave-one-out in rounds: some answers to each prompt, each held against the mean of the others; 2402.14740.

What is minimised, and why it is not TRL's RLOOTrainer that does it: `trainers.weighed_trainer`.
"""

from functools import partial

import torch

from trainers.data import TokenisedPair
from trainers.method_config import RLOO
from trainers.reward_model import Reward, load_reward
from trainers.rounds import heeding_alone, pair_of, prompts_of_round, rated_by, reward_mean, sampler
from trainers.samples import Group
from trainers.stage import Maker, Materials, Stage
from trainers.weighed_trainer import WeighedAnswer, advantages


def stages(materials: Materials) -> list[Maker]:
    """One stage a round: k answers y_i to each prompt by the policy as it is, π_old, each held against the others.

    R_i = r(x,y_i) - β h(y_i);  A_i = R_i - mean of R_j over j ≠ i;  ρ_i = π(y_i|x)/π_old(y_i|x)
    loss: -min(ρ_i A_i, clamp(ρ_i, 1 - clip, 1 + clip) A_i), at ρ = 1 the gradient of REINFORCE
    """
    method = materials.config.method
    assert isinstance(method, RLOO)
    assert method.reward_model is not None
    reward = load_reward(method.reward_model, materials.policy, materials.cache_dir, method.sampling_batch)
    return [partial(_stage, materials, method, reward, number) for number in range(method.rounds)]


def _stage(materials: Materials, method: RLOO, reward: Reward, number: int) -> Stage:
    config = materials.config
    materials.begin("sampling")
    groups = sampler(materials).groups(
        f"round-{number}",
        prompts_of_round(materials.prompts, number, method.prompts_per_round, config.seed),
        method.answers,
        rated_by(reward, heeding_alone(materials)),
        salt=number,
    )
    materials.begin("scoring")
    pairs = [pair for group in groups for pair in _two_by_two(group)]
    logps, ref_logps = (
        torch.stack([found.chosen_logps, found.rejected_logps], 1).view(len(groups), -1)[:, : method.answers].double()
        for found in (materials.score(pairs), materials.score_reference(pairs))
    )
    rewards = torch.tensor([list(group.label.rewards) for group in groups], dtype=torch.float64)
    weights = advantages(rewards, logps, ref_logps, method.beta)
    answers = [
        WeighedAnswer(group.asked.ids, answer.ids, logps[row, place].item(), weights[row, place].item())
        for row, group in enumerate(groups)
        for place, answer in enumerate(group.answers)
    ]
    return Stage(
        config,
        answers=answers,
        metrics={
            "train/reward_mean": reward_mean(groups),
            # Of the answers' own policy: the estimate k1, unbiased, which may be negative.
            "train/kl": (logps - ref_logps).mean().item(),
        },
    )


def _two_by_two(group: Group) -> list[TokenisedPair]:
    """The scorer takes pairs; of an odd number of answers the last one goes with itself."""
    last = len(group.answers) - 1
    return [pair_of(group, place, min(place + 1, last)) for place in range(0, last + 1, 2)]
