"""Draws of a sampler, of which some become trials: what was drawn in vain is kept with the trial that came of it.

A sampler learns from what it drew in vain, and notes things of the study as a whole: which trials are the parents of a
generation, where a sequence stands. With both put back in order, it goes on after a restart as if there had been none.
"""

import random
from collections.abc import Mapping
from typing import Any

from sweeps.enumeration import ways
from sweeps.qmc import QmcPlace
from sweeps.quiet import quietly
from sweeps.rows import Rows
from sweeps.samplers import SamplerSettings, derived_seed, make_sampler
from sweeps.space import Space
from sweeps.suggest import in_optuna, suggest
from sweeps.types import Params, Scalar

# What is kept with a trial, beside what samplers note of it themselves.
VAIN, NOTES = "sweeps:vain", "sweeps:notes"


class Draws:
    """Draws for one trial after the other."""

    def __init__(self, space: Space, settings: SamplerSettings, trials: int) -> None:
        """`trials` is how many there are already."""
        self._space, self._settings = space, settings
        self._pruned = settings.kind == "tpe"
        self._qmc = QmcPlace(settings)
        self._qmc.at_least(trials)
        self._vain: list[tuple[Params, float]] = []
        self._notes: dict[str, Any] = {}

    def begin(self, rows: Rows) -> None:
        """Another trial is drawn."""
        self._vain, self._notes = [], rows.notes

    def draw(self, rows: Rows, number: int, attempt: int, enqueued: Params) -> tuple[int, dict[str, Scalar]]:
        """The id of a running row, and its point, which has the values of the enqueued one."""
        rows.study.sampler = make_sampler(self._settings, number, attempt)
        fixed = self._fixed(enqueued, number, attempt)
        with quietly():
            trial, params = suggest(rows.study, self._space.slots, fixed)
            if self._qmc.behind(rows):
                # A sequence that begins anew repeats itself.
                self.reject(rows, rows.id_of(trial.number), params, 0.0)
                trial, params = suggest(rows.study, self._space.slots, fixed)
                self._qmc.behind(rows)
        return rows.id_of(trial.number), params

    def reject(self, rows: Rows, row_id: int, params: Params, excess: float) -> None:
        """The draw becomes no trial."""
        rows.discard(row_id, excess, pruned=self._pruned)
        self._vain.append((params, excess))

    def told(self, rows: Rows, row_id: int | None) -> dict[str, Any]:
        """What is to be kept with the trial whose row this is."""
        kept = {} if row_id is None else rows.notes_of(row_id)
        notes = {name: value for name, value in rows.notes.items() if self._notes.get(name) != value}
        return kept | ({VAIN: self._vain} if self._vain else {}) | ({NOTES: notes} if notes else {})

    def repeat(self, rows: Rows, kept: Mapping[str, Any]) -> None:
        """Put back what was drawn in vain before a trial, and what was noted of the study."""
        for params, excess in kept.get(VAIN, ()):
            draw = self._space.locate(params)
            if draw is not None:
                rows.discard(rows.add(None, *in_optuna(self._space.slots, draw)), excess, pruned=self._pruned)
        for name, value in kept.get(NOTES, {}).items():
            rows.note(name, value)

    def _fixed(self, enqueued: Params, number: int, attempt: int) -> dict[str, Scalar]:
        """What slots must hold for the trial to be the enqueued one."""
        if not enqueued:
            return {}
        possible = list(ways(self._space, enqueued))
        rng = random.Random(derived_seed(self._settings.seed, number, attempt))
        needs = possible[attempt % len(possible)]
        return {name: values[0] if len(values) == 1 else rng.choice(values) for name, values in needs.items()}
