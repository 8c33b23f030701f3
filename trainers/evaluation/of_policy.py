"""The evaluation of a policy: on held-out pairs whenever it is asked for, and as a whole at the end.

PolicyEvaluation(subject, reference).conclude() -> Final({"eval/reward_accuracy": 0.71, "eval/kl": 12.4, ...}, ...)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from trainers.data_config import Bandit, OnePair
from trainers.data_tokens import TokenisedPair
from trainers.evaluation import other_harnesses
from trainers.evaluation.beside_harnesses import NONE, Beside
from trainers.evaluation.examine import NOTHING, Findings, Subject, examine
from trainers.evaluation.pairs import Buckets, all_metrics, check_finite, pair_table
from trainers.evaluation.scorer import Scores, score
from trainers.toy_metrics import toy_metrics


@dataclass(frozen=True)
class Final:
    """All that an evaluation found: every measure, held-out pairs one by one, and what the answers said.

    A measure of held-out pairs is finite; one of answers may be NaN. `others` are other harnesses, whose measures are
    among `metrics`.
    """

    metrics: Mapping[str, float]
    pairs: pa.Table | None = None
    findings: Findings = NOTHING
    others: Beside = NONE


@dataclass(frozen=True)
class PolicyEvaluation:
    """The policy as it is now, beside the reference, whose scores of the held-out pairs are given."""

    subject: Subject
    reference: Scores

    def measure(self) -> dict[str, float]:
        """Of the held-out pairs alone. Raises Stopped in the middle where the run is asked to stop."""
        return self._of_pairs(self.score(self.subject.held.pairs))

    def examine(self) -> Findings:
        """Of sampled answers alone. Raises Stopped as `measure` does."""
        return examine(self.subject)

    def conclude(self) -> Final:
        """Everything. Raises Stopped as `measure` does, and NonFiniteMetric before anything is sampled."""
        scores = self.score(self.subject.held.pairs)
        measured = self._of_pairs(scores)
        check_finite(measured)
        findings = self.examine()
        table = pair_table(self.subject.held, scores, self.reference)
        others = other_harnesses.ask(self.subject, findings)
        return Final({**measured, **findings.metrics, **others.metrics}, table, findings, others)

    def score(self, pairs: Sequence[TokenisedPair]) -> Scores:
        """What the policy says of some pairs, as it is now. Raises Stopped as `measure` does."""
        subject, policy = self.subject, self.subject.policy
        return score(
            policy.model,
            pairs,
            subject.config.evaluation.batch_size,
            policy.pad_id,
            autocast=policy.autocast,
            heed=subject.heed,
            world=subject.world,
        )

    def _of_pairs(self, scores: Scores) -> dict[str, float]:
        found = all_metrics(scores, self.reference, self._buckets)
        data = self.subject.config.data
        if isinstance(data, Bandit | OnePair):
            found |= toy_metrics(self.subject.policy.model, data, scores)
        return found

    @cached_property
    def _buckets(self) -> Buckets:
        return Buckets.of_pairs(self.subject.held)
