"""What a run measures, and what of it before training, in the form that its method's data have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainers import data
from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.data_config import Bandit, OnePair, Unpaired
from trainers.distributed import ALONE, World
from trainers.evaluation.examine import Findings, Subject
from trainers.evaluation.of_policy import Final, PolicyEvaluation
from trainers.evaluation.scorer import Scores
from trainers.method_reference import scored_for
from trainers.methods import METHODS
from trainers.models import RATING, WRITING, Policy, Task
from trainers.progress import Progress
from trainers.reward_trainer import RewardEvaluation
from trainers.samples import Asked
from trainers.spec import RunSpec
from trainers.splits import Splits, load_splits


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

    @property
    def prompts(self) -> list[Asked]:
        """Those of the training pairs, each once, in the order of the pairs."""
        assert not isinstance(self.config.data, Unpaired | Bandit | OnePair)
        texts = data.load_pairs(self.config.data, self.spec.cache_dir).train
        pairs = zip(texts, self.splits.pairs["train"], strict=True)
        return list({tuple(ids.prompt_ids): Asked(ids.prompt_ids, text.prompt) for text, ids in pairs}.values())


class Measures(Protocol):
    """What is measured of a run's model, as it is now. All raise Stopped in the middle where it is asked to stop."""

    def measure(self) -> dict[str, float]:
        """On the held-out pairs."""

    def examine(self) -> Findings:
        """On what it answers to held-out prompts."""

    def conclude(self) -> Final:
        """All there is. Raises NonFiniteMetric."""

    def score(self, pairs: Sequence[TokenisedPair]) -> Scores:
        """Log-probabilities of some pairs."""


def _beside_reference(run: Prepared) -> Measures:
    progress = run.progress
    heldout, cache_dir = run.splits.heldout, run.spec.cache_dir
    subject = Subject(run.config, run.policy, heldout, cache_dir, progress.heed, progress.world)
    return PolicyEvaluation(subject, run.scored["heldout"])


def _of_rewards(run: Prepared) -> Measures:
    return RewardEvaluation(run.config, run.policy, run.splits.heldout, run.progress.heed, run.progress.world)


# Where a method's data format makes a difference to the story: by what its model is loaded as, what is scored before
# training, and what is measured during and after it.
_TASKS = {"comparisons": RATING}
_SCORED: Mapping[str, Callable[..., dict[str, Scores]]] = {"comparisons": lambda *_anything: {}}
_MEASURES: Mapping[str, Callable[[Prepared], Measures]] = {"comparisons": _of_rewards}


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
