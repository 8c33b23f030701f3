"""From a space and settings to the sweeper that searches it."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from sweeps.grid import GridSweeper
from sweeps.optuna_sweeper import OptunaSweeper
from sweeps.samplers import SamplerSettings
from sweeps.space import Space
from sweeps.types import Direction


def make_sweeper(
    space: Space,
    sampler: SamplerSettings,
    directions: Sequence[Direction] = ("maximize",),
    *,
    n_trials: int | None = None,
    storage: str | Path | None = None,
    study_name: str = "study",
    metrics: Sequence[str] = (),
    fit_changed: bool = False,
) -> GridSweeper | OptunaSweeper:
    """The sweeper for the kind: a grid of its own, which keeps no storage, for `grid`; else Optuna's.

    See OptunaSweeper for the arguments. Raises SpaceError where a grid would have no end, SamplerError, StorageError,
    SpaceChanged.
    """
    if sampler.kind == "grid":
        return GridSweeper(list(itertools.islice(space.points(), n_trials)))
    return OptunaSweeper(
        space,
        sampler,
        directions,
        n_trials=n_trials,
        storage=storage,
        study_name=study_name,
        metrics=metrics,
        fit_changed=fit_changed,
    )
