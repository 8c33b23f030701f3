"""Measures the memory that a run takes, phase by phase: by CUDA's allocator, or on a CPU by torch's own.

meter = new_meter(); meter.begin("scoring"); ...; meter.begin("training"); ...; meter.end()
meter.peaks -> {"loading": 12_000_000, "scoring": 450_000_000, "training": 1_300_000_000}
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol


class Meter(Protocol):
    """Peaks are bytes in use, by phase, the largest of phases of one name; `beside` says what else was measured."""

    peaks: dict[str, int]

    def begin(self, phase: str) -> None: ...

    def end(self) -> None: ...

    def beside(self) -> dict[str, int]: ...


def new_meter() -> Meter:
    import torch

    return CudaMeter() if torch.cuda.is_available() else CpuMeter()


class CudaMeter:
    """What torch's allocator had given out at most; beside it what it had reserved, and what the driver counts besides.

    What the allocator has reserved stays with it from one phase to the next, so that this peak is the whole run's.
    """

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        self.peaks: dict[str, int] = {}
        self._phase = "before"
        self._reserved = 0
        self._cuda.reset_peak_memory_stats()

    def begin(self, phase: str) -> None:
        self._note()
        self._phase = phase
        self._cuda.reset_peak_memory_stats()

    def end(self) -> None:
        self._note()
        free, total = self._cuda.mem_get_info()
        self._context = total - free - self._cuda.memory_reserved()

    def beside(self) -> dict[str, int]:
        """`reserved` at most, and `context`: what CUDA and other processes hold of the GPU besides."""
        return {"reserved": self._reserved, "context": self._context}

    def _note(self) -> None:
        self.peaks[self._phase] = max(self.peaks.get(self._phase, 0), self._cuda.max_memory_allocated())
        self._reserved = max(self._reserved, self._cuda.max_memory_reserved())


class CpuMeter:
    """What torch's CPU allocator has given out at most; beside it how far the process itself grew.

    The allocator tells its profiler of each block; it tells nothing of what other threads do, as loading does, so that
    the profile begins when the weights are there, and the bytes of all tensors that are alive then are added.
    """

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self._marks: list[tuple[int, str]] = []
        self._resident = 0
        self._profile: Any = None
        self._held = 0

    def begin(self, phase: str) -> None:
        if phase == "loading":
            return
        if self._profile is None:
            self._start()
        self._marks.append((time.time_ns(), phase))

    def end(self) -> None:
        self._resident = _resident_peak()
        self._profile.__exit__(None, None, None)
        self.peaks = peaks(_events(self._profile), self._marks, self._held)

    def beside(self) -> dict[str, int]:
        """`resident`: what the process had of memory at most, libraries and all, from the end of loading on."""
        return {"resident": self._resident}

    def _start(self) -> None:
        gc.collect()
        self._held = alive()
        _forget_peak()
        self._profile = _memory_profile()
        self._profile.__enter__()


def peaks(events: list[tuple[int, int]], marks: list[tuple[int, str]], held: int) -> dict[str, int]:
    """The most that was in use in each phase, of (time, bytes given out or, below 0, given back) and (time, phase).

    [(1, 5), (2, -5), (4, 3)], [(0, "a"), (3, "b")], held 10 -> {"a": 15, "b": 13}
    """
    found: dict[str, int] = {}
    waiting = sorted(marks)
    phase, now = "before", held
    for at, size in sorted(events, key=lambda event: event[0]):
        while waiting and waiting[0][0] <= at:
            phase = waiting.pop(0)[1]
            found[phase] = max(found.get(phase, 0), now)
        now += size
        found[phase] = max(found.get(phase, 0), now)
    return found | {phase: max(found.get(phase, 0), now) for _, phase in waiting}


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that torch's CPU allocator gives out at most while `work` is done, beyond what it had given out."""
    gc.collect()
    with _memory_profile() as profile:
        work()
    return max(peaks(_events(profile), [(0, "work")], 0).values(), default=0)


def alive() -> int:
    """Bytes of all tensors in main memory."""
    storages = {}
    for found in _tensors():
        storage = found.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
    return sum(storages.values())


def _tensors() -> Iterator[Any]:
    import torch

    for found in gc.get_objects():
        # Some objects do not even bear being asked for their class.
        with contextlib.suppress(Exception):
            if isinstance(found, torch.Tensor) and found.device.type == "cpu":
                yield found


def _memory_profile() -> Any:
    from torch.profiler import ProfilerActivity, profile

    return profile(activities=[ProfilerActivity.CPU], profile_memory=True)


def _events(profile: Any) -> list[tuple[int, int]]:
    found = profile.profiler.kineto_results.events()
    return [(event.start_ns(), event.nbytes()) for event in found if event.name() == "[memory]"]


def _forget_peak() -> None:
    """Linux then counts the process' largest resident size anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _resident_peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0
