"""What this machine offers to training: memory, GPUs, cores.

`Machine.here()` -> Machine(ram_bytes=16_000_000_000, gpu_bytes=(), cores=4)
"""

import functools
import math
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
MIB = 1024**2


@dataclass(frozen=True)
class Machine:
    """Bytes of memory, bytes of each visible GPU, and cores that this process may use."""

    ram_bytes: int
    gpu_bytes: tuple[int, ...] = ()
    cores: int = 1

    @classmethod
    def here(cls) -> "Machine":
        """This machine, as far as this process may use it: within its cgroup, affinity and CUDA_VISIBLE_DEVICES."""
        return _here(os.environ.get("CUDA_VISIBLE_DEVICES"))

    @property
    def training_bytes(self) -> int:
        """Memory one run can train in: of the largest GPU, or main memory where there is none."""
        return max(self.gpu_bytes, default=self.ram_bytes)

    def __str__(self) -> str:
        if self.gpu_bytes:
            return f"the largest GPU here has {self.training_bytes / 1e9:.0f} GB"
        return f"this machine has {self.ram_bytes / 1e9:.0f} GB of memory and no GPU"


@functools.lru_cache(maxsize=8)
def _here(visible: str | None) -> Machine:
    ram = min([psutil.virtual_memory().total, *cgroup_limits(CGROUP)])
    return Machine(ram, visible_gpus(_gpus(), visible), _cores())


def cgroup_limits(root: Path) -> list[int]:
    """Memory limits that a container or job scheduler set, in bytes: version 2's and version 1's files below `root`."""
    limits = []
    for file in (root / "memory.max", root / "memory" / "memory.limit_in_bytes", *_own_group(root)):
        try:
            limits.append(int(file.read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return limits


def _own_group(root: Path) -> list[Path]:
    """This process's group and those above it, for where the root shows the whole machine."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    group = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    inner = root / group
    return [folder / "memory.max" for folder in (inner, *inner.parents) if folder.is_relative_to(root)]


def visible_gpus(gpus: Mapping[str, int] | Sequence[int], visible: str | None) -> tuple[int, ...]:
    """Bytes of the GPUs that CUDA_VISIBLE_DEVICES shows: all where it is unset; CUDA stops at the first unknown one.

    `gpus` are bytes by UUID, in the order of their indices.
    """
    sizes = dict(gpus) if isinstance(gpus, Mapping) else {str(index): size for index, size in enumerate(gpus)}
    if visible is None:
        return tuple(sizes.values())
    shown = []
    for name in filter(None, (part.strip() for part in visible.split(","))):
        if name.isdigit() and int(name) < len(sizes):
            shown.append(list(sizes.values())[int(name)])
        elif matches := [size for uuid, size in sizes.items() if uuid.startswith(name) and not name.isdigit()]:
            shown.append(matches[0])
        else:
            break
    return tuple(shown)


def _gpus() -> dict[str, int]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    query = [program, "--query-gpu=uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        rows = [line.split(",") for line in answer.splitlines() if line.strip()]
        return {uuid.strip(): int(size) * MIB for uuid, size in rows}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def _cores() -> int:
    """Cores that this process may use: a container's quota counts, which os.cpu_count() does not see."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *core_quota(CGROUP)])


def core_quota(root: Path) -> list[int]:
    """Cores that a container's quota allows, none where there is no quota: version 2's file below `root`.

    "150000 100000" -> [2]
    """
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return [max(1, math.ceil(int(quota) / int(period)))]
    except (OSError, ValueError):  # no control group of version 2, or no limit ("max")
        return []
