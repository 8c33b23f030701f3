"""The rows of a study in the storage that outlives its controller.

The name of Optuna's study is the study's own. Where its space has changed, a new one begins in the same storage, called
"NAME (2)"; the old one stays as it was.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import SpaceChanged
from sweeps.quiet import quietly
from sweeps.rows import Rows
from sweeps.samplers import SamplerSettings
from sweeps.space import Space
from sweeps.storage import in_memory, open_storage, told_clearly
from sweeps.types import Direction, Outcome, Scalar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial


class Record:
    """Rows by the number of their trial, and what was set when the study began. Every method may raise StorageError."""

    def __init__(
        self,
        storage: "str | Path | BaseStorage | None",
        name: str,
        space: Space,
        settings: SamplerSettings,
        directions: Sequence[Direction],
        metrics: Sequence[str],
        fit_changed: bool,
    ) -> None:
        """Raises SpaceChanged where the study is there with another space, and it was not asked to `fit_changed`."""
        self.news: list[str] = []
        self._where = "in memory" if storage is None else str(storage)
        self._space, self._settings, self._directions, self._metrics = space, settings, tuple(directions), metrics
        self._name = name
        self._row_ids: dict[int, int] = {}
        self._storage = self._open(storage)
        # The number of the first trial of this space: those of an earlier one come before, and points enqueued after.
        self.first_number = 0
        # The rows that an earlier space has left, in a study of their own.
        self.earlier: dict[int, FrozenTrial] = {}
        self.earlier_space: Space | None = None
        with told_clearly(self._where):
            self._begin(fit_changed)

    def _open(self, storage: "str | Path | BaseStorage | None") -> "BaseStorage":
        if storage is None:
            return in_memory()
        if isinstance(storage, str | Path):
            opened, self.news = open_storage(storage)
            return opened
        return storage

    def _begin(self, fit_changed: bool) -> None:
        generation = max(1, self._generations())
        self._rows = self._of(generation)
        before = self._rows.attributes
        changed = [
            *(["objectives"] if self._rows.directions != self._directions else []),
            *(["space"] if "space" in before and _shape(before["space"]) != _shape(self._space.as_dict()) else []),
        ]
        if changed and not fit_changed:
            raise SpaceChanged(
                f"the study {self._name} began with another {' and other '.join(reversed(changed))}. Take another name "
                "for the study, go back to what it began with, or ask to go on with those of its trials that fit"
            )
        if changed:
            if changed == ["space"]:
                self.earlier, self.earlier_space = self._rows.numbered(), Space.from_dict(before["space"])
            self.first_number = max(self._rows.numbered(), default=-1) + 1
            self._rows = self._of(generation + 1)
            self.news.append(
                f"the {' and '.join(changed)} changed: {self._rows.study.study_name} begins with what fits"
            )
        elif before.get("enqueue", []) == list(map(dict, self._space.enqueue)):
            self.first_number = int(before.get("first_number", 0))
        else:
            self.first_number = max(self._rows.numbered(), default=-1) + 1
        self._describe()

    def _of(self, generation: int) -> Rows:
        name = self._name if generation == 1 else f"{self._name} ({generation})"
        return Rows(self._storage, name, self._directions)

    def _generations(self) -> int:
        names = {study.study_name for study in self._storage.get_all_studies()}
        generation = int(self._name in names)
        while f"{self._name} ({generation + 1})" in names:
            generation += 1
        return generation

    def _describe(self) -> None:
        import optuna

        told = {
            "sampler": self._settings.kind,
            "sampler_arguments": dict(self._settings.arguments),
            "seed": self._settings.seed,
            "optuna": optuna.__version__,
            "space": self._space.as_dict(),
            "first_number": self.first_number,  # before what it depends on, lest a change be half noted
            "enqueue": list(map(dict, self._space.enqueue)),
        }
        for name, value in told.items():
            self._rows.set_attribute(name, value)
        if self._metrics:
            with quietly():
                self._rows.study.set_metric_names(list(self._metrics))

    def enqueued(self, number: int) -> Mapping[str, Scalar]:
        """The point to be tried first that is this trial's, or an empty one."""
        place = number - self.first_number
        return self._space.enqueue[place] if 0 <= place < len(self._space.enqueue) else {}

    def read(self) -> "dict[int, FrozenTrial]":
        """Our rows by number."""
        with told_clearly(self._where):
            found = self._rows.numbered()
        self._row_ids = {number: row._trial_id for number, row in found.items()}
        return found

    def add(
        self,
        number: int,
        params: Mapping[str, Any],
        distributions: "Mapping[str, BaseDistribution]",
        system: Mapping[str, Any],
    ) -> None:
        """A running trial."""
        with told_clearly(self._where):
            self._row_ids[number] = self._rows.add(number, params, distributions, system)

    def finish(self, number: int, outcome: Outcome) -> None:
        """How it ended."""
        with told_clearly(self._where):
            if number in self._row_ids:
                self._rows.finish(self._row_ids[number], outcome)


def _shape(data: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a space another one: all of it but what is tried first."""
    return {name: value for name, value in data.items() if name != "enqueue"}
