"""Bytes for people, in GiB: in units of 2**30 bytes drivers tell a GPU's memory, and Slurm a node's.

An A100 "of 80 GB" has 81920 MiB: gib(81920 * MIB) -> "80.0 GiB".
"""

MIB = 2**20
GIB = 2**30


def gib(size: float) -> str:
    """Bytes with their unit: 7_240_000_000 -> "6.74 GiB", 28_960_000_000 -> "27.0 GiB"."""
    return f"{number(size)} GiB"


def number(size: float) -> str:
    """Bytes in GiB without the unit, so that what is added up can be seen to add up: "6.74", "27.0", "<0.01"."""
    in_gib = size / GIB
    if 0 < in_gib < 0.005:
        return "<0.01"
    # By what it is rounded to: 9.996 is 10.0.
    return f"{in_gib:.2f}" if in_gib < 9.995 else f"{in_gib:.1f}"
