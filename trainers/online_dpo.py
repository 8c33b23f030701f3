"""Online DPO in rounds: two answers of the policy as it is, one preferred by a reward model or a judge; 2402.04792.

round 0: sample, label, train -> round 1: sample from what came of it, ... ; the reference stays where it was. A round
in which no answer was preferred to another trains nothing.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.judge import Judge
from trainers.judge_bill import Bill
from trainers.method_config import DPO, OnlineDPO
from trainers.reward_model import load_reward
from trainers.rounds import heeding_alone, pair_of, prompts_of_round, rated_by, reward_mean, sampler
from trainers.samples import Asked, Group, Labeller, SampleFile
from trainers.stage import Maker, Materials, Stage

# What has been spent by this run so far, by the names of metrics.
Spent = Callable[[], dict[str, float]]


def stages(materials: Materials) -> list[Maker]:
    """One stage a round: of two answers to each prompt by the policy as it is, the preferred one is chosen, w.

    Then DPO's loss, -log σ(β [h(w) - h(l)]). The reference stays; the next round samples from what came of
    this one.
    """
    method = materials.config.method
    assert isinstance(method, OnlineDPO)
    label, spent = _labeller(materials, method)
    return [partial(_stage, materials, method, label, spent, number) for number in range(method.rounds)]


def _labeller(materials: Materials, method: OnlineDPO) -> tuple[Labeller, Spent]:
    heed = heeding_alone(materials)
    if method.reward_model is None:
        settings, bill = method.judge, Bill(materials.folder.judge_bill)
        judge = Judge(settings, materials.cache_dir / "judge", bill, heed)
        return judge.label, lambda: bill.totals(settings.price_in, settings.price_out)
    reward = load_reward(method.reward_model, materials.policy, materials.cache_dir, method.sampling_batch)
    return rated_by(reward, heed), dict


def _stage(materials: Materials, method: OnlineDPO, label: Labeller, spent: Spent, number: int) -> Stage:
    materials.begin("sampling")
    groups = sampler(materials).groups(f"round-{number}", _prompts(materials, method, number), 2, label, salt=number)
    pairs = preferred(groups)
    own = {"train/ties": float(len(groups) - len(pairs)), "train/made_pairs": float(len(pairs))}
    if method.reward_model is not None:  # a judge's would be one half for ever
        own["train/reward_mean"] = reward_mean(groups)
    found = {**own, **_so_far(materials, method, spent, number)}
    if not pairs:
        nothing = f"in none of {method.rounds} rounds was an answer preferred to another: raise method.temperature"
        return Stage(materials.config, metrics=found, nothing=nothing)
    materials.begin("scoring")
    return Stage(_trains(materials.config, method), pairs, materials.score_reference(pairs), metrics=found)


def _prompts(materials: Materials, method: OnlineDPO, number: int) -> Mapping[int, Asked]:
    return prompts_of_round(materials.prompts, number, method.prompts_per_round, materials.config.seed)


def _so_far(materials: Materials, method: OnlineDPO, spent: Spent, number: int) -> dict[str, float]:
    """What is counted through all rounds, from what is on disk: so an attempt that goes on counts on."""

    def count() -> dict[str, float]:
        file = SampleFile(materials.folder.samples)
        rounds = [file.groups(f"round-{n}", _prompts(materials, method, n)).values() for n in range(number + 1)]
        counts = Counter(spent())
        for group in itertools.chain(*rounds):
            counts.update(group.label.notes)
        told = {f"train/{name}": value for name, value in counts.items()}
        return {**told, "train/skipped_rounds": float(sum(not preferred(list(groups)) for groups in rounds))}

    return materials.world.agreed(count() if materials.world.first else {})


def preferred(groups: Sequence[Group]) -> list[TokenisedPair]:
    """Of each prompt's two answers a pair, the better one chosen; none where they are equally good, or the same."""
    pairs = []
    for group in groups:
        first, second = group.label.rewards
        if first != second and list(group.answers[0].ids) != list(group.answers[1].ids):
            pairs.append(pair_of(group, *((0, 1) if first > second else (1, 0))))
    return pairs


def _trains(config: RunConfig, method: OnlineDPO) -> RunConfig:
    """The run's config with DPO as its method."""
    section = DPO(
        name="dpo",
        beta=method.beta,
        f_divergence="reverse_kl",
        f_alpha=1.0,
        length_normalised=False,
        sft_weight=0.0,
    )
    return config.model_copy(update={"method": section})
