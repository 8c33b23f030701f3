"""Work in batches on a GPU whose memory is too full for them: in smaller ones."""

import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from trainers.distributed import World

T = TypeVar("T")


def with_room(work: Callable[[int], T], batch_size: int, world: World) -> T:
    """What `work` gives for a batch size, halved as often as a GPU's memory is too full for it.

    Raises OutOfMemoryError where one at a time is too much, and where several ranks would have to halve together.
    """
    while True:
        try:
            return work(batch_size)
        except torch.OutOfMemoryError:
            if batch_size == 1 or world.shared:
                raise
        # Outside of the handler, whose traceback holds on to what filled the memory.
        torch.cuda.empty_cache()
        batch_size = max(1, batch_size // 2)
        print(f"evaluation: the GPU's memory is full: {batch_size} answers a pass from here on", file=sys.stderr)
