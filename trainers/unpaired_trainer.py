"""Trains on answers that are good or bad by themselves, with KTO's loss of `trainers.losses`.

Its point of comparison z₀ is how far the policy has moved from the reference on answers that do not belong to their
prompts: arXiv:2402.01306, section 4.1. It is estimated anew in each micro-batch, and so depends on its size.
"""

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl import DPOTrainer

from trainers.data import TokenisedAnswer, TokenisedPair
from trainers.evaluation.scorer import Scores
from trainers.trainer_base import PreparedTrainer, Row

UnpairedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
# Token ids of a prompt and of an answer to it.
Asked = tuple[list[int], list[int]]

# Of desirable answers, and of others.
_REWARDS = ("rewards/chosen", "rewards/rejected")


def mismatch(pairs: Sequence[TokenisedPair], seed: int, max_length: int) -> list[TokenisedPair]:
    """For each of n pairs its prompt with two answers to other prompts, cut to `max_length`; the same for each seed.

    The answers are the pairs' own in another order, each used once, so that good and bad ones mix. Where more than half
    of the pairs share one prompt, the answers to others are used again; where all do, there are no others.
    """
    lent = _lent([(pair.prompt_ids, ids) for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)], seed)
    return [
        TokenisedPair(
            list(pair.prompt_ids),
            _beside(pair.prompt_ids, first, max_length),
            _beside(pair.prompt_ids, second, max_length),
            truncated=False,
        )
        for pair, first, second in zip(pairs, lent[0::2], lent[1::2], strict=True)
    ]


def beside_others(answers: Sequence[TokenisedAnswer], seed: int, max_length: int) -> list[TokenisedPair]:
    """Each answer as the chosen one of a pair, whose rejected one is an answer to another prompt, as in `mismatch`.

    Both then get the reference's log-probabilities in one go.
    """
    lent = _lent([(answer.prompt_ids, answer.answer_ids) for answer in answers], seed)
    return [
        TokenisedPair(
            list(answer.prompt_ids),
            list(answer.answer_ids),
            _beside(answer.prompt_ids, other, max_length),
            answer.truncated,
            answer.answer_cut,
            answer.prompt_cut,
        )
        for answer, other in zip(answers, lent, strict=True)
    ]


def _lent(answers: Sequence[Asked], seed: int) -> list[list[int]]:
    """For each answer one to another prompt, in a random order of all."""
    lenders = dict(_lenders([tuple(prompt) for prompt, _ in answers], seed))
    return [answers[lenders[place]][1] for place in range(len(answers))]


def _beside(prompt: Sequence[int], other: Sequence[int], max_length: int) -> list[int]:
    """What of an answer to another prompt has room after this one."""
    return list(other[: max(1, max_length - len(prompt))])


def _lenders(kinds: Sequence[Hashable], seed: int) -> Iterator[tuple[int, int]]:
    """Each place of `kinds`, with a place of another kind.

    Standing kind by kind, the most frequent first, each looks ahead as far as there are places of that one.
    """
    order = list(range(len(kinds)))
    random.Random(seed).shuffle(order)  # noqa: S311 - no secret
    groups: dict[Hashable, list[int]] = {}
    for place in order:
        groups.setdefault(kinds[place], []).append(place)
    most = max(groups.values(), key=len)
    others = [place for group in groups.values() if group is not most for place in group]
    line = most + others
    ahead = len(most) if others else 1
    for number, place in enumerate(line):
        enough = number >= len(most) or len(others) >= len(most) or not others
        yield place, line[(number + ahead) % len(line)] if enough else others[number % len(others)]


def unpaired_rows(
    pairs: Sequence[TokenisedPair], reference: Scores, others: Sequence[TokenisedPair], others_reference: Scores
) -> list[Row]:
    """Two rows for each pair, the chosen answer as a desirable one, the rejected as an undesirable one."""
    rows = []
    for number, (pair, other) in enumerate(zip(pairs, others, strict=True)):
        for desirable in (True, False):
            side = "chosen" if desirable else "rejected"
            ids, scores = f"{side}_ids", f"{side}_logps"
            ref, ref_other = getattr(reference, scores)[number], getattr(others_reference, scores)[number]
            both = TokenisedPair(pair.prompt_ids, getattr(pair, ids), getattr(other, ids), pair.truncated)
            rows.append(_row(both, desirable, float(ref), float(ref_other)))
    return rows


