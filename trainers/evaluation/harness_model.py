"""The policy as lm-evaluation-harness asks models: the very weights that were trained, in the precision they were.

Importing this module loads lm_eval, which only the `eval` extra installs; `trainers.evaluation.harness` does so.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from trainers.models import Policy


class AskedPolicy(HFLM):  # type: ignore[misc]
    """lm-eval's wrapper of transformers models, without its progress bars. `heed` is called before each pass."""

    def __init__(self, policy: Policy, batch_size: int, heed: Callable[[], None]) -> None:
        """The model is put into eval mode; the tokenizer is left alone."""
        self._heed = heed
        super().__init__(
            pretrained=policy.model,
            # Its padding is set while it is asked.
            tokenizer=copy.deepcopy(policy.tokenizer),
            backend="causal",
            batch_size=batch_size,
            mixed_precision_dtype=policy.autocast,
            # As `scorer` does: logits of 16 bits are summed in 32.
            softmax_dtype=torch.float32,
        )

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:  # noqa: ARG002
        """As lm-eval's."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:  # noqa: ARG002
        """As lm-eval's."""
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:  # noqa: ARG002
        """As lm-eval's."""
        return super().generate_until(requests, disable_tqdm=True)

    def _model_call(self, *inputs: Any, **named: Any) -> Any:
        self._heed()
        return super()._model_call(*inputs, **named)

    def _model_generate(self, *inputs: Any, **named: Any) -> Any:
        self._heed()
        with torch.no_grad():
            return super()._model_generate(*inputs, **named)
