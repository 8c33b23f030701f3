"""What a sweeper is asked and told.

sweeper.ask(2) -> [Trial(0, {"method": "dpo", "beta": 0.1}), Trial(1, {"method": "dpo", "beta": 0.5})]
sweeper.tell(trial, Outcome("complete", 0.71))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Trial:
    """One assignment of values to swept keys; `params` maps dotted config keys to scalars.

    It lacks the swept keys that its other values leave without a meaning.
    """

    number: int
    params: Mapping[str, Scalar]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, in Optuna's words; `value` is the objective, None unless complete."""

    state: Literal["complete", "pruned", "fail"]
    value: float | None = None


class Sweeper(Protocol):
    """Decides which trial comes next."""

    def ask(self, n: int) -> Sequence[Trial]:
        """Up to `n` new trials; none means that there will be no more."""

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Tell how a trial ended, in any order. Raises UnknownTrial for one that was not asked for or told before."""
