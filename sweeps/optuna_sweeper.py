"""The sweeper that asks Optuna: any of its samplers and storages, trials one at a time, told in any order.

Three things remember. The folders of the runs are the truth (`restore`). The storage holds a row for each trial, so
that none is lost between being proposed and having a folder, and others can look on. And in memory is a copy of the
storage, with what only the sampler needs to know, above all draws that were no good. It is made anew on every start.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps import insights
from sweeps.draws import Draws
from sweeps.errors import StorageError, SweepsError, UnknownTrial
from sweeps.recall import Recall, reconcile
from sweeps.record import Record
from sweeps.rows import Rows
from sweeps.samplers import SamplerSettings, derived_seed, make_sampler, resolve
from sweeps.space import Space
from sweeps.storage import in_memory
from sweeps.suggest import in_optuna
from sweeps.types import Direction, Known, Outcome, Scalar, Trial

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# How often the sampler may draw before a point is drawn at random. A Gaussian process comes to the same point again.
REDRAWS = 10
REDRAWS_OF = {"gp": 2}
# Spaces with up to so many points are listed when the sampler finds nothing new.
LISTED = 20_000


class OptunaSweeper:
    """Hands out points of a space as one of Optuna's samplers proposes them.

    - No point is given twice; in a finite space there are no more trials when all were given.
    - Points that break a constraint are drawn again, and are told to the sampler where it learns from that.
    - Nothing ever waits: each `ask` is answered from what has been told so far.
    - What is asked next depends on the settings and on what was asked and told before, not on restarts.
    """

    waits = False

    def __init__(
        self,
        space: Space,
        sampler: SamplerSettings,
        directions: Sequence[Direction] = ("maximize",),
        *,
        n_trials: int | None = None,
        storage: "str | Path | BaseStorage | None" = None,
        study_name: str = "study",
        metrics: Sequence[str] = (),
        fit_changed: bool = False,
    ) -> None:
        """Opens the storage: a file, an URL, a storage of Optuna's, or None for none.

        `n_trials` counts every trial handed out, failed ones too, over all restarts; None: until `ask` is not called.
        `metrics` name the objectives, for who looks on with Optuna's tools. With `fit_changed` a study whose space has
        changed goes on with those of its trials that fit. Raises SamplerError, StorageError, SpaceChanged.
        """
        self.space, self.directions = space, tuple(directions)
        self.settings = resolve(sampler, space, len(self.directions), n_trials)
        make_sampler(self.settings, 0, 0)  # so that what it refuses is told now
        self.n_trials = n_trials
        self._record = Record(storage, study_name, space, self.settings, self.directions, metrics, fit_changed)
        self._rows: Rows
        self._draws: Draws
        self._trials: dict[int, Trial] = {}
        self._told: dict[int, Outcome] = {}
        self._untold: set[int] = set()
        # Handed out by an earlier controller, without anything that came of it.
        self._again: list[int] = []
        self._tried: set[tuple[tuple[str, Scalar], ...]] = set()
        self._row_ids: dict[int, int] = {}
        # Every point of a finite space, when they were needed first; whether all were handed out.
        self._listed: dict[tuple[tuple[str, Scalar], ...], dict[str, Scalar]] = {}
        self._over = False
        self._asked = False
        self._take_up(reconcile(self._record, None, space, len(self.directions)))

    @property
    def news(self) -> list[str]:
        """What a person should know of how the storage was found, a sentence each."""
        return list(self._record.news)

    @property
    def trials(self) -> list[Trial]:
        """All that were handed out, by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def told(self) -> list[tuple[Trial, Outcome]]:
        """Those whose outcome is known, by number."""
        return [(self._trials[number], self._told[number]) for number in sorted(self._told)]

    def restore(self, known: Known) -> None:
        """Take up what the run folders know, which is the truth: every trial that has one, with its outcome or None.

        A trial that the storage lacks is added; one that runs there without a folder is handed out again by the next
        `ask`, under its number; one that ended there without a folder too. Call it before the first `ask`.
        """
        if self._asked:
            raise SweepsError("restore comes before the first ask")
        self._take_up(reconcile(self._record, known, self.space, len(self.directions)))

    def ask(self, n: int) -> Sequence[Trial]:
        """Up to `n` new trials. Raises NoPoint where constraints leave none to be found, StorageError."""
        self._asked = True
        found: list[Trial] = []
        while len(found) < n:
            if self._again:
                number = self._again.pop(0)
                self._untold.add(number)
                found.append(self._trials[number])
                continue
            if self.n_trials is not None and len(self._trials) >= self.n_trials:
                break
            trial = self._new()
            if trial is None:
                break
            found.append(trial)
        return found

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Complete with a value that is missing or not finite counts as failed. Raises UnknownTrial, StorageError."""
        if trial.number not in self._untold:
            raise UnknownTrial(f"trial {trial.number} was not asked for, or was told before")
        counted = outcome.checked(len(self.directions))
        self._record.finish(trial.number, counted)
        self._untold.remove(trial.number)
        self._told[trial.number] = counted
        self._rows.finish(self._row_ids[trial.number], counted)

    def best(self, n: int = 1) -> list[tuple[Trial, Outcome]]:
        """The best complete trials, best first; under several objectives by the first."""
        return insights.best(self.told, self.directions, n)

    def pareto(self) -> list[tuple[Trial, Outcome]]:
        """The complete trials that no other is better than in every objective."""
        return insights.pareto(self.told, self.directions)

    def importances(self) -> list[dict[str, float]]:
        """For each objective, what share of its variation each key explains; empty where that cannot be told."""
        return insights.importances(self.space, self.told, self.directions)

    def _take_up(self, recall: Recall) -> None:
        """Make the memory anew."""
        self._trials = dict(recall.trials)
        self._told = {number: outcome for number, outcome in recall.outcomes.items() if number in self._trials}
        self._again = sorted(recall.again)
        self._untold = self._trials.keys() - self._told.keys() - set(self._again)
        self._tried = {self.space.identity(trial.params) for trial in self._trials.values()}
        self._rows = Rows(in_memory(), "memory", self.directions)
        self._row_ids = {}
        self._draws = Draws(self.space, self.settings, len(self._trials))
        for number, trial in sorted(self._trials.items()):
            draw = self.space.locate(trial.params)
            # A trial of another space counts, but the sampler cannot learn from it.
            system = recall.system.get(number, {})
            self._draws.repeat(self._rows, system)
            self._row_ids[number] = self._rows.add(number, *in_optuna(self.space.slots, draw or {}), system)
            if number in self._told:
                fits = draw is not None
                self._rows.finish(self._row_ids[number], self._told[number] if fits else Outcome("fail"))

    def _new(self) -> Trial | None:
        if self._over:
            return None
        number = max(max(self._trials, default=-1) + 1, self._record.first_number)
        enqueued = self._record.enqueued(number)
        self._draws.begin(self._rows)
        for attempt in range(REDRAWS_OF.get(self.settings.kind, REDRAWS)):
            row_id, params = self._draws.draw(self._rows, number, attempt, enqueued)
            excess = self.space.excess(params)
            if excess == 0 and self._is_new(params):
                return self._commit(number, params, row_id)
            self._draws.reject(self._rows, row_id, params, excess)
        untried = self._untried(random.Random(derived_seed(self.settings.seed, number, REDRAWS)))
        self._over = untried is None
        return None if untried is None else self._commit(number, untried, None)

    def _untried(self, rng: random.Random) -> dict[str, Scalar] | None:
        """A point at random that was not tried; None where all were."""
        if not self.space.finite:
            return self.space.sample(rng)
        if not self._listed:
            points = itertools.islice(self.space.points(), LISTED + 1)
            self._listed = {self.space.identity(point): point for point in points}
        left = [point for identity, point in self._listed.items() if identity not in self._tried]
        if left:
            return rng.choice(left)
        if len(self._listed) <= LISTED:
            return None
        drawn = (self.space.sample(rng) for _ in range(LISTED))
        return next((p for p in itertools.chain(drawn, self.space.points()) if self._is_new(p)), None)

    def _is_new(self, point: Mapping[str, Scalar]) -> bool:
        return self.space.identity(point) not in self._tried

    def _commit(self, number: int, params: dict[str, Scalar], row_id: int | None) -> Trial:
        """Hand the point out: first to the storage, then in memory."""
        draw = self.space.locate(params)
        assert draw is not None
        row = in_optuna(self.space.slots, draw)
        try:
            self._record.add(number, *row, self._draws.told(self._rows, row_id))
        except StorageError:
            if row_id is not None:
                self._draws.reject(self._rows, row_id, params, 0.0)
            raise
        self._row_ids[number] = self._rows.add(number, *row) if row_id is None else row_id
        trial = Trial(number, params)
        self._trials[number] = trial
        self._untold.add(number)
        self._tried.add(self.space.identity(params))
        return trial
