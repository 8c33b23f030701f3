"""What can go wrong between finished runs and what is said of them.

AnalysisError
├── NoRuns          a source holds no run that could be read
├── Incomparable    a metric that means another thing for other values of the compared keys
└── BadQuestion     a key, metric or option that the runs do not have
"""


class AnalysisError(Exception):
    """Base of what this package raises on purpose: a message for the user, no traceback, exit code 2."""


class NoRuns(AnalysisError):
    """There is nothing to look at."""


class Incomparable(AnalysisError):
    """The metric ranks nothing across these keys."""


class BadQuestion(AnalysisError):
    """The runs know nothing of what was asked."""
