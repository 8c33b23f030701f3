"""What methods that learn from their policy's own answers have in common: which prompts, and who rates the answers."""

import random
from collections.abc import Callable, Mapping, Sequence

from trainers.data import TokenisedPair
from trainers.errors import InvalidInput
from trainers.generate import Sampling
from trainers.method_config import Sampled
from trainers.reward_model import Reward
from trainers.samples import Asked, Group, Label, Labeller, Sample, Sampler
from trainers.stage import Materials


def sampler(materials: Materials) -> Sampler:
    """As the method's settings say, into the run's samples.jsonl."""
    method = materials.config.method
    assert isinstance(method, Sampled)
    return Sampler(
        policy=materials.policy,
        sampling=Sampling(method.max_new_tokens, method.temperature, method.sampling_batch),
        path=materials.folder.samples,
        seed=materials.config.seed,
        max_length=materials.config.training.max_length,
        heed=materials.heed,
        world=materials.world,
    )


def prompts_of_round(prompts: Sequence[Asked], number: int, count: int, seed: int) -> Mapping[int, Asked]:
    """`count` prompts by their place among all, the same for the same seed and round.

    Rounds go through the prompts in a random order and begin anew, in another one, where they come to the end. Where
    there are fewer prompts than `count`, all of them.
    """
    count = min(count, len(prompts))
    taken: list[int] = []
    for place in range(number * count, (number + 1) * count):
        lap, at = divmod(place, len(prompts))
        taken.append(_order(len(prompts), seed, lap)[at])
    # A round across two laps may meet a prompt twice; once is enough.
    return {index: prompts[index] for index in dict.fromkeys(taken)}


def _order(count: int, seed: int, lap: int) -> list[int]:
    order = list(range(count))
    random.Random(f"{seed} {lap}").shuffle(order)  # noqa: S311 - no secret
    return order


def rated_by(reward: Reward, heed: Callable[[], None]) -> Labeller:
    """Labels answers by a reward model."""

    def label(asked: Sequence[Asked], answers: Sequence[Sequence[Sample]]) -> Sequence[Label]:
        flat = [(prompt, answer) for prompt, own in zip(asked, answers, strict=True) for answer in own]
        rewards = iter(reward.rate([prompt for prompt, _ in flat], [answer for _, answer in flat], heed))
        return [Label([next(rewards) for _ in own]) for own in answers]

    return label


def heeding_alone(materials: Materials) -> Callable[[], None]:
    """`heed` for what one rank does by itself: among several, all of them are to be asked, or none."""
    return materials.heed if not materials.world.shared else lambda: None


def pair_of(group: Group, winner: int, loser: int) -> TokenisedPair:
    """Two of a prompt's answers as a pair, in the very tokens that were sampled."""
    chosen, rejected = group.answers[winner], group.answers[loser]
    return TokenisedPair(list(group.asked.ids), list(chosen.ids), list(rejected.ids), truncated=False)


def reward_mean(groups: Sequence[Group]) -> float:
    """Of all answers. Raises ZeroDivisionError where there are none."""
    rewards = [reward for group in groups for reward in group.label.rewards]
    return sum(rewards) / len(rewards)


def some(pairs: Sequence[TokenisedPair], why_not: str) -> Sequence[TokenisedPair]:
    """The pairs; raises InvalidInput, saying why there are none, where there are none."""
    if not pairs:
        raise InvalidInput([f"there is nothing to train on: {why_not}"])
    return pairs
