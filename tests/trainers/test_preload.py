"""Importing ahead of the runs must not wake CUDA."""

import subprocess
import sys

import pytest

from trainers.preload import capabilities


@pytest.mark.parametrize(("listing", "found"), [("9.0\n8.6\n", [(9, 0), (8, 6)]), ("12.0", [(12, 0)]), ("", [])])
def test_the_drivers_listing_is_understood(listing: str, found: list[tuple[int, int]]):
    assert capabilities(listing) == found


@pytest.mark.slow
def test_after_the_preload_torch_answers_again_and_cuda_sleeps(repository):
    code = (
        "import torch; before = torch.cuda.get_device_capability\n"
        "import trainers.preload, sys\n"
        "assert torch.cuda.get_device_capability is before\n"
        "assert not torch.cuda.is_initialized()\n"
        "assert {'bitsandbytes', 'trl', 'peft', 'trainers.train'} <= set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
