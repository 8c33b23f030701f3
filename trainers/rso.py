"""Statistical rejection sampling optimisation: answers of the start, thinned out, paired, and trained on; 2309.06657.

rewards [3.0, 1.0, 2.9, -4.0], beta 0.5 -> accept() keeps the first for certain, the third with probability 0.82,
the second with 0.018, and the last one hardly ever: what is kept is a sample of the best policy for these rewards
"""

import itertools
import math
import random
from collections.abc import Sequence

from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.method_config import DPO, RSO, Hinge
from trainers.reward_model import load_reward
from trainers.rounds import heeding_alone, pair_of, rated_by, reward_mean, sampler, some
from trainers.samples import Group
from trainers.stage import Maker, Materials, Stage


def stages(materials: Materials) -> list[Maker]:
    """One stage, on pairs of answers y of the start, kept with probability exp([r(x,y) - max r]/rejection_beta).

    What is kept is a sample of π_ref(y|x) exp(r(x,y)/rejection_beta), the best policy for these rewards, thinned from
    `candidates` answers to `accepted` a prompt. The answer of larger reward is chosen, w; the loss is then
    hinge, max(0, 1 - β [h(w) - h(l)]), or dpo, -log σ(β [h(w) - h(l)]).
    """
    return [lambda: _stage(materials)]


def _stage(materials: Materials) -> Stage:
    config, policy = materials.config, materials.policy
    method = config.method
    assert isinstance(method, RSO)
    assert method.reward_model is not None
    materials.begin("sampling")
    reward = load_reward(method.reward_model, policy, materials.cache_dir, method.sampling_batch)
    groups = sampler(materials).groups(
        "candidates",
        dict(enumerate(materials.prompts)),
        method.candidates,
        rated_by(reward, heeding_alone(materials)),
    )
    kept = [accepted(group, method, config.seed) for group in groups]
    pairs = [pair for group, own in zip(groups, kept, strict=True) for pair in paired(group, own, method, config.seed)]
    some(pairs, "no two accepted answers to a prompt differ in reward: raise method.candidates or temperature")
    materials.begin("scoring")
    rewards = [group.label.rewards[index] for group, own in zip(groups, kept, strict=True) for index in own]
    return Stage(
        _trains(config, method),
        pairs,
        materials.score_reference(pairs),
        metrics={
            "train/reward_mean": reward_mean(groups),
            "train/accepted_reward_mean": sum(rewards) / len(rewards),
            "train/made_pairs": float(len(pairs)),
        },
    )


def _trains(config: RunConfig, method: RSO) -> RunConfig:
    """The run's config with the method whose loss is taken."""
    plain = {"f_divergence": "reverse_kl", "f_alpha": 1.0, "length_normalised": False, "sft_weight": 0.0}
    section = (
        Hinge(name="hinge", beta=method.beta)
        if method.loss == "hinge"
        else DPO.model_validate({"name": "dpo", "beta": method.beta, **plain})
    )
    return config.model_copy(update={"method": section})


def accepted(group: Group, method: RSO, seed: int) -> list[int]:
    """Places of a prompt's accepted answers, in the order of their acceptance; equal answers count as one."""
    first = {tuple(answer.ids): place for place, answer in reversed(list(enumerate(group.answers)))}
    places = sorted(first.values())
    draw = random.Random(f"accept {seed} {group.number}")  # noqa: S311 - no secret
    kept = accept([group.label.rewards[place] for place in places], method.rejection_beta, method.accepted, draw)
    return [places[index] for index in kept]


def accept(rewards: Sequence[float], beta: float, count: int, draw: random.Random) -> list[int]:
    """Indices of `count` candidates at most, in the order of acceptance: arXiv:2309.06657, algorithm 1.

    Candidates of reward r are accepted with probability exp((r - best) / beta), best being the largest reward of those
    not yet accepted; all are gone through again and again. Where there are no more than `count`, all are accepted.
    """
    left = list(range(len(rewards)))
    kept: list[int] = []
    while left and len(kept) < count:
        best = max(rewards[index] for index in left)
        for index in list(left):
            if draw.random() < acceptance(rewards[index], best, beta):
                kept.append(index)
                left.remove(index)
            if len(kept) == count:
                break
    return kept


def acceptance(reward: float, best: float, beta: float) -> float:
    """exp((r - best) / β): how probably a candidate stays."""
    return math.exp((reward - best) / beta)


def paired(group: Group, places: Sequence[int], method: RSO, seed: int) -> list[TokenisedPair]:
    """Pairs of a prompt's accepted answers, the larger reward chosen; equal rewards make no pair. Section 3.3 there.

    first_round: two by two in random order. tournament: the winners meet again until one is left.
    """
    order = list(places)
    random.Random(f"pair {seed} {group.number}").shuffle(order)  # noqa: S311 - no secret
    pairs = []
    while len(order) > 1:
        winners = []
        for one, other in itertools.zip_longest(order[::2], order[1::2]):
            if other is None:
                winners.append(one)
                continue
            winner, loser = (one, other) if group.label.rewards[one] >= group.label.rewards[other] else (other, one)
            if group.label.rewards[winner] > group.label.rewards[loser]:
                pairs.append(pair_of(group, winner, loser))
            winners.append(winner)
        if method.pairing == "first_round":
            break
        order = winners
    return pairs
