"""The policy's weights as they were before training, to compare with or to begin again from.

Only those that are trained can change, so only those are kept: of a LoRA run its adapter.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


class Start:
    """A copy of the weights that are trained, made before the first step."""

    def __init__(self, model: Any) -> None:
        """Takes as much memory as they do, where they lie."""
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._kept = {name: weight.detach().clone() for name, weight in self._trained.items()}

    def restore(self) -> None:
        """The model is again what it was."""
        with torch.no_grad():
            for name, weight in self._trained.items():
                weight.copy_(self._kept[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """While in here the model is what it was; it must not be trained."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, weight in self._trained.items():
            weight.data, self._kept[name] = self._kept[name], weight.data
