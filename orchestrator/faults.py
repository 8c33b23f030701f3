"""Collects what is wrong with a command's trials, so that all of it is told once and together.

"beta: too small" of trials 0 and 2 of three -> "beta: too small (trial 0: method=dpo and 1 more)"
"""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.errors import BadCommand
from sweeps.types import Trial

# Stands for what concerns the study as a whole.
NO_TRIAL = Trial(-1, {})


class Faults:
    """Faults by trial, told once each, with the trials they concern where these are not all."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._trials = trials
        self._found: dict[str, dict[int, Trial]] = {}

    def add(self, trial: Trial, faults: Iterable[str]) -> None:
        """Faults of one trial."""
        for fault in faults:
            self._found.setdefault(fault, {})[trial.number] = trial

    def add_all(self, trials: Iterable[Trial], faults: Iterable[str]) -> None:
        """Faults that some trials share."""
        told = tuple(faults)
        for trial in trials:
            self.add(trial, told)

    def add_from(self, others: "Faults") -> None:
        """The faults of others, of the same trials."""
        for fault, trials in others._found.items():
            self.add_all(trials.values(), [fault])

    def take(self, kind: type[str]) -> "Faults":
        """Those of a kind, which are then no longer among these."""
        taken = Faults(self._trials)
        for fault in [fault for fault in self._found if isinstance(fault, kind)]:
            taken.add_all(self._found.pop(fault).values(), [fault])
        return taken

    def told(self) -> list[str]:
        """Each of them once."""
        return [fault + self._where(trials) for fault, trials in self._found.items()]

    def raise_if_any(self) -> None:
        """Raises BadCommand with all of them."""
        if self._found:
            raise BadCommand(self.told())

    def _where(self, concerned: Mapping[int, Trial]) -> str:
        if len(concerned) == len(self._trials) or NO_TRIAL.number in concerned:
            return ""
        first = next(iter(concerned.values()))
        label = ", ".join(f"{key}={value}" for key, value in first.params.items())
        more = f" and {len(concerned) - 1} more" if len(concerned) > 1 else ""
        return f" (trial {first.number}: {label}{more})"
