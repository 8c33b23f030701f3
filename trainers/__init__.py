"""How is one run trained? Takes a RunSpec, returns a RunResult, and knows nothing of sweeps or launchers."""

# Before anything imports the libraries that it quietens.
from trainers import quiet  # noqa: F401
