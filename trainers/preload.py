"""Imports what training needs, ahead of the runs, without waking CUDA: a CUDA context does not survive a fork.

bitsandbytes, which peft imports, asks torch for the GPUs' compute capability as soon as it is imported, and that starts
CUDA. While it is imported here, the driver's own program answers instead.
"""

import subprocess
from typing import Any

import torch


def capabilities(listing: str) -> list[tuple[int, int]]:
    """Compute capabilities as `nvidia-smi --query-gpu=compute_cap --format=csv,noheader` lists them.

    "9.0\\n8.6\\n" -> [(9, 0), (8, 6)]
    """
    pairs = [line.strip().split(".") for line in listing.splitlines() if line.strip()]
    return [(int(major), int(minor)) for major, minor in pairs]


def _asked_of_the_driver(_device: Any = None) -> tuple[int, int]:
    """Of the lowest GPU: bitsandbytes wants to know which of its libraries suits all of them."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    return min(capabilities(subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout))


_asked_of_torch = torch.cuda.get_device_capability
torch.cuda.get_device_capability = _asked_of_the_driver  # type: ignore[assignment]
try:
    import bitsandbytes  # noqa: F401
finally:
    torch.cuda.get_device_capability = _asked_of_torch

import trainers.train  # noqa: E402, F401
