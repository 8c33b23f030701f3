"""What can go wrong in a sweep.

SweepsError
├── EmptySpace      a swept key has no values
├── SpaceError      a space says what cannot be; every fault of it
├── SamplerError    a sampler or pruner that there is not, or arguments that it does not take
├── UnknownTrial    a trial is told that was never asked for, or was told before
├── SpaceChanged    the storage holds the same study with another space
├── StorageError    the storage cannot be reached or read
└── NoPoint         no point was found that keeps the constraints
"""

from collections.abc import Sequence


class SweepsError(Exception):
    """Base of what this package raises on purpose: a message for the user."""


class EmptySpace(SweepsError):
    """There is nothing to try."""


class SpaceError(SweepsError):
    """Faults of a space, each a sentence."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(dict.fromkeys(faults))
        super().__init__("\n".join(self.faults))


class SamplerError(SweepsError):
    """The sampler or pruner cannot be made as it is asked for."""


class UnknownTrial(SweepsError):
    """The trial is not one that waits for its outcome."""


class SpaceChanged(SweepsError):
    """A study goes on in the space that it began in, unless it is asked otherwise."""


class StorageError(SweepsError):
    """The storage of the study does not answer, or is not what it should be."""


class NoPoint(SweepsError):
    """The constraints leave nothing that could be found."""
