"""What a policy and its reference say of each token of some answers, from one forward pass of each.

    compare(policy, [reference], [([82, 101], [32, 46, 257])], 16) -> [Compared(logps=[-1.2, -0.3, -2.0], ...)]

Logits are worked off in slices of positions, and are never held for more than a bounded number of tokens times
vocabulary, so that memory is the same for a vocabulary of 128k as for a small one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trainers.distributed import ALONE, World
from trainers.evaluation.beside import Other
from trainers.evaluation.passes import (
    FORWARD_LOGITS,
    SLICE_LOGITS,
    Answered,
    Laid,
    asking,
    batches,
    laid_out,
    logits_at,
    slices,
)
from trainers.models import Policy

# Policy and reference have logits at the same time, and each slice several copies: together no more than the scorer's.
_FORWARD, _SLICE = FORWARD_LOGITS // 4, SLICE_LOGITS // 2


@dataclass(frozen=True)
class Compared:
    """Of an answer's n tokens y_t, each float32 of shape (n,) on the CPU, in nats.

    `logps`: log π(y_t | x, y_<t); `reference_logps`: the same of the reference; `kl`: of π(. | x, y_<t) to the
    reference's, over the whole vocabulary; `entropy`: of π(. | x, y_<t). `ids`: the tokens; a first one that nothing
    predicts is left out.
    """

    ids: Sequence[int]
    logps: Tensor
    reference_logps: Tensor
    kl: Tensor
    entropy: Tensor

    @property
    def logratios(self) -> Tensor:
        """log π(y_t) - log ref(y_t), float64."""
        return self.logps.double() - self.reference_logps.double()


def compare(
    policy: Policy,
    reference: Sequence[Other],
    answers: Sequence[tuple[Sequence[int], Sequence[int]]],
    batch_size: int,
    heed: Callable[[], None] = lambda: None,
    world: World = ALONE,
    *,
    most: int = _FORWARD,
) -> list[Compared]:
    """Of each answer, (ids of a prompt, ids of an answer to it), in their order; at temperature 1.

    Without a reference, reference_logps and kl are NaN. A reference of several models is their log-linear mixture, made
    a probability again at each token. Where it has more or fewer tokens than the policy, as models of one tokenizer
    may, those that both have are compared. `batch_size` answers make a pass, fewer where each model would have more
    than `most` logits at a time; the models come back in the mode they had; `heed` and `world` are as in
    `scorer.score`.
    """
    sequences = [Answered(prompt, answer) for prompt, answer in answers]
    vocab_size = policy.model.config.get_text_config().vocab_size
    found: dict[int, Compared] = {}
    for batch in world.turns(batches(sequences, batch_size, vocab_size, most)):
        heed()
        if batch is not None:
            own = _batch(policy, reference, [sequences[index] for index in batch], vocab_size, most)
            found.update(zip(batch, own, strict=True))
    merged = {index: one for part in world.gather(found) for index, one in part.items()}
    return [merged[index] for index in range(len(sequences))]


def _batch(
    policy: Policy, reference: Sequence[Other], sequences: Sequence[Answered], vocab_size: int, most: int
) -> list[Compared]:
    laid = laid_out(sequences, policy.pad_id, next(policy.model.parameters()).device)
    rows, columns = [], []
    for positions in _parts(laid, vocab_size, most):
        row, values = _at(policy, reference, laid, positions)
        rows.append(row)
        columns.append(values)
    row, values = torch.cat(rows), torch.cat(columns, dim=1)
    # Within a row its tokens stand in their order, whether they came in one part or in several.
    own = [values[:, row == number] for number in range(len(sequences))]
    return [Compared(sequence.scored_ids, *part) for sequence, part in zip(sequences, own, strict=True)]


def _parts(laid: Laid, vocab_size: int, most: int) -> Iterator[range]:
    """Positions whose logits may be there at once: all, but of very long answers, which are passed through again."""
    step = max(1, most // (len(laid.ids) * vocab_size))
    for start in range(laid.kept.start, laid.kept.stop, step):
        yield range(start, min(laid.kept.stop, start + step))


def _at(policy: Policy, reference: Sequence[Other], laid: Laid, positions: range) -> tuple[Tensor, Tensor]:
    """Row of each token, and (logp, reference logp, KL, entropy) of shape (4, tokens), on the CPU."""
    rows, columns, targets = laid.targets(positions)
    said = [_logits(policy.model, laid, positions, policy.autocast)]
    for other in reference:
        with other.in_place():
            said.append(_logits(other.model, _readable(laid, other.model), positions, policy.autocast))
    found = [torch.zeros(4, 0)]
    for part in slices(len(rows), max(logits.shape[-1] for logits in said) * SLICE_LOGITS // _SLICE):
        at = [logits[rows[part], columns[part]].float().log_softmax(-1) for logits in said]
        beside = _mixed(at[1:], [other.weight for other in reference]) if reference else None
        found.append(_of_tokens(at[0], beside, targets[part, None]).cpu())
    return rows.cpu(), torch.cat(found, dim=1)


def _logits(model: Any, laid: Laid, positions: range, autocast: torch.dtype | None) -> Tensor:
    with asking(model, autocast):
        return logits_at(model, laid, positions)


def _readable(laid: Laid, model: Any) -> Laid:
    """With some token of the model's own for each that it does not have: what comes after it is impossible anyway."""
    last = model.get_input_embeddings().num_embeddings - 1
    return replace(laid, ids=laid.ids.clamp(max=last))


def _mixed(logps: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Of several models Σ w_i log p_i, normalised; where they have unlike many tokens, of those that all have."""
    if len(logps) == 1:
        return logps[0]
    known = min(each.shape[-1] for each in logps)
    together = sum(weight * each[:, :known] for weight, each in zip(weights, logps, strict=True))
    assert isinstance(together, Tensor)
    return together.log_softmax(-1)


def _of_tokens(logps: Tensor, beside: Tensor | None, targets: Tensor) -> Tensor:
    """(logp, reference logp, KL, entropy) of shape (4, tokens); log-probabilities are of shape (tokens, vocabulary)."""
    probabilities = logps.exp()

    def mean(values: Tensor) -> Tensor:
        """Under the policy; what it never says counts nothing, whatever its logarithm."""
        share = probabilities[:, : values.shape[-1]]
        return (share * values).masked_fill_(share == 0, 0.0).sum(-1)

    said = logps.gather(-1, targets).squeeze(-1)
    if beside is None:
        unknown = torch.full_like(said, torch.nan)
        return torch.stack([said, unknown, unknown, -mean(logps)])
    known = min(logps.shape[-1], beside.shape[-1])
    kl = mean(logps[:, :known] - beside[:, :known])
    # Rounding alone makes it negative.
    kl = torch.where(kl < 0, torch.zeros_like(kl), kl)
    # What the reference does not have it never says.
    there = targets.squeeze(-1) < beside.shape[-1]
    found = beside.gather(-1, targets.clamp(max=beside.shape[-1] - 1)).squeeze(-1)
    return torch.stack([said, found.masked_fill(~there, -torch.inf), kl, -mean(logps)])
