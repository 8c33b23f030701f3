"""GPUs that runs may be planned for: how much memory each has, how fast it reads it, and how fast it multiplies.

`GPUS["a100-80"]` -> GPUModel(memory_mib=81920, tflops_16=312, tflops_32=19.5, gb_s=2039, bf16=True)

Memory is what the driver's nvidia-smi shows; TFLOP/s are the makers' dense peaks, of tensor cores in 16 bits with sums
in 32, and of 32-bit arithmetic without tensor cores, and GB/s their memory bandwidths (data sheets of A100 SXM, H100
SXM, H200 SXM, L40S, L4, A10, T4 and V100 SXM; white papers of the GA102 and AD102 chips for RTX and A6000).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trainers.units import MIB

GPUName = Literal[
    "a10", "a100-40", "a100-80", "a6000", "h100-80", "h200", "l4", "l40s", "rtx3090", "rtx4090", "t4", "v100-16",
    "v100-32",
]  # fmt: skip


@dataclass(frozen=True)
class GPUModel:
    """Memory in MiB, peaks in 10^12 operations and 10^9 bytes a second, and whether it computes in bf16."""

    memory_mib: int
    tflops_16: float
    tflops_32: float
    gb_s: float
    # In what nvidia-smi calls it, all of these.
    words: tuple[str, ...]
    bf16: bool = True

    @property
    def bytes(self) -> int:
        """Its memory."""
        return self.memory_mib * MIB


GPUS: Mapping[GPUName, GPUModel] = {
    "a10": GPUModel(23028, 125, 31.2, 600, ("A10",)),
    "a100-40": GPUModel(40960, 312, 19.5, 1555, ("A100", "40GB")),
    "a100-80": GPUModel(81920, 312, 19.5, 2039, ("A100", "80GB")),
    "a6000": GPUModel(49140, 154.8, 38.7, 768, ("A6000",)),
    "h100-80": GPUModel(81559, 989, 66.9, 3350, ("H100", "80GB")),
    "h200": GPUModel(143771, 989, 66.9, 4800, ("H200",)),
    "l4": GPUModel(23034, 121, 30.3, 300, ("L4",)),
    "l40s": GPUModel(46068, 362, 91.6, 864, ("L40S",)),
    "rtx3090": GPUModel(24576, 71, 35.6, 936, ("3090",)),
    "rtx4090": GPUModel(24564, 165.2, 82.6, 1008, ("4090",)),
    "t4": GPUModel(15360, 65, 8.1, 320, ("T4",), bf16=False),
    "v100-16": GPUModel(16384, 125, 15.7, 900, ("V100", "16GB"), bf16=False),
    "v100-32": GPUModel(32768, 125, 15.7, 900, ("V100", "32GB"), bf16=False),
}


def named(product: str) -> GPUName | None:
    """The GPU that nvidia-smi calls so, None where it is not in the table.

    "NVIDIA A100-SXM4-80GB" -> "a100-80"
    """
    words = set(product.replace("-", " ").split())
    return next((name for name, gpu in GPUS.items() if set(gpu.words) <= words), None)
