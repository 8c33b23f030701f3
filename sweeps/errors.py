"""What can go wrong in a sweep.

SweepsError
├── EmptySpace      a swept key has no values
└── UnknownTrial    a trial is told that was never asked for, or was told before
"""


class SweepsError(Exception):
    """Base of what this package raises on purpose."""


class EmptySpace(SweepsError):
    """There is nothing to try."""


class UnknownTrial(SweepsError):
    """The trial is not one that waits for its outcome."""