def answer_rows(pairs: Sequence[TokenisedPair], desirable: Sequence[bool], reference: Scores) -> list[Row]:
    """A row for each pair of `beside_others`, the chosen answer being the one to learn from."""
    columns = zip(pairs, desirable, reference.chosen_logps.tolist(), reference.rejected_logps.tolist(), strict=True)
    return [_row(pair, good, own, other) for pair, good, own, other in columns]


def _row(pair: TokenisedPair, desirable: bool, ref: float, ref_other: float) -> Row:
    return {
        "prompt_ids": list(pair.prompt_ids),
        "answer_ids": list(pair.chosen_ids),
        "other_ids": list(pair.rejected_ids),
        "desirable": desirable,
        "ref_logps": ref,
        "ref_other_logps": ref_other,
    }


@dataclass(frozen=True)
class UnpairedCollator:
    """Rows to tensors: the answers' sequences, then those of the answers to other prompts."""

    pad_id: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """{"input_ids", "attention_mask", "completion_mask": (2n, T), "desirable": (n,), "ref_logps": (2n,)}."""
        sequences = [(row["prompt_ids"], row[part]) for part in ("answer_ids", "other_ids") for row in rows]
        width = max(len(prompt) + len(answer) for prompt, answer in sequences)
        ids = torch.full((len(sequences), width), self.pad_id)
        attended, answered = (torch.zeros((len(sequences), width), dtype=torch.long) for _ in range(2))
        for number, (prompt, answer) in enumerate(sequences):
            end = len(prompt) + len(answer)
            ids[number, :end] = torch.tensor([*prompt, *answer])
            attended[number, :end] = 1
            answered[number, len(prompt) : end] = 1
        return {
            "input_ids": ids,
            "attention_mask": attended,
            "completion_mask": answered,
            "desirable": torch.tensor([row["desirable"] for row in rows]),
            "ref_logps": torch.tensor([row[part] for part in ("ref_logps", "ref_other_logps") for row in rows]),
        }


class UnpairedTrainer(PreparedTrainer, DPOTrainer):  # type: ignore[misc]
    """Rows are those of `unpaired_rows` or `answer_rows`."""

    def __init__(self, *, loss: UnpairedLoss, reward_scale: float, **kwargs: Any) -> None:
        """`train/rewards/*` are `reward_scale` times the log-ratios, means over all answers of a kind."""
        self._unpaired_loss, self._reward_scale = loss, reward_scale
        super().__init__(**kwargs)
        self.ref_model = None
        self.precompute_ref_logps = True

    def _compute_loss(self, model: Any, inputs: Row, return_outputs: bool) -> Any:
        assert not return_outputs
        count = len(inputs["desirable"])
        own, other = slice(0, count), slice(count, None)
        with torch.no_grad():
            moved = self._logps(model, inputs, other) - inputs["ref_logps"][other]
            kl = moved.mean().clamp(min=0)
        logratios = self._logps(model, inputs, own) - inputs["ref_logps"][own]
        desirable = inputs["desirable"]
        with torch.no_grad():
            self._note(logratios * self._reward_scale, desirable, kl, inputs["attention_mask"][own])
        return self._unpaired_loss(logratios, desirable, kl).mean()

    def _logps(self, model: Any, inputs: Row, part: slice) -> Tensor:
        """log π of one half of the sequences, of shape (n,)."""
        ids, answered = inputs["input_ids"][part], inputs["completion_mask"][part]
        outputs = model(
            input_ids=ids,
            attention_mask=inputs["attention_mask"][part],
            labels=ids.masked_fill(answered == 0, -100),
            use_cache=False,
            fused_lm_head=True,
        )
        logps: Tensor = outputs.log_probs.sum(-1)
        return logps

    def _note(self, rewards: Tensor, desirable: Tensor, kl: Tensor, attended: Tensor) -> None:
        metrics = self._metrics["train"]
        metrics["kl"].append(kl.item())
        for name, kind in zip(_REWARDS, (desirable, ~desirable), strict=True):
            metrics[f"{name}/sum"].append((rewards * kind).mean().item())
            metrics[f"{name}/share"].append(kind.float().mean().item())
        self._total_train_tokens += attended.sum().item()
        metrics["num_tokens"] = [self._total_train_tokens]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the rewards: micro-batches count by how many answers of a kind they hold, which may be none."""
        metrics = self._metrics["train"]
        for name in _REWARDS:
            total, share = (sum(metrics.pop(f"{name}/{part}", [])) for part in ("sum", "share"))
            if share:
                metrics[name] = [total / share]
        if all(name in metrics for name in _REWARDS):
            chosen, rejected = (metrics[name][0] for name in _REWARDS)
            metrics["rewards/margins"] = [chosen - rejected]
        super().log(logs, start_time)
