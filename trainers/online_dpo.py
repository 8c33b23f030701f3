"""Online DPO in rounds: two answers of the policy as it is, one preferred by a reward model or a judge; 2402.04792.

round 0: sample, label, train -> round 1: sample from what came of it, ... ; the reference stays where it was
"""

from collections.abc import Sequence
from functools import partial

from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.judge import Judge
from trainers.method_config import DPO, OnlineDPO
from trainers.reward_model import load_reward
from trainers.rounds import heeding_alone, pair_of, prompts_of_round, rated_by, reward_mean, sampler, some
from trainers.samples import Group, Labeller
from trainers.stage import Maker, Materials, Stage


def stages(materials: Materials) -> list[Maker]:
    """One stage a round: of two answers to each prompt by the policy as it is, the preferred one is chosen, w.

    Then DPO's loss, -log σ(β [h(w) - h(l)]). The reference stays; the next round samples from what came of
    this one.
    """
    method = materials.config.method
    assert isinstance(method, OnlineDPO)
    label = _labeller(materials, method)
    return [partial(_stage, materials, method, label, number) for number in range(method.rounds)]


def _labeller(materials: Materials, method: OnlineDPO) -> Labeller:
    heed = heeding_alone(materials)
    if method.reward_model is None:
        return Judge(method.judge, materials.cache_dir / "judge", heed).label
    return rated_by(
        load_reward(method.reward_model, materials.policy, materials.cache_dir, method.sampling_batch), heed
    )


def _stage(materials: Materials, method: OnlineDPO, label: Labeller, number: int) -> Stage:
    materials.begin("sampling")
    prompts = prompts_of_round(materials.prompts, number, method.prompts_per_round, materials.config.seed)
    groups = sampler(materials).groups(f"round-{number}", prompts, 2, label, salt=number)
    pairs = some(preferred(groups), f"no answer was preferred to another in round {number}: raise method.temperature")
    materials.begin("scoring")
    return Stage(
        _trains(materials.config, method), pairs, materials.score_reference(pairs), metrics=_metrics(groups, pairs)
    )


def preferred(groups: Sequence[Group]) -> list[TokenisedPair]:
    """Of each prompt's two answers a pair, the better one chosen; none where they are equally good, or the same."""
    pairs = []
    for group in groups:
        first, second = group.label.rewards
        if first != second and list(group.answers[0].ids) != list(group.answers[1].ids):
            pairs.append(pair_of(group, *((0, 1) if first > second else (1, 0))))
    return pairs


def _metrics(groups: Sequence[Group], pairs: Sequence[TokenisedPair]) -> dict[str, float]:
    """`train/reward_mean` of a judge would be one half for ever: it compares, and is not told of."""
    noted: dict[str, float] = {}
    for group in groups:
        for name, value in group.label.notes.items():
            noted[f"train/{name}"] = noted.get(f"train/{name}", 0.0) + value
    own = noted or {"train/reward_mean": reward_mean(groups)}
    return {**own, "train/ties": float(len(groups) - len(pairs))}


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
