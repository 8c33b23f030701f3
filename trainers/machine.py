"""What this machine offers to training: memory, GPUs, cores.

`Machine.here()` -> Machine(ram_bytes=16_000_000_000, gpu_bytes=(), cores=4)
"""

import dataclasses
import functools
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainers.gpus import GPUS, GPUName, named
from trainers.units import MIB, gib

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """Bytes of memory, bytes of each visible GPU, and cores that this process may use."""

    ram_bytes: int
    gpu_bytes: tuple[int, ...] = ()
    cores: int = 1
    # In the order of gpu_bytes, as CUDA_VISIBLE_DEVICES takes them.
    gpu_ids: tuple[str, ...] = ()
    runs_per_gpu: int = 1
    # What people call it.
    name: str = "this machine"
    # The kind of GPU, where all are of one kind that is known.
    gpu_model: GPUName | None = None

    @classmethod
    def here(cls) -> "Machine":
        """This machine, as far as this process may use it: within its cgroup, affinity and CUDA_VISIBLE_DEVICES."""
        return _here(os.environ.get("CUDA_VISIBLE_DEVICES"))

    def with_gpu(self, gpu: GPUName) -> "Machine":
        """The same machine as if it had one GPU of that kind."""
        kind = f"the kind gpu={gpu}"
        return dataclasses.replace(self, gpu_bytes=(GPUS[gpu].bytes,), gpu_ids=("0",), name=kind, gpu_model=gpu)

    def shared_by(self, runs_per_gpu: int) -> "Machine":
        """The same machine, with so many runs at a time on each GPU."""
        return dataclasses.replace(self, runs_per_gpu=runs_per_gpu)

    @property
    def training_bytes(self) -> int:
        """Memory that any run can count on: a run's share of the smallest GPU, or main memory where there is none."""
        return min(self.gpu_bytes) // self.runs_per_gpu if self.gpu_bytes else self.ram_bytes

    def __str__(self) -> str:
        if self.gpu_bytes:
            shared = f" for launcher.runs_per_gpu={self.runs_per_gpu}" if self.runs_per_gpu > 1 else ""
            here = "here" if self.name == "this machine" else f"of {self.name}"
            told = f"GPU {here} has {gib(min(self.gpu_bytes))}{shared}"
            several = len(set(self.gpu_bytes)) > 1
            return f"the smallest {told} (CUDA_VISIBLE_DEVICES hides it)" if several else f"a {told}"
        return f"{self.name} has {gib(self.ram_bytes)} of memory and no GPU"


@functools.lru_cache(maxsize=8)
def _here(visible: str | None) -> Machine:
    ram = min([psutil.virtual_memory().total, *cgroup_limits(CGROUP)])
    gpus = visible_gpus(_gpus(ram), visible)
    return Machine(
        ram,
        tuple(gpu.bytes for gpu in gpus),
        _cores(),
        tuple(gpu.id for gpu in gpus),
        gpu_model=_model() if gpus else None,
    )


def _model() -> GPUName | None:
    """What the driver calls the GPUs; a partition of one (MIG) is as fast as it is large, and of no known kind."""
    products = set(_driver("--query-gpu=name,mig.mode.current", "--format=csv,noheader").strip().splitlines())
    if len(products) != 1:
        return None
    product, _, partitioned_into = products.pop().partition(",")
    return None if "Enabled" in partitioned_into else named(product)


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


@dataclass(frozen=True)
class GPU:
    """One that CUDA can be shown: whole, or a partition (MIG)."""

    id: str
    bytes: int


def visible_gpus(gpus: Sequence[Sequence[GPU]], visible: str | None) -> list[GPU]:
    """The GPUs that CUDA_VISIBLE_DEVICES shows, by the ids it has for them: all where it is unset.

    `gpus` is as from `partitioned`. CUDA takes beginnings of UUIDs, and for an index the GPU's first partition; it
    stops at the first id that it does not know.
    """
    devices = [device for gpu in gpus for device in gpu]
    if visible is None:
        return devices
    shown = []
    for name in (part.strip() for part in visible.split(",")):
        if name.isdigit():
            found = list(gpus[int(name)][:1]) if int(name) < len(gpus) else []
        else:
            found = [device for device in devices if name and device.id.startswith(name)]
        if not found:
            break
        shown.append(GPU(name, found[0].bytes))
    return shown


def partitioned(gpus: str, listing: str, ram_bytes: int) -> list[list[GPU]]:
    """What each GPU offers: itself, or its partitions (MIG) where it is partitioned.

    An integrated GPU has no memory of its own ("[N/A]") and computes in the machine's.

    `gpus` is of `nvidia-smi --query-gpu=uuid,memory.total,mig.mode.current`, `listing` of `nvidia-smi -L`:

    "GPU-1a, 143771, Enabled" and "  MIG 1g.18gb     Device  0: (UUID: MIG-2b)" -> [[GPU("MIG-2b", 18_000_000_000)]]
    """
    partitions: dict[str, list[GPU]] = {}
    for line in listing.splitlines():
        if found := re.search(r"\(UUID: (GPU-\S+)\)", line):
            owner = partitions.setdefault(found[1], [])
        elif found := re.search(r"MIG .*?\.(\d+)gb.*\(UUID: (\S+)\)", line):
            owner.append(GPU(found[2], int(found[1]) * 10**9))
    offered = []
    for line in filter(str.strip, gpus.splitlines()):
        uuid, mebibytes, mode = (cell.strip() for cell in line.split(","))
        size = int(mebibytes) * MIB if mebibytes.isdigit() else ram_bytes
        offered.append(partitions.get(uuid, []) if mode == "Enabled" else [GPU(uuid, size)])
    return offered


def _gpus(ram_bytes: int) -> list[list[GPU]]:
    gpus = _driver("--query-gpu=uuid,memory.total,mig.mode.current", "--format=csv,noheader,nounits")
    return partitioned(gpus, _driver("-L") if "Enabled" in gpus else "", ram_bytes)


def _driver(*question: str) -> str:
    """What the driver's program answers, nothing where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run([program, *question], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


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
