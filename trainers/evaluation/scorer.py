"""The one scorer of all methods: log-probabilities of answers to prompts.

    pairs ── score(policy) ──▶ Scores ─┐
          ── score(reference) ▶ Scores ┴─ pairs.metrics ──▶ {"eval/reward_accuracy": 0.71, "eval/margin_nats": 2.3, ...}

Nothing here is multiplied by beta, so that numbers may be compared across strengths and methods.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainers.data_tokens import TokenisedPair
from trainers.distributed import ALONE, World
from trainers.evaluation.passes import Answered, asking, batches, laid_out, logits_at, slices


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of n pairs' answers given their prompts.

    `chosen_logps`, `rejected_logps`: float32 of shape (n,), in nats, summed over the answer's tokens.
    `chosen_tokens`, `rejected_tokens`: int64 of shape (n,), how many tokens were summed.
    """

    chosen_logps: torch.Tensor
    rejected_logps: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor

    def __len__(self) -> int:
        return len(self.chosen_logps)

    def at(self, indices: torch.Tensor) -> "Scores":
        """Those of some pairs, by their places."""
        return Scores(
            self.chosen_logps[indices],
            self.rejected_logps[indices],
            self.chosen_tokens[indices],
            self.rejected_tokens[indices],
        )


def score(
    model: Any,
    pairs: Sequence[TokenisedPair],
    batch_size: int,
    pad_id: int,
    *,
    autocast: torch.dtype | None = None,
    heed: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> Scores:
    """Σ_t log π(y_t | x, y_<t) of the chosen and the rejected answers, in the order of `pairs`.

    `batch_size` pairs make a forward pass, fewer where the vocabulary is so large that their logits would not fit.
    Sequences of like length share a pass. `autocast` is the dtype the model trains in, so that policy and reference
    round alike. The model comes back in the mode (train or eval) it had; random states are left alone. `heed` is called
    before each pass, and may end it all with an exception. The ranks of `world` share the passes, and all of them get
    all scores; `heed` must then end it on every rank or on none.
    """
    answers = [(pair.prompt_ids, answer) for pair in pairs for answer in (pair.chosen_ids, pair.rejected_ids)]
    logps, tokens = score_answers(model, answers, 2 * batch_size, pad_id, autocast=autocast, heed=heed, world=world)
    return Scores(logps[0::2], logps[1::2], tokens[0::2], tokens[1::2])


def score_answers(
    model: Any,
    answers: Sequence[tuple[Sequence[int], Sequence[int]]],
    batch_size: int,
    pad_id: int,
    *,
    autocast: torch.dtype | None = None,
    heed: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids of a prompt, ids of an answer to it), ... -> log-probabilities and counts as in Scores, one an answer.

    `batch_size` answers make a forward pass; for the rest see `score`.
    """
    sequences = [Answered(prompt, answer) for prompt, answer in answers]
    logps = torch.zeros(len(sequences), dtype=torch.float32)
    with asking(model, autocast):
        for batch in world.turns(batches(sequences, batch_size, model.config.get_text_config().vocab_size)):
            heed()
            if batch is not None:
                logps[batch] = _forward([sequences[index] for index in batch], model, pad_id).cpu()
    # Each is zero on all ranks but one: the sum has the very bits of that one.
    return world.sum(logps), torch.tensor([len(sequence.scored) for sequence in sequences], dtype=torch.int64)


def _forward(sequences: Sequence[Answered], model: Any, pad_id: int) -> torch.Tensor:
    """Summed log-probabilities of the sequences' answers, float32 of shape (len(sequences),)."""
    laid = laid_out(sequences, pad_id, next(model.parameters()).device)
    logits = logits_at(model, laid, laid.kept)
    rows, columns, targets = laid.targets(laid.kept)
    logps = _log_softmax_at(logits, rows, columns, targets)
    return torch.zeros(len(sequences), device=laid.ids.device).index_add_(0, rows, logps)


def _log_softmax_at(
    logits: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """log softmax(logits[row, column])[target] in fp32, for each of the (row, column, target)."""
    found = []
    for part in slices(len(rows), logits.shape[-1]):
        values = logits[rows[part], columns[part]].float()
        at_target = values.gather(-1, targets[part, None]).squeeze(-1)
        found.append(at_target - values.logsumexp(-1))
    return torch.cat(found) if found else torch.zeros(0, device=logits.device)
