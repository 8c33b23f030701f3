"""Small real models and configs for the tests of training: policies of known probabilities, runs on the toy data."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.fakes.small_configs import method, run_config
from trainers.config_check import check
from trainers.data import TokenisedPair
from trainers.evaluation.scorer import Scores, score
from trainers.models import Policy
from trainers.spec import RunSpec
from trainers.trl_engine import Training


def run_spec(run_dir: Path, cache_dir: Path, config: Mapping[str, Any]) -> RunSpec:
    run_dir.mkdir(parents=True, exist_ok=True)
    method = str(config["method"]["name"])
    return RunSpec("study", 3, config["seed"], method, {"beta": 0.1}, config, "1a2b3c4d" * 8, run_dir, cache_dir)


class Recorder:
    """Keeps what a run reports, and asks it to stop at a step, or from a phase on, if it is to."""

    def __init__(self, stop_at: int | None = None, stop_in: str | None = None, after_asking: int = 0) -> None:
        """`stop_in` is a phase in which it first answers `after_asking` times that the run may go on."""
        self.phases: list[tuple[str, int | None]] = []
        self.reports: list[tuple[int, dict[str, float]]] = []
        self._stop_at, self._stop_in, self._patience = stop_at, stop_in, after_asking
        self.put_off: list[Callable[[], None]] = []

    def begin(self, phase: str, steps: int | None = None) -> None:
        self.phases.append((phase, steps))

    def report(self, step: int, metrics: Mapping[str, float]) -> bool:
        self.reports.append((step, dict(metrics)))
        return self._stop_at is not None and step >= self._stop_at

    def stop_asked(self) -> bool:
        if self._stop_in is None or self.phases[-1][0] != self._stop_in:
            return False
        self._patience -= 1
        return self._patience < 0

    def afterwards(self, work: Callable[[], None]) -> None:
        self.put_off.append(work)

    def do_what_is_left(self) -> None:
        """As a worker does once the result is on disk."""
        while self.put_off:
            self.put_off.pop(0)()

    def of(self, metric: str) -> list[tuple[int, float]]:
        return [(step, values[metric]) for step, values in self.reports if metric in values]


def llama(vocabulary: int, *, hidden: int, inner: int, layers: int, heads: int, **more: Any) -> LlamaConfig:
    """A Llama that pads with token 0, and has no token at which a text begins or ends."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        **more,
    )


def bandit(log_weights: Sequence[float]) -> Policy:
    """A policy that says token i with probability softmax(log_weights)[i], whatever came before.

    Embeddings of ones leave the normalisation as ones, so that logit i is the sum of the head's row i. Padding is
    token 0, which is an answer too: only masks tell them apart.
    """
    model = LlamaForCausalLM(llama(len(log_weights), hidden=2, inner=2, layers=0, heads=1, rms_norm_eps=0.0))
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(1.0)
        model.lm_head.weight[:] = torch.tensor(log_weights)[:, None] / 2
    words = {f"w{index}": index for index in range(len(log_weights))}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), pad_token="w0", eos_token="w0"
    )
    return Policy(model, tokenizer, "fp32")


def probabilities(policy: Policy) -> torch.Tensor:
    """What the policy says after token 0, float32 of shape (vocabulary,)."""
    with torch.no_grad():
        return policy.model(input_ids=torch.tensor([[0]])).logits[0, -1].softmax(-1)


def pair(chosen: Sequence[int], rejected: Sequence[int], prompt: Sequence[int] = (0,)) -> TokenisedPair:
    return TokenisedPair(list(prompt), list(chosen), list(rejected), truncated=False)


def uniform(pairs: Sequence[TokenisedPair], vocabulary: int) -> Scores:
    """A reference that says every token alike."""
    chosen = torch.tensor([len(pair.chosen_ids) for pair in pairs])
    rejected = torch.tensor([len(pair.rejected_ids) for pair in pairs])
    each = -math.log(vocabulary)
    return Scores(chosen * each, rejected * each, chosen, rejected)


class Ignored:
    """Watches a training and says nothing."""

    def step(self, step: int) -> bool:
        return False

    def logged(self, step: int, metrics: Mapping[str, float]) -> bool:
        return False


def training_of(
    policy: Policy,
    pairs: Sequence[TokenisedPair],
    folder: Path,
    settings: Mapping[str, Any],
    reference: Scores | None = None,
    **changes: Any,
) -> Training:
    """Full fine-tuning on all pairs at every step, the reference being the policy's start unless one is given."""
    config = run_config(
        peft={"kind": "none"},
        training__batch_size=len(pairs),
        training__max_grad_norm=0.0,
        training__logging_steps=1000,
        **{f"training__{key}": value for key, value in changes.items()},
    )
    if reference is None:
        reference = score(policy.model, pairs, 16, policy.pad_id)
    return Training(check({**config, "method": method(**settings)}), policy, pairs, reference, folder, Ignored())
