"""Samples answers from a policy to fixed prompts, the same each time for the same seed.

    sample(policy, [Draw([97, 58], key=(seed, 0, 17, 0), room=400)], sampling) -> [Answer([104, 105, 257], "hi", ...)]

Each answer has random numbers of its own, drawn from its key: neither the batch it is in nor what was sampled before it
makes a difference to them. What is left of the batch is rounding: padding moves logits in their last bits, which turns
over a token where a random number falls between the two. So answers are the same for the same batches, and nearly
always for others. What a policy writes is untrusted text: it is never run, and escaped where it is shown.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor

from trainers.distributed import ALONE, World
from trainers.evaluation.passes import asking
from trainers.models import Policy


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn: `temperature` divides the logits, `batch_size` answers share a forward pass.

    At temperature 0 each token is the likeliest one.
    """

    max_new_tokens: int
    temperature: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Draw:
    """One answer to be drawn: the prompt's tokens, what its random numbers come from, and how many tokens it may have.

    `key` holds whole numbers from 0 on, such as (seed, round, prompt, answer); equal keys draw equal random numbers.
    """

    prompt_ids: Sequence[int]
    key: Sequence[int]
    room: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A sampled answer.

    `ids` end in the token that ended it, unless there was no room (`ended` is False); `text` is without special tokens.
    `logps` are log π(y_t | x, y_<t) in nats at temperature 1, one for each id.
    """

    ids: list[int]
    text: str
    logps: list[float]
    ended: bool

    @property
    def logp(self) -> float:
        """log π(y|x), the sum over the tokens."""
        return sum(self.logps)


def sample(
    policy: Policy,
    draws: Sequence[Draw],
    sampling: Sampling,
    heed: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> list[Answer]:
    """An answer for each draw, in their order, from the policy as it is now, with its adapter if it has one.

    The model comes back in the mode (train or eval) it had; global random states are left alone. `heed` is called
    before each batch, and may end it all with an exception. The ranks of `world` share the batches, and all of them get
    all answers; `heed` must then end it on every rank or on none.
    """
    # Like-long prompts share a batch, so that little is padded.
    order = sorted(range(len(draws)), key=lambda index: (len(draws[index].prompt_ids), index))
    batches = [order[start : start + sampling.batch_size] for start in range(0, len(order), sampling.batch_size)]
    found: dict[int, Answer] = {}
    device = next(policy.model.parameters()).device
    with asking(policy.model, policy.autocast):
        for batch in world.turns(batches):
            heed()
            if batch is not None:
                answers = _batch(policy, [draws[index] for index in batch], sampling, device)
                found.update(zip(batch, answers, strict=True))
    merged = {index: answer for part in world.gather(found) for index, answer in part.items()}
    return [merged[index] for index in range(len(draws))]


def _batch(policy: Policy, draws: Sequence[Draw], sampling: Sampling, device: torch.device) -> list[Answer]:
    width = max(len(draw.prompt_ids) for draw in draws)
    ids = torch.full((len(draws), width), policy.pad_id)
    mask = torch.zeros((len(draws), width), dtype=torch.long)
    for row, draw in enumerate(draws):
        ids[row, width - len(draw.prompt_ids) :] = torch.tensor(list(draw.prompt_ids))
        mask[row, width - len(draw.prompt_ids) :] = 1
    longest = min(sampling.max_new_tokens, max(draw.room for draw in draws))
    stops = ends(policy)
    drawn = _Drawn(draws, width, longest, sampling.temperature, device)
    config = GenerationConfig(
        # Greedy on scores of which `_Drawn` leaves one token: the library's own sampling has one seed for a batch.
        do_sample=False,
        num_beams=1,
        max_new_tokens=longest,
        eos_token_id=stops,
        pad_token_id=policy.pad_id,
        use_cache=True,
    )
    with _instead_of_its_own(policy.model, config):
        whole = policy.model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=config,
            logits_processor=[drawn],
        )
    written = whole[:, width:].cpu()
    logps = torch.stack(drawn.logps, dim=1).cpu()
    return [
        _answer(policy, written[row].tolist(), logps[row].tolist(), stops, draw.room) for row, draw in enumerate(draws)
    ]


def _answer(policy: Policy, ids: list[int], logps: list[float], ends: Sequence[int], room: int) -> Answer:
    end = next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))
    kept = ids[: min(end, room)]
    return Answer(kept, text_of(policy, kept), logps[: len(kept)], ended=bool(kept) and kept[-1] in ends)


def text_of(policy: Policy, ids: Sequence[int]) -> str:
    """What an answer says, without special tokens."""
    return str(policy.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def ends(policy: Policy) -> list[int]:
    """Tokens that end an answer: the tokenizer's, and those the model itself declares, as chat models do of a turn."""
    declared = getattr(policy.model.generation_config, "eos_token_id", None)
    own = declared if isinstance(declared, list) else [] if declared is None else [declared]
    return list(dict.fromkeys([int(policy.tokenizer.eos_token_id), *map(int, own)]))


class _Drawn(LogitsProcessor):  # type: ignore[misc]
    """Leaves of each row's scores the token that its next random number draws, and notes its log-probability."""

    def __init__(
        self, draws: Sequence[Draw], prompt_width: int, longest: int, temperature: float, device: torch.device
    ) -> None:
        self._width, self._temperature = prompt_width, temperature
        numbers = np.stack([np.random.Generator(np.random.Philox(list(draw.key))).random(longest) for draw in draws])
        self._numbers = torch.from_numpy(numbers).to(device)
        self.logps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self._width
        logits = scores.float()
        if not self._temperature:
            return self._said(scores, logits, logits.argmax(-1, keepdim=True))
        # In double precision: a cumulated sum over a large vocabulary is else too coarse for rare tokens.
        cumulated = (logits / self._temperature).softmax(-1).double().cumsum(-1)
        wanted = self._numbers[:, step, None] * cumulated[:, -1:]
        # The first token whose cumulated probability exceeds the number: never one of probability 0.
        token = torch.searchsorted(cumulated, wanted, right=True).clamp(max=logits.shape[-1] - 1)
        return self._said(scores, logits, token)

    def _said(self, scores: torch.Tensor, logits: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        self.logps.append((logits.gather(-1, token) - logits.logsumexp(-1, keepdim=True)).squeeze(-1))
        return torch.full_like(scores, -torch.inf).scatter(-1, token, 0.0)


@contextlib.contextmanager
def _instead_of_its_own(model: Any, config: GenerationConfig) -> Iterator[None]:
    """The model's own generation settings (a temperature, a top_p, a penalty) would be mixed in."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    own, base.generation_config = base.generation_config, config
    try:
        yield
    finally:
        base.generation_config = own
