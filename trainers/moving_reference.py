"""A reference that follows the policy while it trains: arXiv:2404.09656.

Only weights that are trained can differ from the policy's, so only those are kept twice: of a LoRA run its adapter.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

_FILE = "moving_reference.safetensors"


class MovingReference:
    """The reference's own copy of the weights that the policy trains."""

    def __init__(self, model: Any, mixup: float, sync_steps: int) -> None:
        """Starts as the policy is now. Every `sync_steps` steps: reference <- mixup policy + (1 - mixup) reference."""
        self._mixup, self._sync_steps = mixup, sync_steps
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._kept = {name: weight.detach().clone() for name, weight in self._trained.items()}

    @contextlib.contextmanager
    def in_place(self, model: Any) -> Iterator[None]:
        """While in here `model` is the reference, without gradients and without dropout."""
        training = model.training
        self._swap()
        model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            model.train(training)
            self._swap()

    def follow(self, step: int) -> None:
        """Take note of an optimiser step that is done."""
        if step % self._sync_steps == 0:
            for name, weight in self._trained.items():
                self._kept[name].lerp_(weight.detach(), self._mixup)

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint's folder. Raises OSError."""
        save_file({name: weight.contiguous() for name, weight in self._kept.items()}, folder / _FILE)

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint. Raises OSError where it holds no moving reference."""
        for name, weight in load_file(folder / _FILE).items():
            self._kept[name].copy_(weight)

    def _swap(self) -> None:
        for name, weight in self._trained.items():
            weight.data, self._kept[name] = self._kept[name], weight.data
