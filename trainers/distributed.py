"""The ranks that carry out one run together: who they are, what each does of a step, and how they agree.

torchrun starts the ranks and tells each of them in its environment who it is. A run on N ranks computes what it does on
one: each optimiser step has the same pairs, of which every rank takes a share. What one rank has a reason for, a signal
or a NaN, is decided by all together, because a rank that goes its own way leaves the others waiting for ever.

torch is imported when ranks meet: planning asks `micro_batches` without it.
"""

import contextlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from trainers.errors import InvalidInput, TrainersError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

# A rank may wait so long for another that saves a large model or reads it over a slow network. One that has died is
# found out by its connection instead.
_COLLECTIVE_TIMEOUT = timedelta(hours=2)
# Ranks start together, and import the same; where one was told to end meanwhile, the others wait little longer.
_MEET_TIMEOUT_S = 600.0
_MEET_AFTER_STOP_S = 10.0
_MEET_CHECK_S = 0.1


class RankLost(TrainersError):
    """Another rank of the run is gone, and this one cannot go on alone."""


@dataclass(frozen=True)
class World:
    """This process among the ranks of its run; alone unless torchrun started it.

    With one rank every method answers at once. With more, all ranks must call the same methods in the same order, and
    each call waits for all of them.
    """

    rank: int = 0
    size: int = 1
    # Among the ranks on this machine: which of its GPUs this one takes.
    local_rank: int = 0

    @classmethod
    def here(cls) -> "World":
        """As the environment says."""
        if "MASTER_ADDR" not in os.environ or "RANK" not in os.environ:
            return ALONE
        rank, size = int(os.environ["RANK"]), int(os.environ.get("WORLD_SIZE", "1"))
        return cls(rank, size, int(os.environ.get("LOCAL_RANK", "0"))) if size > 1 else ALONE

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    @property
    def shared(self) -> bool:
        """Whether there are other ranks."""
        return self.size > 1

    def turns(self, items: Iterable[T]) -> Iterator[T | None]:
        """This rank's share of the items: each rank gets as many turns, with None where nothing is left for it.

        Five items on two ranks are [0, 2, 4] on one and [1, 3, None] on the other.
        """
        iterator = iter(items)
        while together := list(itertools.islice(iterator, self.size)):
            yield together[self.rank] if self.rank < len(together) else None

    def any(self, flag: bool) -> bool:
        """Whether it is true on some rank."""
        if self.size == 1:
            return flag
        import torch
        import torch.distributed

        answer = torch.tensor([int(flag)])
        torch.distributed.all_reduce(answer, torch.distributed.ReduceOp.MAX)
        return bool(answer.item())

    def sum(self, values: "torch.Tensor") -> "torch.Tensor":
        """The ranks' tensors, which lie on the CPU and have the same shape, added up."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """What each rank gave, by rank; anything that can be pickled."""
        if self.size == 1:
            return [value]
        import torch.distributed

        values: list[T | None] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def agreed(self, value: T) -> T:
        """What the first rank gave."""
        return self.gather(value)[0]


ALONE = World()


def micro_batches(batch_size: int, gradient_accumulation: int, size: int) -> tuple[int, int]:
    """What each of `size` ranks does in an optimiser step, so that all of them do what one would alone.

    (4, 2) on 2 ranks -> (4, 1): whole micro-batches as far as they go;  (4, 1) on 2 ranks -> (2, 1);  (4, 2) on 4 ->
    (2, 1). Raises InvalidInput where the step's pairs cannot be shared evenly.
    """
    across = math.gcd(gradient_accumulation, size)
    parts = size // across
    if batch_size % parts:
        pairs = batch_size * gradient_accumulation
        raise InvalidInput(
            [
                f"training.batch_size={batch_size} x training.gradient_accumulation={gradient_accumulation} = {pairs} "
                f"pairs a step cannot be shared evenly by the {size} ranks of a run: make one of the two a multiple of "
                f"{size}, or give a run as many ranks as divide {pairs}"
            ]
        )
    return batch_size // parts, gradient_accumulation // across


@dataclass(frozen=True)
class Share:
    """What a rank takes of a micro-batch: every `parts`-th pair, from the `part`-th on."""

    micro_batch: int
    part: int
    parts: int

    def of(self, rows: list[T]) -> list[T]:
        """Those of the micro-batch's rows; may be none where the micro-batch is a short one."""
        return rows[self.part :: self.parts]


def shares(world: World, gradient_accumulation: int, micro_batches: int) -> list[Share]:
    """What this rank takes of a step of so many micro-batches: `gradient_accumulation`, or fewer at an epoch's end.

    Micro-batches go round the ranks in groups; the ranks of a group share each of theirs.
    """
    groups = math.gcd(gradient_accumulation, world.size)
    parts = world.size // groups
    group, part = divmod(world.rank, parts)
    return [Share(index, part, parts) for index in range(group, micro_batches, groups)]


@contextlib.contextmanager
def joined(world: World, stop_asked: Callable[[], bool]) -> Iterator[None]:
    """The ranks are connected to each other for as long as this lasts.

    Raises RankLost where some rank does not come. After an exception this rank stays connected until its process ends:
    the others shall not see it go before it has told why.
    """
    if not world.shared:
        yield
        return
    import torch.distributed

    _meet(world, stop_asked)
    yield
    torch.distributed.destroy_process_group()


def _meet(world: World, stop_asked: Callable[[], bool]) -> None:
    import torch
    import torch.distributed
    from torch.distributed.rendezvous import rendezvous

    backend = _backend(world)
    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=_MEET_TIMEOUT_S)))
        _wait_for_all(world, store, stop_asked)
        torch.distributed.init_process_group(
            backend, store=store, rank=world.rank, world_size=world.size, timeout=_COLLECTIVE_TIMEOUT
        )
        # gloo's connections are made in the first call: from here on a dead rank is noticed.
        world.any(False)
    except RuntimeError as error:
        raise RankLost(f"the ranks could not meet: {error}") from error


def _backend(world: World) -> str:
    """Objects and flags go through gloo, gradients on GPUs through nccl; the rank's GPU is made the current one."""
    import torch

    if not torch.cuda.is_available():
        return "gloo"
    gpus = torch.cuda.device_count()
    if world.local_rank >= gpus:
        raise InvalidInput(
            [f"each rank of a run needs a GPU of its own, and {os.environ.get('LOCAL_WORLD_SIZE')} ranks see {gpus}"]
        )
    torch.cuda.set_device(world.local_rank)
    return "cpu:gloo,cuda:nccl"


def _wait_for_all(world: World, store: Any, stop_asked: Callable[[], bool]) -> None:
    """Until every rank is there, looking about: in torch's own waiting no signal is heard."""
    here = [f"prefsweep/{rank}" for rank in range(world.size)]
    store.set(here[world.rank], "here")
    give_up_at = time.monotonic() + _MEET_TIMEOUT_S
    told = False
    while not store.check(here):
        if not told and stop_asked():
            told, give_up_at = True, min(give_up_at, time.monotonic() + _MEET_AFTER_STOP_S)
        if time.monotonic() > give_up_at:
            raise RankLost("another rank of the run did not come")
        time.sleep(_MEET_CHECK_S)


def lost_a_rank(problem: Exception) -> bool:
    """Whether that is what it looks like where another rank is gone: a connection that broke."""
    import torch.distributed

    if isinstance(problem, RankLost | torch.distributed.DistError):
        return True
    signs = ("gloo", "nccl", "connection closed by peer", "connection reset", "broken pipe")
    return isinstance(problem, RuntimeError) and any(sign in str(problem).lower() for sign in signs)
