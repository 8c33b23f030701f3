"""The exit codes of commands that were understood; one that was not is 2 as well (errors.py)."""

COMPLETED, SOME_FAILED, STOPPED = 0, 1, 130
# As for a command that is at fault: these runs would be refused.
UNFIT = 2
# A controller that is a job of the cluster was told to end before the study was over.
GO_ON_LATER = 75
