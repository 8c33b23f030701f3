"""The command `evaluate`: policies of finished runs, and checkpoints, measured once more without training."""
