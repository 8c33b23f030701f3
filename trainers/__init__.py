"""How is one run trained? Takes a RunSpec, returns a RunResult, and knows nothing of sweeps or launchers."""
