"""Which runs a trial has, and what they make of it: what the loop of a study is given by those who plan.

A grid has all its runs ahead: PreparedRuns({0: [spec, spec], 1: [spec, spec]}, objective). A search makes them as its
trials are handed out, and may give a trial another seed when it has seen the first.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.errors import OrchestratorError
from orchestrator.objective import Objective
from sweeps.types import Outcome, Trial
from trainers.spec import RunResult, RunSpec


class TrialImpossible(OrchestratorError):
    """A trial that was handed out cannot be run as it is."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class TrialRuns(Protocol):
    """The runs of a study's trials, whose specs are on disk before anybody is told of them."""

    def known(self) -> Sequence[RunSpec]:
        """Every run that is on disk by now, also of trials that ended under an earlier controller."""

    def begin(self, trial: Trial) -> Sequence[RunSpec]:
        """The runs that a trial begins with, each with its spec on disk; the same ones where it was begun before.

        Raises TrialImpossible where the trial cannot be run, and OSError where specs cannot be written.
        """

    def more(self, trial: Trial, results: Sequence[RunResult]) -> Sequence[RunSpec]:
        """Further runs of the trial, once all so far have ended, none of them cancelled; none: the trial is over.

        `results` are in the order in which the runs were given. Raises OSError where specs cannot be written.
        """

    def outcome(self, trial: Trial, results: Sequence[RunResult]) -> Outcome:
        """What the runs make of a trial that is over."""


class PreparedRuns:
    """Runs that were all made ahead, those of a trial one a seed: what a grid has."""

    def __init__(self, runs: Mapping[int, Sequence[RunSpec]], objective: Objective) -> None:
        """`runs` maps the number of each trial to its runs."""
        self._runs, self._objective = runs, objective

    def known(self) -> Sequence[RunSpec]:
        """All."""
        return [spec for specs in self._runs.values() for spec in specs]

    def begin(self, trial: Trial) -> Sequence[RunSpec]:
        """All runs of the trial."""
        return self._runs[trial.number]

    def more(self, trial: Trial, results: Sequence[RunResult]) -> Sequence[RunSpec]:  # noqa: ARG002
        """None."""
        return ()

    def outcome(self, trial: Trial, results: Sequence[RunResult]) -> Outcome:  # noqa: ARG002 - what runs came to counts
        """The mean over the seeds; a trial is pruned with one of its runs, and fails with one, or without a value."""
        return outcome_of(results, self._objective)


def outcome_of(results: Sequence[RunResult], objective: Objective) -> Outcome:
    """What runs that have ended make of their trial, by one objective."""
    states = {result.status for result in results}
    if "pruned" in states and states <= {"completed", "pruned"}:
        return Outcome("pruned")
    values = objective.values(results)
    return Outcome("fail") if values is None else Outcome("complete", values)


def by_trial(specs: Sequence[RunSpec]) -> dict[int, list[RunSpec]]:
    """The runs of each trial, one a seed."""
    runs: dict[int, list[RunSpec]] = {}
    for spec in specs:
        runs.setdefault(spec.trial, []).append(spec)
    return runs
