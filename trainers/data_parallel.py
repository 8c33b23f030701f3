"""What a trainer does otherwise where it is one of several ranks: its share of each step, weighed as on one rank.

The trainer goes through the data as if it were alone: the same batches in the same order, so that steps, schedule and
checkpoints are those of one rank, and a run may go on with another number of them. Of each step's micro-batches it
takes its pieces. DDP takes the mean of the ranks' gradients, which a piece's weight makes the gradient of the step.
"""

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader

from trainers.distributed import World, shares
from trainers.errors import NonFiniteLoss

Row = dict[str, Any]
_IGNORED = -100


@dataclass(frozen=True)
class Piece:
    """A rank's piece of a micro-batch, collated.

    `weight` is its share of the micro-batch's pairs, 0 where a rank without pairs only keeps the others company.
    """

    inputs: Any
    weight: float


class DataParallel:
    """Goes before a trainer of `trainers.trl_engine` in the order of methods; wants its `world` before it trains."""

    world: World
    _piece: Piece | None = None
    _bad: float = 0.0
    # TRL's own count, where it keeps one.
    _total_train_tokens: int = 0

    def __init__(self, **kwargs: Any) -> None:
        # Its successor cannot be asked for through the trainer.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        super().__init__(**kwargs)
        self._weights: list[float] = []
        # TRL gathers some ten metrics in every micro-batch, and of pieces of equal size only: `log` merges them.
        self.accelerator.gather = self.accelerator.gather_for_metrics = _as_it_is  # type: ignore[attr-defined]

    def get_train_dataloader(self) -> Any:
        """The batches of one rank, of rows that are not yet collated."""
        trainer: Any = self
        loader = DataLoader(
            trainer.train_dataset,
            batch_size=trainer._train_batch_size,
            sampler=trainer._get_train_sampler(),
            collate_fn=_as_it_is,
        )
        return prepare_data_loader(
            loader, num_processes=1, process_index=0, use_seedable_sampler=True, data_seed=trainer.args.data_seed
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[Row]], num_batches: int, device: torch.device
    ) -> tuple[list[Piece | None], torch.Tensor | None]:
        """A step's micro-batches: None for those of other ranks, then this rank's pieces; and its number of labels.

        The last one is never None, since it is in its backward pass that gradients are exchanged.
        """
        trainer: Any = self
        batches = list(itertools.islice(epoch_iterator, num_batches))
        if not batches:
            return [], None
        mine = []
        for share in shares(self.world, trainer.args.gradient_accumulation_steps, len(batches)):
            whole = batches[share.micro_batch]
            if rows := share.of(whole):
                mine.append(Piece(trainer.data_collator(rows), len(rows) / len(whole)))
        if not mine:
            mine.append(Piece(trainer.data_collator(batches[0][:1]), 0.0))
        others: list[Piece | None] = [None] * (len(batches) - len(mine))
        return others + mine, _labels(batches, device)

    def training_step(self, model: Any, inputs: Piece | None, num_items_in_batch: torch.Tensor | None = None) -> Any:
        """A piece's part in the step's loss, which is the ranks' mean; nothing for other ranks' micro-batches."""
        if inputs is None:
            return torch.zeros((), device=self.args.device)  # type: ignore[attr-defined]
        self._piece = inputs
        try:
            return super().training_step(model, inputs.inputs, num_items_in_batch)  # type: ignore[misc]
        finally:
            self._piece = None

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: torch.Tensor | None = None
    ) -> Any:
        """TRL's loss of a piece, times what it counts."""
        assert self._piece is not None
        assert not return_outputs
        tokens = self._total_train_tokens
        loss = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)  # type: ignore[misc]
        if not self._piece.weight:
            self._total_train_tokens = tokens
        self._weights.append(self._piece.weight)
        if num_items_in_batch is None:
            return loss * (self.world.size * self._piece.weight)
        # Over all tokens of the step already, and times the number of ranks.
        return loss if self._piece.weight else loss * 0.0

    def _check(self, value: float) -> None:
        """Remembered until all ranks look at it: one that stopped here would leave the others waiting."""
        if not math.isfinite(value):
            self._bad = value

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)  # type: ignore[misc]
        for value in self.world.gather(self._bad):
            if not math.isfinite(value):
                raise NonFiniteLoss(self.state.global_step + 1, value)  # type: ignore[attr-defined]
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With TRL's metrics of all ranks' pieces.

        Those that are means over pairs are as on one rank. Those over tokens (entropy, logits, mean_token_accuracy) are
        where ranks take whole micro-batches; of shared ones they are the mean of the pieces' means.
        """
        trainer: Any = self
        kept = (trainer._metrics if hasattr(trainer, "_metrics") else trainer._stored_metrics)["train"]
        _merge(kept, self._weights, self.world)
        if "num_tokens" in kept:
            kept["num_tokens"] = [sum(self.world.gather(self._total_train_tokens))]
        self._weights = []
        super().log(logs, start_time)  # type: ignore[misc]


def _merge(metrics: dict[str, list[float]], weights: list[float], world: World) -> None:
    """Put in place of each metric's values, one for each piece, their mean over all ranks' pieces."""
    told = world.gather((weights, dict(metrics)))
    for name in set(metrics) - {"num_tokens"}:  # which is a count, from the beginning on
        weighed = [pair for weights, values in told for pair in zip(weights, values[name], strict=True)]
        total = sum(weight for weight, _ in weighed)
        metrics[name] = [sum(weight * value for weight, value in weighed if weight) / total]


def _labels(batches: list[list[Row]], device: torch.device) -> torch.Tensor | None:
    """Tokens that SFT's loss is over, None for losses that are means over pairs."""
    if "labels" not in batches[0][0]:
        return None
    labels = (label for rows in batches for row in rows for label in row["labels"][1:])
    return torch.tensor(sum(label != _IGNORED for label in labels), device=device)


def _as_it_is(value: Any) -> Any:
    return value
