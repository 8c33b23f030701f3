"""Paths as a config has them, turned into those of this machine."""

from pathlib import Path


def local_path(configured: str) -> Path:
    """`~/models/opt` -> /home/ada/models/opt; relative ones, ids of the hub and unknown users' stay as they are."""
    path = Path(configured)
    try:
        return path.expanduser()
    except RuntimeError:  # ~nobody/models
        return path
