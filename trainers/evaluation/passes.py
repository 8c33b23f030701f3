"""Lays answers out in forward passes: like-long ones together, and no more logits at a time than memory has room for.

[Sequence([1, 2], [3, 4]), Sequence([1], [2])], two a pass -> [[0, 1]], ids [[1, 2, 3, 4], [1, 2, pad, pad]]
"""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

# Logits of one forward pass, and of one slice turned to fp32: bounds memory whatever the vocabulary's size.
FORWARD_LOGITS = 2**28
SLICE_LOGITS = 2**24


@dataclass(frozen=True)
class Answered:
    """Token ids of a prompt and of an answer that follows it."""

    prompt: Sequence[int]
    answer: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)

    @property
    def scored(self) -> range:
        """Positions whose token is scored; the very first has nothing before it that could predict it."""
        return range(max(1, len(self.prompt)), len(self))

    @property
    def scored_ids(self) -> Sequence[int]:
        """The tokens at those positions."""
        return self.answer[len(self.answer) - len(self.scored) :]


@dataclass(frozen=True)
class Laid:
    """A batch on its device: `ids` and `mask` of shape (n, width), and which of its tokens are scored."""

    ids: torch.Tensor
    mask: torch.Tensor
    scored: torch.Tensor
    # Positions at which some sequence needs logits.
    kept: range

    def targets(self, positions: range) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Row, place in `positions`, and id of each token that the logits there predict; row by row."""
        predicted = slice(positions.start + 1, positions.stop + 1)
        rows, columns = self.scored[:, predicted].nonzero(as_tuple=True)
        return rows, columns, self.ids[:, predicted][rows, columns]


def batches(
    sequences: Sequence[Answered], size: int, vocab_size: int, most: int = FORWARD_LOGITS
) -> Iterator[list[int]]:
    """Indices of like-long sequences, longest first, so that what does not fit fails at once.

    `size` of them a pass, fewer where they would need more than `most` logits.
    """
    batch: list[int] = []
    known = range(0)
    for index in sorted(range(len(sequences)), key=lambda index: -len(sequences[index])):
        own = kept(sequences[index])
        grown = range(min(known.start, own.start), max(known.stop, own.stop)) if batch else own
        if batch and (len(batch) == size or (len(batch) + 1) * len(grown) * vocab_size > most):
            yield batch
            batch, grown = [], own
        batch.append(index)
        known = grown
    if batch:
        yield batch


def kept(*sequences: Answered) -> range:
    """Positions at which some sequence needs logits: those before its scored tokens."""
    first = min(sequence.scored.start for sequence in sequences)
    return range(first - 1, max(len(sequence) for sequence in sequences) - 1)


def laid_out(sequences: Sequence[Answered], pad_id: int, device: torch.device) -> Laid:
    """The sequences from the left, filled up with padding."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), pad_id)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    scored = torch.zeros((len(sequences), width), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor([*sequence.prompt, *sequence.answer])
        mask[row, : len(sequence)] = 1
        scored[row, sequence.scored.start : sequence.scored.stop] = True
    return Laid(ids.to(device), mask.to(device), scored.to(device), kept(*sequences))


def logits_at(model: Any, laid: Laid, positions: range) -> torch.Tensor:
    """Logits of shape (sequences, len(positions), vocabulary)."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "logits_to_keep" not in inspect.signature(type(base).forward).parameters:
        logits: torch.Tensor = model(input_ids=laid.ids, attention_mask=laid.mask, use_cache=False).logits
        return logits[:, positions.start : positions.stop]
    wanted = torch.arange(positions.start, positions.stop, device=laid.ids.device)
    kept_logits: torch.Tensor = model(
        input_ids=laid.ids, attention_mask=laid.mask, use_cache=False, logits_to_keep=wanted
    ).logits
    return kept_logits


def slices(count: int, vocab_size: int) -> Iterator[slice]:
    """Parts of so many rows of logits that may be turned to fp32 at a time."""
    step = max(1, SLICE_LOGITS // vocab_size)
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))


@contextlib.contextmanager
def asking(model: Any, autocast: torch.dtype | None) -> Iterator[None]:
    """While in here the model is asked, without gradients and dropout; it comes back in the mode it had."""
    device = next(model.parameters()).device
    cast = torch.autocast(device.type, autocast) if autocast else contextlib.nullcontext()
    training = model.training
    model.eval()
    try:
        # Not inference_mode: some models cache rotary tables in a forward pass, which training could then not use.
        with torch.no_grad(), cast:
            yield
    finally:
        model.train(training)
