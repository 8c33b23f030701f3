"""Only the sentence that nobody can act on is left out."""

import logging

import pytest

import trainers  # noqa: F401


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please make sure", False),
        ("The installed bitsandbytes was compiled without AVX", True),
    ],
)
def test_a_missed_kernel_is_not_told_and_all_else_is(said: str, kept: bool) -> None:
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    record = logger.makeRecord(logger.name, logging.WARNING, __file__, 1, said, ("No module named 'kernels'",), None)
    assert bool(logger.filter(record)) == kept
