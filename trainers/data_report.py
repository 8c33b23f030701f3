"""What a set of pairs holds that a researcher should know before a sweep: counts, and warnings in words.

The pairs ("2+2?", "4", "5") and ("2+2?", "5", "4") -> both_ways=2, and a warning that says what it does to a sweep.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainers.data_pairs import Pair, key, plain
from trainers.data_tokens import cuts_in_words

# Beyond this share of pairs in which one side is longer, length alone tells chosen from rejected too often ...
LONGER_SHARE = 0.65
# ... if there are enough pairs for the share to mean something: its standard error is then below 0.07.
ENOUGH_PAIRS = 50


@dataclass(frozen=True)
class DataReport:
    """Counts of train and held-out pairs together, unless said otherwise; lengths are in characters."""

    train_pairs: int
    heldout_pairs: int
    # Pairs that stand there once more.
    duplicates: int
    # Pairs whose opposite stands there too: same prompt, answers swapped.
    both_ways: int
    # Rows whose two answers came with different conversations; the chosen one's is the prompt.
    differing_prompts: int
    # Rows of a published set that were left out: an empty text, or equal answers.
    left_out: int
    # Prompts that stand in both train and held-out pairs.
    shared_prompts: int
    # Share of pairs in which the chosen answer is the longer one, of those in which one is longer.
    chosen_longer: float
    chosen_length: float
    rejected_length: float
    # Pairs that training.max_length cuts; of these, pairs of which an answer loses its end, those whose prompt loses
    # its beginning (both may be). None until a tokenizer has counted.
    truncated: int | None = None
    answers_cut: int | None = None
    prompts_cut: int | None = None
    # Tokens of the longest sequence, and of the mean one, prompt and answer together, as far as max_length keeps them.
    longest_tokens: int | None = None
    mean_tokens: float | None = None

    @property
    def pairs(self) -> int:
        """Train and held-out pairs."""
        return self.train_pairs + self.heldout_pairs

    def summary(self) -> str:
        """What there is, in a line."""
        return f"{counted(self.train_pairs, 'train pair')}, {self.heldout_pairs} held out"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    def with_lengths(self, lengths: "Lengths") -> "DataReport":
        """The same report once a tokenizer has counted."""
        return dataclasses.replace(self, **dataclasses.asdict(lengths))

    def warnings(self) -> list[str]:
        """What may spoil a sweep on these pairs, a sentence each, with counts."""
        return [*self._of_labels(), *self._of_rows(), *self._of_lengths()]

    def _of_labels(self) -> list[str]:
        found = []
        if self.both_ways:
            found.append(
                f"{self.both_ways} of {self.pairs} pairs are labelled both ways (same prompt, answers swapped): "
                "they pull against each other, and no setting can get more than half of them right"
            )
        if self.duplicates:
            found.append(
                f"{self.duplicates} of {self.pairs} pairs repeat an earlier pair: "
                "each copy counts again, in training as in the held-out measures"
            )
        if self.shared_prompts:
            found.append(
                f"{self.shared_prompts} prompts stand in both train and held-out pairs: "
                "held-out accuracy then rewards remembering, and favours weak strengths and many epochs"
            )
        return found

    def _of_rows(self) -> list[str]:
        found = []
        if self.differing_prompts:
            found.append(
                f"{self.differing_prompts} rows have different conversations before their two answers: "
                "both answers are scored after the chosen one's, so part of the preference is not about the answer"
            )
        if self.left_out:
            found.append(f"{self.left_out} rows were left out: an empty text, or chosen equal to rejected")
        return found

    def _of_lengths(self) -> list[str]:
        found = []
        lengths = f"mean length {self.chosen_length:.0f} characters against {self.rejected_length:.0f}"
        share = self.chosen_longer
        if self.pairs >= ENOUGH_PAIRS and not 1 - LONGER_SHARE <= share <= LONGER_SHARE:
            side, share = ("chosen", share) if share > 0.5 else ("rejected", 1 - share)
            found.append(
                f"the {side} answer is the longer one in {share:.0%} of {self.pairs} pairs ({lengths}): "
                f"settings that only learn to write {'longer' if side == 'chosen' else 'shorter'} will look good"
            )
        if self.truncated:
            told = cuts_in_words(self.truncated, self.answers_cut or 0, self.prompts_cut or 0, self.pairs)
            found.append(f"{told}; raise it, or know that these pairs are learnt in part")
        return found


@dataclass(frozen=True)
class Lengths:
    """What a tokenizer counted, as the fields of the same names in DataReport."""

    truncated: int
    answers_cut: int
    prompts_cut: int
    longest_tokens: int
    mean_tokens: float


def describe(
    train: Sequence[Pair], heldout: Sequence[Pair], *, differing_prompts: int = 0, left_out: int = 0
) -> DataReport:
    """Count. Takes about 3 s a million pairs."""
    both = [*train, *heldout]
    identities = [(key(pair.prompt), key(pair.chosen), key(pair.rejected)) for pair in both]
    distinct = set(identities)
    lengths = [(len(plain(pair.chosen)), len(plain(pair.rejected))) for pair in both]
    longer, shorter = sum(a > b for a, b in lengths), sum(a < b for a, b in lengths)
    train_prompts = {identity[0] for identity in identities[: len(train)]}
    return DataReport(
        train_pairs=len(train),
        heldout_pairs=len(heldout),
        duplicates=len(identities) - len(distinct),
        both_ways=sum((prompt, rejected, chosen) in distinct for prompt, chosen, rejected in identities),
        differing_prompts=differing_prompts,
        left_out=left_out,
        shared_prompts=len(train_prompts & {identity[0] for identity in identities[len(train) :]}),
        chosen_longer=longer / (longer + shorter) if longer + shorter else 0.5,
        chosen_length=_mean([a for a, _ in lengths]),
        rejected_length=_mean([b for _, b in lengths]),
    )


def counted(number: int, what: str) -> str:
    """1 pair, 2 pairs."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0
