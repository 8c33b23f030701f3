"""What a run measures, and what of it before training, in the form that its method's data have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from trainers import data
from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.data_config import Bandit, OnePair, Unpaired
from trainers.distributed import ALONE, World
from trainers.evaluation.pairs import metrics
from trainers.evaluation.scorer import Scores, score
from trainers.method_reference import scored_for
from trainers.methods import METHODS
from trainers.models import RATING, WRITING, Policy, Task
from trainers.progress import Progress
from trainers.reward_trainer import RewardEvaluation
from trainers.sampled_reward import held_out_reward
from trainers.samples import Asked
from trainers.spec import RunSpec
from trainers.splits import Splits, load_splits
from trainers.toy_metrics import toy_metrics
from trainers.world_metrics import sample_metrics


@dataclass(frozen=True)
class Prepared:
    """What a run has before it trains. `scored` is by split, as `splits` is."""

    spec: RunSpec
    config: RunConfig
    policy: Policy
    splits: Splits
    scored: Mapping[str, Scores]
    progress: Progress

    @property
    def mismatched(self) -> tuple[Sequence[TokenisedPair], Scores] | None:
        """Answers to other prompts and the reference's scores of them, for methods on unpaired answers."""
        if "mismatched" not in self.scored:
            return None
        return self.splits.pairs["mismatched"], self.scored["mismatched"]

    def prompts(self, split: Literal["train", "heldout"]) -> list[Asked]:
        """Each once, in the order of the pairs."""
        assert not isinstance(self.config.data, Unpaired | Bandit | OnePair)
        texts: Sequence[data.Pair] = getattr(data.load_pairs(self.config.data, self.spec.cache_dir), split)
        pairs = zip(texts, self.splits.pairs[split], strict=True)
        return list({tuple(ids.prompt_ids): Asked(ids.prompt_ids, text.prompt) for text, ids in pairs}.values())


class Measures(Protocol):
    """A run's model on the held-out pairs, as it is now."""

    def measure(self) -> dict[str, float]:
        """Raises Stopped in the middle where the run is asked to stop."""

    def score(self, pairs: Sequence[TokenisedPair]) -> Scores:
        """Log-probabilities of some pairs. Raises Stopped as `measure` does."""


def _beside_reference(run: Prepared) -> Measures:
    heldout = (run.splits.pairs["heldout"], run.scored["heldout"])
    return Evaluation(run.config, run.policy, *heldout, run.progress.heed, run.progress.world)


def _of_rewards(run: Prepared) -> Measures:
    return RewardEvaluation(run.config, run.policy, run.splits.pairs["heldout"], run.progress.heed, run.progress.world)


def _sampled_reward(run: Prepared) -> dict[str, float]:
    asked = run.prompts("heldout")
    progress = run.progress
    return held_out_reward(run.config, run.policy, asked, run.spec.folder.samples, progress.heed, progress.world)


# Where a method's data format makes a difference to the story: by what its model is loaded as, what is scored before
# training, and what is measured during and after it.
_TASKS = {"comparisons": RATING}
_SCORED: Mapping[str, Callable[..., dict[str, Scores]]] = {"comparisons": lambda *_anything: {}}
_MEASURES: Mapping[str, Callable[[Prepared], Measures]] = {"comparisons": _of_rewards}
_AT_THE_END: Mapping[str, Callable[[Prepared], dict[str, float]]] = {"prompts": _sampled_reward}


def task_of(config: RunConfig) -> Task:
    """What the run's model is loaded as."""
    return _TASKS.get(METHODS[config.method.name].data_format, WRITING)


def scores_before(
    config: RunConfig,
    policy: Policy,
    splits: Splits,
    cache_dir: Path,
    heed: Callable[[], None],
    world: World = ALONE,
) -> dict[str, Scores]:
    """What the run needs of its reference, by split; as `trainers.method_reference.scored_for`."""
    score_needed = _SCORED.get(METHODS[config.method.name].data_format, scored_for)
    return score_needed(config, policy, splits.pairs, cache_dir, heed, world)


def score_reference(config: RunConfig, policy: Policy, cache_dir: Path, heed: Callable[[], None]) -> None:
    """Have the reference's scores kept that a run of this config will look for; `policy` may be a stand-in for it."""
    scores_before(config, policy, load_splits(config, policy.tokenizer, cache_dir), cache_dir, heed)


def measures_of(run: Prepared) -> Measures:
    """What is measured on the way, and at the end."""
    return _MEASURES.get(METHODS[run.config.method.name].data_format, _beside_reference)(run)


def at_the_end(run: Prepared) -> dict[str, float]:
    """What is measured once, after training. Raises Stopped as `Measures.measure` does."""
    measure = _AT_THE_END.get(METHODS[run.config.method.name].data_format)
    return {} if measure is None else measure(run)


@dataclass(frozen=True)
class Evaluation:
    """The policy on the held-out pairs, as it is now, beside the reference."""

    config: RunConfig
    policy: Policy
    pairs: Sequence[TokenisedPair]
    reference: Scores
    heed: Callable[[], None]
    world: World

    def measure(self) -> dict[str, float]:
        """Raises Stopped in the middle where the run is asked to stop."""
        scores = self.score(self.pairs)
        found = metrics(scores, self.reference)
        if isinstance(self.config.data, Bandit | OnePair):
            found |= toy_metrics(self.policy.model, self.config.data, scores)
        if self.config.evaluation.samples:
            self.heed()
            found |= sample_metrics(self.policy.model, self.pairs[: self.config.evaluation.samples])
        return found

    def score(self, pairs: Sequence[TokenisedPair]) -> Scores:
        """What the policy says of some pairs, as it is now. Raises Stopped as `measure` does."""
        policy = self.policy
        return score(
            policy.model,
            pairs,
            self.config.evaluation.batch_size,
            policy.pad_id,
            autocast=policy.autocast,
            heed=self.heed,
            world=self.world,
        )
