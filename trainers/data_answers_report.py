"""What a set of single answers holds that a researcher should know before a sweep: counts, and warnings in words.

300 good answers, 100 bad ones, both weighed 1 by method=kto -> a warning that names the weights that make up for it.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainers.config import RunConfig
from trainers.data_answers import Answer
from trainers.data_pairs import Pair, key
from trainers.data_report import DataReport, Lengths, counted, describe
from trainers.data_tokens import cuts_in_words
from trainers.method_config import KTO

# (good answers x their weight) / (bad ones x theirs), as KTO's authors advise: arXiv:2402.01306, section 4.2.
LEAST_BALANCE, MOST_BALANCE = 1.0, 4 / 3
# Weights are written with few digits.
LEEWAY = 0.05


@dataclass(frozen=True)
class AnswersReport:
    """Counts of the answers that are trained on, beside what there is to know of the held-out pairs."""

    desirable: int
    undesirable: int
    # Answers that stand there once more, with the same label.
    duplicates: int
    # Answers that stand there with the other label too.
    both_labels: int
    # Prompts that stand in held-out pairs too.
    shared_prompts: int
    heldout: DataReport
    # Of the answers; None until a tokenizer has counted.
    lengths: Lengths | None = None

    @property
    def answers(self) -> int:
        """Of both kinds."""
        return self.desirable + self.undesirable

    @property
    def train_pairs(self) -> int:
        """As many pairs make as many answers, and as much work."""
        return (self.answers + 1) // 2

    @property
    def heldout_pairs(self) -> int:
        """Pairs that are measured on."""
        return self.heldout.heldout_pairs

    @property
    def longest_tokens(self) -> int | None:
        """Of a sequence that is trained or measured on; None until a tokenizer has counted."""
        known = [
            report.longest_tokens
            for report in (self.lengths, self.heldout)
            if report is not None and report.longest_tokens is not None
        ]
        return max(known, default=None)

    @property
    def mean_tokens(self) -> float | None:
        """Of a sequence that is trained on; None until a tokenizer has counted."""
        return None if self.lengths is None else self.lengths.mean_tokens

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    def summary(self) -> str:
        """What there is, in a line."""
        answers = f"{self.desirable} desirable, {counted(self.undesirable, 'undesirable answer')}"
        return f"{answers}, {counted(self.heldout.heldout_pairs, 'pair')} held out"

    def with_lengths(self, lengths: Lengths, heldout: Lengths) -> "AnswersReport":
        """The same report once a tokenizer has counted answers and held-out pairs."""
        return dataclasses.replace(self, lengths=lengths, heldout=self.heldout.with_lengths(heldout))

    def warnings(self) -> list[str]:
        """What may spoil a sweep on these answers, a sentence each, with counts."""
        found = []
        if self.both_labels:
            found.append(
                f"{self.both_labels} of {self.answers} answers are labelled both ways (same prompt, same answer): "
                "they pull against each other, and teach nothing"
            )
        if self.duplicates:
            found.append(f"{self.duplicates} of {self.answers} answers repeat an earlier one: each copy counts again")
        if self.shared_prompts:
            found.append(
                f"{self.shared_prompts} prompts stand in both train answers and held-out pairs: "
                "held-out accuracy then rewards remembering, and favours weak strengths and many epochs"
            )
        if self.lengths is not None and self.lengths.truncated:
            cut = self.lengths
            told = cuts_in_words(cut.truncated, cut.answers_cut, cut.prompts_cut, self.answers, "answers")
            found.append(f"{told}; raise it, or know that these answers are learnt in part")
        return [*found, *(f"held out: {warning}" for warning in self.heldout.warnings())]


def describe_answers(train: Sequence[Answer], heldout: Sequence[Pair], *, differing_prompts: int = 0) -> AnswersReport:
    """Count."""
    identities = [(key(answer.prompt), key(answer.text), answer.desirable) for answer in train]
    distinct = set(identities)
    desirable = sum(answer.desirable for answer in train)
    return AnswersReport(
        desirable=desirable,
        undesirable=len(train) - desirable,
        duplicates=len(identities) - len(distinct),
        both_labels=sum((prompt, text, not label) in distinct for prompt, text, label in identities),
        shared_prompts=len({prompt for prompt, _, _ in identities} & {key(pair.prompt) for pair in heldout}),
        heldout=describe((), heldout, differing_prompts=differing_prompts),
    )


def unbalanced(config: RunConfig, report: AnswersReport) -> list[str]:
    """A sentence where there are far more answers of one kind, and the method's weights do not make up for it."""
    method = config.method
    good, bad = report.desirable, report.undesirable
    if not isinstance(method, KTO) or not (good and bad and method.desirable_weight and method.undesirable_weight):
        return []
    if 1 / MOST_BALANCE <= good / bad <= MOST_BALANCE:
        return []
    balance = good * method.desirable_weight / (bad * method.undesirable_weight)
    if LEAST_BALANCE * (1 - LEEWAY) <= balance <= MOST_BALANCE * (1 + LEEWAY):
        return []
    weights = f"{method.desirable_weight:g} and {method.undesirable_weight:g}"
    return [
        f"{good} desirable answers against {bad} undesirable ones, weighed {weights}, count {balance:.3g} to 1, "
        f"where 1 to {MOST_BALANCE:.2f} is advised (arXiv:2402.01306, section 4.2): {_mended(method, good / bad)}"
    ]


def _mended(method: KTO, ratio: float) -> str:
    """The weight of the rarer kind that makes up for the ratio of good to bad, as a setting."""
    if ratio > 1:
        most = method.desirable_weight * ratio / LEAST_BALANCE
        return f"method.undesirable_weight={most / MOST_BALANCE:.3g} to {most:.3g} makes up for it"
    least = method.undesirable_weight / ratio * LEAST_BALANCE
    return f"method.desirable_weight={least:.3g} to {least * MOST_BALANCE:.3g} makes up for it"
