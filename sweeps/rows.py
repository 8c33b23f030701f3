"""A study's trials as rows of an Optuna storage: in memory, where samplers look, or where they outlive the controller.

A row comes whole, with its number and params, in one write. So a controller that is killed leaves a row or none.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweeps.quiet import quietly
from sweeps.types import Direction, Outcome

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState

# The user attribute that holds the number of a trial; rows without one are not ours.
NUMBER = "number"
# Where Optuna's `trial.set_constraint` puts a constraint called so.
CONSTRAINT = "constraints:space"


class Rows:
    """The trials of one Optuna study, which is made where there is none."""

    def __init__(self, storage: "BaseStorage", name: str, directions: Sequence[Direction]) -> None:
        """`directions` are for a study that is made; one that is there has its own."""
        import optuna

        with quietly():
            self.study: Study = optuna.create_study(
                storage=storage, study_name=name, directions=list(directions), load_if_exists=True
            )
        self.storage = storage
        self._study_id = storage.get_study_id_from_name(name)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Those of the study."""
        return tuple("maximize" if each.name == "MAXIMIZE" else "minimize" for each in self.study.directions)

    @property
    def attributes(self) -> dict[str, Any]:
        """The study's user attributes."""
        return self.storage.get_study_user_attrs(self._study_id)

    def set_attribute(self, name: str, value: Any) -> None:
        """Set one of them, where it is not set so already."""
        if self.attributes.get(name) != value:
            self.storage.set_study_user_attr(self._study_id, name, value)

    @property
    def notes(self) -> dict[str, Any]:
        """What samplers have noted of the study as a whole."""
        return self.storage.get_study_system_attrs(self._study_id)

    def note(self, name: str, value: Any) -> None:
        """Change what a sampler has noted."""
        self.storage.set_study_system_attr(self._study_id, name, value)

    def id_of(self, place: int) -> int:
        """The id of the row that Optuna counts as `place`."""
        return self.storage.get_trial_id_from_study_id_trial_number(self._study_id, place)

    def notes_of(self, row_id: int) -> dict[str, Any]:
        """What samplers have noted of a trial."""
        return self.storage.get_trial_system_attrs(row_id)

    def discard(self, row_id: int, excess: float, *, pruned: bool) -> None:
        """End a draw that becomes no trial; `excess` is by how much it breaks the constraints.

        TPE learns of what is infeasible from trials that were pruned, and nothing from what has failed.
        """
        if excess > 0:
            self.storage.set_trial_system_attr(row_id, CONSTRAINT, excess)
        self.storage.set_trial_state_values(row_id, _states()["pruned" if pruned and excess > 0 else "fail"])

    def all(self) -> "list[FrozenTrial]":
        """Every row, as it is."""
        return self.storage.get_all_trials(self._study_id, deepcopy=False)

    def numbered(self) -> "dict[int, FrozenTrial]":
        """Our rows by number; of several with one number the last counts."""
        return {row.user_attrs[NUMBER]: row for row in self.all() if isinstance(row.user_attrs.get(NUMBER), int)}

    def add(
        self,
        number: int | None,
        params: Mapping[str, Any],
        distributions: "Mapping[str, BaseDistribution]",
        system: Mapping[str, Any] | None = None,
    ) -> int:
        """A running trial, or a mere draw; returns the id of its row. `system` is what samplers have noted of it."""
        import optuna

        row = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs={} if number is None else {NUMBER: number},
            system_attrs=dict(system or {}),
        )
        return self.storage.create_new_trial(self._study_id, template_trial=row)

    def finish(self, row_id: int, outcome: Outcome) -> None:
        """Tell how a running trial ended. With one objective its reports are told too, and the last stands for pruned.

        Straight to the storage: `Study.tell` calls on samplers that stop `Study.optimize`, which is not under way here.
        """
        reports = outcome.reports if len(self.study.directions) == 1 else {}
        for step in sorted(reports):
            self.storage.set_trial_intermediate_value(row_id, step, float(reports[step]))
        values: Sequence[float] | None = outcome.values
        if outcome.state == "pruned" and reports:
            last = float(reports[max(reports)])
            values = None if last != last else [last]
        self.storage.set_trial_state_values(row_id, _states()[outcome.state], None if values is None else list(values))


def _states() -> "dict[str, TrialState]":
    from optuna.trial import TrialState

    return {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "fail": TrialState.FAIL}


def outcome_of(row: "FrozenTrial") -> Outcome | None:
    """What a row says of how its trial ended; None where it runs."""
    for name, state in _states().items():
        if row.state == state:
            values = tuple(row.values) if name == "complete" else None
            return Outcome(name, values, dict(row.intermediate_values))  # type: ignore[arg-type]  # the names of states
    return None
