"""The one scorer of all methods: log-probabilities of held-out pairs, and the metrics made of them.

    pairs ── score(policy) ──▶ Scores ─┐
          ── score(reference) ▶ Scores ┴─ metrics ──▶ {"eval/reward_accuracy": 0.71, "eval/margin_nats": 2.3, ...}

Nothing here is multiplied by beta, so that numbers may be compared across strengths and methods.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainers.data import TokenisedPair
from trainers.distributed import ALONE, World
from trainers.errors import TrainersError

# Logits of one forward pass, and of one slice turned to fp32: bounds memory whatever the vocabulary's size.
_FORWARD_LOGITS = 2**28
_SLICE_LOGITS = 2**24


class NonFiniteMetric(TrainersError):
    """A held-out measure is NaN or infinite: the policy gives some answer no finite log-probability."""


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
    sequences = [_Sequence(prompt, answer) for prompt, answer in answers]
    logps = torch.zeros(len(sequences), dtype=torch.float32)
    device = next(model.parameters()).device
    cast = torch.autocast(device.type, autocast) if autocast else contextlib.nullcontext()
    # Not inference_mode: some models cache rotary tables in a forward pass, which training could then not use.
    with eval_mode(model), torch.no_grad(), cast:
        batches = _batches(sequences, batch_size, model.config.get_text_config().vocab_size)
        for batch in world.turns(batches):
            heed()
            if batch is not None:
                logps[batch] = _forward([sequences[index] for index in batch], model, pad_id, device).cpu()
    # Each is zero on all ranks but one: the sum has the very bits of that one.
    return world.sum(logps), torch.tensor([len(sequence.scored) for sequence in sequences], dtype=torch.int64)


def metrics(policy: Scores, reference: Scores) -> dict[str, float]:
    """Measures on n held-out pairs, with h(y) = log π(y|x) - log π_ref(y|x), all sums over tokens, in nats:

    eval/policy_accuracy       share of pairs with log π(chosen) > log π(rejected)
    eval/policy_accuracy_norm  the same per token: log π(y)/|y|
    eval/reward_accuracy       share of pairs with h(chosen) > h(rejected)
    eval/margin_nats           mean of h(chosen) - h(rejected), not times beta
    eval/chosen_logratio       mean of h(chosen)
    eval/rejected_logratio     mean of h(rejected)
    eval/pairs                 n

    A tie counts one half, so an untrained policy has a reward accuracy of 0.5. NaN where a log-probability is not
    finite; see `check_finite`.
    """
    chosen, rejected = policy.chosen_logps.double(), policy.rejected_logps.double()
    chosen_ratio = chosen - reference.chosen_logps.double()
    rejected_ratio = rejected - reference.rejected_logps.double()
    margin = chosen_ratio - rejected_ratio
    return {
        "eval/policy_accuracy": share_positive(chosen - rejected),
        "eval/policy_accuracy_norm": share_positive(chosen / policy.chosen_tokens - rejected / policy.rejected_tokens),
        "eval/reward_accuracy": share_positive(margin),
        "eval/margin_nats": margin.mean().item(),
        "eval/chosen_logratio": chosen_ratio.mean().item(),
        "eval/rejected_logratio": rejected_ratio.mean().item(),
        "eval/pairs": float(len(policy)),
    }


def check_finite(values: Mapping[str, float]) -> None:
    """Raises NonFiniteMetric naming the metrics that are NaN or infinite."""
    broken = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise NonFiniteMetric(f"{', '.join(broken)}: lower training.learning_rate, or raise the strength (beta)")


def share_positive(differences: torch.Tensor) -> float:
    """Share above zero, ties one half; NaN where a difference is, which comparing would hide."""
    if not bool(differences.isfinite().all()):
        return math.nan
    return ((differences > 0).double() + (differences == 0).double() / 2).mean().item()


@dataclass(frozen=True)
class _Sequence:
    prompt: Sequence[int]
    answer: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)

    @property
    def scored(self) -> range:
        """Positions whose token is scored; the very first has nothing before it that could predict it."""
        return range(max(1, len(self.prompt)), len(self))


def _batches(sequences: Sequence[_Sequence], size: int, vocab_size: int) -> Iterator[list[int]]:
    """Indices of like-long sequences, longest first, so that what does not fit fails at once."""
    batch: list[int] = []
    kept = range(0)
    for index in sorted(range(len(sequences)), key=lambda index: -len(sequences[index])):
        own = _kept(sequences[index])
        grown = range(min(kept.start, own.start), max(kept.stop, own.stop)) if batch else own
        if batch and (len(batch) == size or (len(batch) + 1) * len(grown) * vocab_size > _FORWARD_LOGITS):
            yield batch
            batch, grown = [], own
        batch.append(index)
        kept = grown
    if batch:
        yield batch


def _kept(*sequences: _Sequence) -> range:
    """Positions at which some sequence needs logits: those before its scored tokens."""
    first = min(sequence.scored.start for sequence in sequences)
    return range(first - 1, max(len(sequence) for sequence in sequences) - 1)


def _forward(sequences: Sequence[_Sequence], model: Any, pad_id: int, device: torch.device) -> torch.Tensor:
    """Summed log-probabilities of the sequences' answers, float32 of shape (len(sequences),)."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), pad_id)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    scored = torch.zeros((len(sequences), width), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor([*sequence.prompt, *sequence.answer])
        mask[row, : len(sequence)] = 1
        scored[row, sequence.scored.start : sequence.scored.stop] = True
    ids, mask, scored = ids.to(device), mask.to(device), scored.to(device)
    kept = _kept(*sequences)
    logits = _logits(model, ids, mask, kept)
    targets = slice(kept.start + 1, kept.stop + 1)
    rows, columns = scored[:, targets].nonzero(as_tuple=True)
    logps = _log_softmax_at(logits, rows, columns, ids[:, targets][rows, columns])
    return torch.zeros(len(sequences), device=device).index_add_(0, rows, logps)


def _logits(model: Any, ids: torch.Tensor, mask: torch.Tensor, kept: range) -> torch.Tensor:
    """Logits of shape (sequences, len(kept), vocabulary)."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "logits_to_keep" not in inspect.signature(type(base).forward).parameters:
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[:, kept.start : kept.stop]
    positions = torch.arange(kept.start, kept.stop, device=ids.device)
    kept_logits: torch.Tensor = model(
        input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=positions
    ).logits
    return kept_logits


def _log_softmax_at(
    logits: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """log softmax(logits[row, column])[target] in fp32, for each of the (row, column, target)."""
    step = max(1, _SLICE_LOGITS // logits.shape[-1])
    slices = []
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        values = logits[rows[part], columns[part]].float()
        at_target = values.gather(-1, targets[part, None]).squeeze(-1)
        slices.append(at_target - values.logsumexp(-1))
    return torch.cat(slices) if slices else torch.zeros(0, device=logits.device)


@contextlib.contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Without dropout; afterwards the model is in the mode (train or eval) that it had."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
