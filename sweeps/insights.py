"""What was learnt from trials: which are best, which no other beats, and which keys matter. For every sweeper."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweeps.quiet import quietly
from sweeps.rows import Rows
from sweeps.space import Space
from sweeps.storage import in_memory
from sweeps.suggest import in_optuna
from sweeps.types import Direction, Outcome, Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Told = Sequence[tuple[Trial, Outcome]]
# Of fewer complete trials nothing can be said about which key matters.
FEWEST = 4


def complete(told: Told, objectives: int) -> list[tuple[Trial, Outcome]]:
    """Those with a finite value for each objective."""
    checked = [(trial, outcome.checked(objectives)) for trial, outcome in told]
    return [(trial, outcome) for trial, outcome in checked if outcome.state == "complete"]


def best(told: Told, directions: Sequence[Direction], n: int = 1) -> list[tuple[Trial, Outcome]]:
    """The best complete trials, best first, of equal ones the earlier; under several objectives by the first."""
    ranked = sorted(complete(told, len(directions)), key=lambda pair: (_losses(pair[1], directions)[0], pair[0].number))
    return ranked[:n]


def pareto(told: Told, directions: Sequence[Direction]) -> list[tuple[Trial, Outcome]]:
    """The complete trials that no other is as good as in every objective and better in one, by number."""
    found = [(pair, _losses(pair[1], directions)) for pair in complete(told, len(directions))]
    return [
        pair for pair, mine in found if not any(_dominates(theirs, mine) for _, theirs in found if theirs is not mine)
    ]


def importances(space: Space, told: Told, directions: Sequence[Direction]) -> list[dict[str, float]]:
    """For each objective, by slot of the space what share of the variation it explains (PED-ANOVA), the largest first.

    Empty where it cannot be told: fewer than 4 complete trials of the space, all alike, or nothing but one value a key.
    A key that has several dimensions is there once for each, as "beta [method=simpo]". A share of a conditional key is
    of the trials that have it.
    """
    trials = [(trial, outcome) for trial, outcome in complete(told, len(directions)) if space.locate(trial.params)]
    return [_importance(space, trials, direction, place) for place, direction in enumerate(directions)]


def _importance(space: Space, told: Told, direction: Direction, place: int) -> dict[str, float]:
    import optuna

    values = [outcome.values[place] for _, outcome in told if outcome.values is not None]
    if len(values) < FEWEST or len(set(values)) < 2:
        return {}
    rows = Rows(in_memory(), "importances", [direction])
    for (trial, _), value in zip(told, values, strict=True):
        draw = space.locate(trial.params) or {}
        rows.finish(rows.add(trial.number, *in_optuna(space.slots, draw)), Outcome("complete", (value,)))
    several = [slot.name for slot in space.slots if _varies(rows.all(), slot.name)]
    if not several:
        return {}
    try:
        with quietly():
            shares = optuna.importance.get_param_importances(rows.study, params=list(dict.fromkeys(several)))
    except (RuntimeError, ValueError, ZeroDivisionError, AssertionError):
        return {}
    if not all(map(math.isfinite, shares.values())):
        return {}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _varies(rows: "list[FrozenTrial]", name: str) -> bool:
    held: list[Any] = [row.params[name] for row in rows if name in row.params]
    return len(set(map(repr, held))) > 1


def _losses(outcome: Outcome, directions: Sequence[Direction]) -> tuple[float, ...]:
    """The values, all to be made small."""
    assert outcome.values is not None
    return tuple(-v if d == "maximize" else v for v, d in zip(outcome.values, directions, strict=True))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other
