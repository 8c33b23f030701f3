"""What is known of a study when its controller starts: the folders of the runs against the rows of the storage.

The folders are the truth. A row that lacks what they know is told it; a trial that has no row gets one; a row that says
something else is left behind. A row without a folder is of a controller that ended between the two, or of folders that
were taken away: its trial is to be handed out again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.dimensions import Choice
from sweeps.record import Record
from sweeps.rows import outcome_of
from sweeps.space import Space
from sweeps.suggest import choices, in_optuna
from sweeps.types import Known, Outcome, Scalar, Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Recall:
    """Trials and outcomes by number; those to hand out again; what samplers have noted of a trial."""

    trials: Mapping[int, Trial]
    outcomes: Mapping[int, Outcome]
    again: frozenset[int]
    system: Mapping[int, Mapping[str, Any]]


def reconcile(record: Record, known: Known | None, space: Space, objectives: int) -> Recall:
    """Bring the storage to what is known, and tell what that is. With None the storage is believed."""
    rows = record.read()
    if known is None:
        believed = _believed(rows, space)
        if not record.earlier or record.earlier_space is None:
            return believed
        # The trials of an earlier space are rows of another study: those that fit become rows of this one.
        found = _believed(record.earlier, record.earlier_space)
        known = [(trial, found.outcomes.get(number)) for number, trial in found.trials.items() if number not in rows]
        known = [(trial, outcome) for trial, outcome in known if space.fits(trial.params)]
        _write(record, rows, {trial.number: (trial, outcome) for trial, outcome in known}, space)
        return _believed(record.read(), space)
    truth = {trial.number: (trial, outcome and outcome.checked(objectives)) for trial, outcome in known}
    _write(record, rows, truth, space)
    left = _believed({number: row for number, row in rows.items() if number not in truth}, space)
    for number in left.outcomes:
        # It ended once, but nothing that came of it is left: it runs again, in a row of its own.
        row = rows[number]
        record.add(number, row.params, row.distributions, row.system_attrs)
    return Recall(
        {**left.trials, **{number: trial for number, (trial, _) in truth.items()}},
        {number: outcome for number, (_, outcome) in truth.items() if outcome is not None},
        frozenset(left.trials),
        {number: dict(row.system_attrs) for number, row in rows.items()},
    )


def _write(
    record: Record, rows: "Mapping[int, FrozenTrial]", truth: Mapping[int, tuple[Trial, Outcome | None]], space: Space
) -> None:
    """Make the rows say what is true."""
    for number, (trial, outcome) in sorted(truth.items()):
        draw = space.locate(trial.params)
        row = rows.get(number)
        said = None if row is None else outcome_of(row)
        ours = row is not None and _same_point(space, row, trial)
        superseded = said is not None and (outcome is None or _ended(said) != _ended(outcome))
        if row is not None and not ours and said is None:
            record.finish(number, Outcome("fail"))
        if draw is not None and (not ours or superseded):
            record.add(number, *in_optuna(space.slots, draw), {} if row is None or not ours else row.system_attrs)
        elif said is not None or not ours:
            continue
        if outcome is not None:
            record.finish(number, outcome)


def _ended(outcome: Outcome) -> tuple[str, tuple[float, ...] | None]:
    return outcome.state, outcome.values


def _same_point(space: Space, row: "FrozenTrial", trial: Trial) -> bool:
    params = params_of(space, row)
    return params is not None and space.identity(params) == space.identity(trial.params)


def params_of(space: Space, row: "FrozenTrial") -> dict[str, Scalar] | None:
    """The point that a row holds; None where it is none of the space."""
    draw: dict[str, Scalar] = {}
    for slot in space.slots:
        if slot.name in row.params:
            dimension, held = slot.dimension, row.params[slot.name]
            try:
                if isinstance(dimension, Choice):
                    draw[slot.name] = dimension.values[choices(dimension).index(held)]
                else:
                    draw[slot.name] = dimension.read(held)
            except ValueError:
                return None
    try:
        return space.complete(draw)
    except KeyError:
        return None


def _believed(rows: "Mapping[int, FrozenTrial]", space: Space) -> Recall:
    """What the rows say, those that hold a point of the space."""
    points = {number: params_of(space, row) for number, row in rows.items()}
    trials = {number: Trial(number, params) for number, params in points.items() if params is not None}
    outcomes = {number: found for number in trials if (found := outcome_of(rows[number])) is not None}
    return Recall(
        trials,
        outcomes,
        frozenset(trials.keys() - outcomes.keys()),
        {number: dict(rows[number].system_attrs) for number in trials},
    )
