"""Made-up measurements with known means, seed effects and prompt effects, for tests by simulation."""

import numpy as np

from analysis.statistics.crossed import Floats
from analysis.statistics.samples import Sample


def sample(values: Floats, first_seed: int = 0, share: float = 0.0) -> Sample:
    """A sample of values of shape (seeds, prompts), seeds and prompts numbered through."""
    seeds, prompts = values.shape
    numbers = tuple(range(first_seed, first_seed + seeds))
    return Sample(numbers, values.mean(1), values, np.arange(prompts), np.ones(prompts), share)


def layout(random: np.random.Generator, seeds: int, prompts: int, seed_sd: float, prompt_sd: float = 1.0) -> Floats:
    """Values of mean zero: an effect of each seed, one of each prompt, and noise of size one."""
    return (
        seed_sd * random.normal(size=(seeds, 1))
        + prompt_sd * random.normal(size=(1, prompts))
        + random.normal(size=(seeds, prompts))
    )


def allowed(rate: float, trials: int) -> float:
    """The largest share of trials that a true rate makes likely: four standard errors above it."""
    return float(rate + 4 * np.sqrt(rate * (1 - rate) / trials))
