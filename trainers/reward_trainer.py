"""Trains a reward model on pairs: TRL's RewardTrainer, fed with our tokens, and its measures on held-out pairs.

-log σ(r(x, w) - r(x, l)), the Bradley-Terry likelihood that the chosen answer wins: arXiv:2203.02155, eq. 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from trl import RewardTrainer

from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.distributed import World
from trainers.evaluation.examine import NOTHING, Findings
from trainers.evaluation.of_policy import Final
from trainers.evaluation.pairs import Buckets, HeldOut, check_finite, share_positive
from trainers.evaluation.scorer import Scores
from trainers.models import Policy
from trainers.reward_model import rate
from trainers.trainer_base import PreparedTrainer, Row


class RewardPreparedTrainer(PreparedTrainer, RewardTrainer):  # type: ignore[misc]
    """-log σ(r(x,w) - r(x,l)) + center (r(x,w) + r(x,l))², r(x,y) being the number that the model gives an answer.

    Rows are those of `reward_rows`.
    """


def reward_rows(pairs: Sequence[TokenisedPair]) -> list[Row]:
    """{"chosen_ids", "rejected_ids"}: whole sequences, of prompt and answer."""
    return [
        {
            "chosen_ids": [*pair.prompt_ids, *pair.chosen_ids],
            "rejected_ids": [*pair.prompt_ids, *pair.rejected_ids],
        }
        for pair in pairs
    ]


@dataclass(frozen=True)
class RewardEvaluation:
    """The reward model on the held-out pairs, as it is now."""

    config: RunConfig
    policy: Policy
    held: HeldOut
    heed: Callable[[], None]
    world: World

    def measure(self) -> dict[str, float]:
        """Measures on n held-out pairs, r(y) being the reward model's number for an answer:

        eval/reward_accuracy  share of pairs with r(chosen) > r(rejected), a tie counting one half
        eval/rm_margin        mean of r(chosen) - r(rejected), in the reward model's own units: no nats
        eval/pairs            n

        Also by the length of their answers, as those of a policy. Raises Stopped in the middle where the run is asked
        to stop.
        """
        rows = reward_rows(self.held.pairs)
        rated = rate(
            self.policy.model,
            [row[side] for row in rows for side in ("chosen_ids", "rejected_ids")],
            2 * self.config.evaluation.batch_size,
            self.policy.pad_id,
            autocast=self.policy.autocast,
            heed=self.heed,
            world=self.world,
        ).double()
        margins = rated[0::2] - rated[1::2]
        by_length = Buckets.of_pairs(self.held).measured(lambda places: _of_margins(margins[places]))
        return _of_margins(margins) | by_length

    def examine(self) -> Findings:
        """A reward model answers nothing."""
        return NOTHING

    def conclude(self) -> Final:
        """All that is measured. Raises Stopped as `measure` does, and NonFiniteMetric."""
        measured = self.measure()
        check_finite(measured)
        return Final(measured)

    def score(self, _pairs: Sequence[TokenisedPair]) -> Scores:
        """A reward model gives no log-probabilities."""
        raise TypeError("a reward model is no policy")


def _of_margins(margins: Tensor) -> dict[str, float]:
    return {
        "eval/reward_accuracy": share_positive(margins),
        "eval/rm_margin": margins.mean().item(),
        "eval/pairs": float(len(margins)),
    }
