"""The built-in policy before it has learnt its language, for tests to which its form matters and not what it says."""

from pathlib import Path

from trainers.world_build import build_policy
from trainers.world_cache import built_once


def untrained(cache_dir: Path, seed: int = 0) -> Path:
    """A folder as `trainers.world.policy` makes it, at once."""
    return built_once(cache_dir / "untrained", str(seed), lambda folder: build_policy(folder, seed, steps=0))
