"""What can go wrong between a command and its study.

OrchestratorError
├── BadCommand      faults in what the user typed or configured; every one of them
├── StudyHeld       another controller works on the study
└── NoStudy         the folder holds no study
"""

from collections.abc import Sequence


class OrchestratorError(Exception):
    """Base of what this package raises on purpose: a message for the user, no traceback, exit code 2."""


class BadCommand(OrchestratorError):
    """Faults found before anything was started, each a sentence."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(dict.fromkeys(faults))
        super().__init__("\n".join(self.faults))


class StudyHeld(OrchestratorError):
    """One controller holds a study at a time."""


class NoStudy(OrchestratorError):
    """The folder is not that of a study."""
