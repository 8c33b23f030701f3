"""What a sweeper is asked and told.

sweeper.ask(2) -> [Trial(0, {"method": "dpo", "beta": 0.1}), Trial(1, {"method": "dpo", "beta": 0.5})]
sweeper.tell(trial, Outcome("complete", (0.71,)))
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Scalar = str | int | float | bool | None
Params = Mapping[str, Scalar]
Direction = Literal["maximize", "minimize"]
State = Literal["complete", "pruned", "fail"]


@dataclass(frozen=True)
class Trial:
    """One assignment of values to swept keys; `params` maps dotted config keys to scalars.

    It lacks the swept keys that its other values leave without a meaning.
    """

    number: int
    params: Params


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, in Optuna's words; `values` are its objectives, None unless complete.

    `reports` are intermediate values by step, from which some samplers learn of pruned trials too. They count where
    there is one objective, and must be of it.
    """

    state: State
    values: tuple[float, ...] | None = None
    reports: Mapping[int, float] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The first objective."""
        return self.values[0] if self.values else None

    def checked(self, objectives: int) -> "Outcome":
        """The outcome as it counts: complete without a finite number for each objective is a failure."""
        known = self.values or ()
        sound = len(known) == objectives and all(math.isfinite(value) for value in known)
        if self.state == "complete":
            return self if sound else Outcome("fail", None, self.reports)
        return Outcome(self.state, None, self.reports)


Known = Sequence[tuple[Trial, Outcome | None]]


class Sweeper(Protocol):
    """Decides which trial comes next."""

    @property
    def waits(self) -> bool:
        """Whether there may be more trials once outcomes are told, though `ask` gave none."""

    def ask(self, n: int) -> Sequence[Trial]:
        """Up to `n` new trials; none means that there will be no more, unless it `waits`."""

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Tell how a trial ended, in any order. Raises UnknownTrial for one that was not asked for or told before."""

    def restore(self, known: Known) -> None:
        """Before the first `ask`, take up a study: its trials, each with its outcome or None where that is to come.

        What is given here is the truth. A trial without outcome counts as asked for.
        """
