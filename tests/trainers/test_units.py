"""Bytes as people read them: in GiB, with as many figures as let sums be seen to add up."""

import pytest

from trainers.units import GIB, gib, number


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0.00"), (1, "<0.01"), (85e6, "0.08"), (7.24e9, "6.74"), (9.994 * GIB, "9.99"), (9.996 * GIB, "10.0"),
     (80 * GIB, "80.0")],
)  # fmt: skip
def test_sizes_are_in_gib(size: float, told: str) -> None:
    assert number(size) == told
    assert gib(size) == f"{told} GiB"
