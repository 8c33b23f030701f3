"""What our trainers do otherwise than TRL's, whatever the loss.

No second tokenisation, whole checkpoints, and a stop at the first loss that is no number.
"""

import math
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from trainers import checkpoints
from trainers.distributed import ALONE, World
from trainers.errors import NonFiniteLoss
from trainers.stacked import StackedPolicy

Row = dict[str, Any]


class OurTrainer:
    """What our trainers do otherwise than TRL's, whatever the loss."""

    args: Any
    state: Any
    keep_checkpoints: int = 1
    world: World = ALONE
    _save_failed: bool = False

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Stops at a loss that is no number."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        self._check(loss.item())
        return loss

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)  # type: ignore[misc]
        # In fp16 the loss scale starts too high: the first infinite gradients are skipped, not applied.
        if norm is not None and not self.args.fp16:
            self._check(float(norm))
        return norm

    def _check(self, value: float) -> None:
        if not math.isfinite(value):
            raise NonFiniteLoss(self.state.global_step + 1, value)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """A checkpoint only helps to go on later: when it cannot be written, the run goes on now."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        problem = None
        try:
            super()._save_checkpoint(*args, **kwargs)  # type: ignore[misc]
            if self.world.first:
                self._save_files(folder)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        # A checkpoint is whole once every rank has written what is its own.
        problem = next(filter(None, self.world.gather(problem)), None)
        if self.world.first:
            self._settle(folder, problem)

    def _settle(self, folder: Path, problem: str | None) -> None:
        try:
            if problem is None:
                checkpoints.mark_whole(folder)
        except OSError as error:
            problem = f"{type(error).__name__}: {error}"
        if problem is None:
            checkpoints.drop_oldest(folder.parent, self.keep_checkpoints)
            return
        checkpoints.drop(folder)
        if not self._save_failed:
            print(f"checkpoint not saved, the run goes on: {problem}", file=sys.stderr)
        self._save_failed = True

    def _save_files(self, folder: Path) -> None:
        """What a trainer has to keep besides. Raises OSError."""
        model = self.model  # type: ignore[attr-defined]
        if isinstance(model, StackedPolicy):
            model.save_trained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        own = self.model  # type: ignore[attr-defined]
        if isinstance(own, StackedPolicy):
            # In the checkpoint the frozen adapter is one with it.
            own.load_trained(Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def save_now(self) -> None:
        """A checkpoint of this moment, training being over."""
        self._save_checkpoint(self.model, trial=None)  # type: ignore[attr-defined]

    def create_model_card(self, *_args: Any, **_kwargs: Any) -> None:
        """No README.md in checkpoints."""

    def _send_telemetry(self) -> None:
        """Nobody is told what is trained here."""

    def floating_point_ops(self, _inputs: Any) -> int:
        """Not counted: it takes a walk over all parameters at every step."""
        return 0


class PreparedTrainer(OurTrainer):
    """TRL asks for a `datasets.Dataset` at the door, and would go over it again and again: it gets our rows inside."""

    def __init__(self, *, rows: list[Row], **kwargs: Any) -> None:
        self._rows = rows
        super().__init__(train_dataset=Dataset.from_list(rows[:1]), **kwargs)  # type: ignore[call-arg]

    def _prepare_dataset(self, *_args: Any, **_kwargs: Any) -> list[Row]:
        return self._rows
