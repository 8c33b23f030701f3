"""What can go wrong in training, by who can mend it.

TrainersError
├── InvalidInput      the user's config, data or model cannot be trained on; carries every fault found
├── NonFiniteLoss     the loss is NaN or infinite; the run stops at once
├── Stopped           no fault: the run was asked to stop, and was not in the middle of training
└── NonFiniteMetric   an evaluation gave NaN or infinity (trainers.evaluation.pairs)
"""

from collections.abc import Sequence


class TrainersError(Exception):
    """Base of what this package raises on purpose."""


class InvalidInput(TrainersError):
    """Faults in what the user gave, each a sentence saying what was wrong, what was given and what is valid."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class NotAtHand(str):
    """A fault of the place and not of the command: another machine, or a download, has what is missing here."""


class NonFiniteLoss(TrainersError):
    """Training cannot go on: its loss is NaN or infinite."""

    def __init__(self, step: int, loss: float) -> None:
        self.step = step
        super().__init__(
            f"the loss became {loss} at step {step}: lower training.learning_rate, or raise the strength (beta)"
        )


class Stopped(TrainersError):
    """The run was asked to stop while it loaded, scored or evaluated."""
