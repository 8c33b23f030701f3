"""Which runs are not worth going on with, by what they and the others have reported on the way.

    pruner = Pruner("asha", {"min_resource": 10, "reduction_factor": 3}, "maximize")
    pruner.report("run-a", step=10, value=0.61)   # False
    pruner.report("run-b", step=10, value=0.52)   # True: ask it to stop
    pruner.end("run-b", "pruned")

Optuna's pruners, in a study of their own that lives in memory and has one objective. So they work where the search has
several objectives, where its database is out of reach, and after a restart, by replaying what runs have reported.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.errors import SamplerError
from sweeps.quiet import quietly
from sweeps.samplers import mistyped, plain_arguments
from sweeps.types import Direction, Scalar, State

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import Trial as OptunaTrial

# By kind, Optuna's class. Successive halving there is the asynchronous one: a run goes on as soon as it is among the
# best of those that have come as far, and waits for none.
CLASSES: Mapping[str, str] = {
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "patient": "PatientPruner",
    "wilcoxon": "WilcoxonPruner",
    "nop": "NopPruner",
}
KINDS = tuple(CLASSES)
NEEDED: Mapping[str, tuple[str, ...]] = {
    "hyperband": ("max_resource",),
    "percentile": ("percentile",),
    "patient": ("patience",),
}
PATIENT = ("wrapped", "patience", "min_delta")


@dataclass(frozen=True)
class Report:
    """What a run said on its way: the value of the metric at a step, or how it ended where `step` is None."""

    run: str
    step: int | None
    value: float | None
    state: State | None = None


class Pruner:
    """Decides, report by report, which runs to stop.

    Kinds, with arguments of Optuna's classes of these names:

    - asha: of the runs that came to `min_resource` x `reduction_factor`^rung steps the best go on, 1 of
      `reduction_factor`. Without `min_resource` it is a hundredth of the steps of the first complete runs, and none is
      pruned before.
    - hyperband: several asha side by side, which begin at different rungs; a run belongs to one by the order in which
      runs reported first. `max_resource`, the steps of a whole run, must be given. Runs are shared out over
      floor(log(max_resource / min_resource) / log(reduction_factor)) + 1 of them: of fewer runs than that nothing
      is to be expected, and a dozen for each is sensible.
    - median, percentile: whether the best so far is behind that share of the complete runs at the same step.
    - patient: lets another kind (`wrapped`, with its arguments beside) prune only after `patience` reports without
      improvement; without `wrapped` that alone is reason enough.
    - wilcoxon: whether it is worse than the best run with p < `p_threshold`, paired by step: a step is the number of a
      seed or of a prompt here, and `value` its score.
    - nop: never.

    A report that is not a number prunes, but under nop: nothing that comes of such a run can be compared.
    """

    def __init__(
        self, kind: str, settings: Mapping[str, Scalar] | None = None, direction: Direction = "maximize", seed: int = 0
    ) -> None:
        """Raises SamplerError where there is no such kind, or it does not take the settings."""
        import optuna

        self.kind = kind
        with quietly():
            self._study = optuna.create_study(
                study_name=f"pruning-{seed}",  # hyperband shares runs out by it
                direction=direction,
                sampler=optuna.samplers.RandomSampler(seed=seed),
                pruner=_pruner(kind, dict(settings or {})),
            )
        self._running: dict[str, OptunaTrial] = {}
        self._seen: dict[str, set[int]] = {}
        self._to_stop: set[str] = set()
        self._over: set[str] = set()

    def report(self, run: str, step: int, value: float) -> bool:
        """Whether the run is to stop. A step that is told twice, as after a restart, counts once.

        Once a run is to stop it remains so. A run that has ended and reports again, as a retried one does, begins anew
        unless it was complete or pruned.
        """
        if run in self._over or run in self._to_stop:
            return run in self._to_stop
        if step in self._seen.setdefault(run, set()):
            return False
        with quietly():
            if run not in self._running:
                self._running[run] = self._study.ask()
            trial = self._running[run]
            self._seen[run].add(step)
            trial.report(float(value), step)
            prune = bool(trial.should_prune()) or (math.isnan(value) and self.kind != "nop")
        if prune:
            self._to_stop.add(run)
        return prune

    def end(self, run: str, state: State, value: float | None = None) -> None:
        """A run has ended: complete with its final value, pruned, or failed. Of runs that never reported it is no news.

        A complete run without a finite value counts as failed. Ends that are told again count once.
        """
        trial = self._running.pop(run, None)
        if trial is None:
            return
        from optuna.trial import TrialState

        if state == "complete" and value is not None and math.isfinite(value):
            self._study.tell(trial, float(value))
            self._over.add(run)
        elif state == "pruned":
            self._study.tell(trial, state=TrialState.PRUNED)
            self._over.add(run)
        else:
            self._study.tell(trial, state=TrialState.FAIL)
            self._seen.pop(run, None)
            self._to_stop.discard(run)

    def restore(self, reports: Iterable[Report]) -> frozenset[str]:
        """Replay what runs have reported, in the order of time; returns the runs under way that are to stop."""
        for report in reports:
            if report.step is not None and report.value is not None:
                self.report(report.run, report.step, report.value)
            elif report.state is not None:
                self.end(report.run, report.state, report.value)
        return frozenset(self._to_stop & self._running.keys())


def _pruner(kind: str, settings: dict[str, Any]) -> "BasePruner":
    import optuna

    if kind not in CLASSES:
        raise SamplerError(f"there is no pruner {kind}; there are {', '.join(KINDS)}")
    cls = getattr(optuna.pruners, CLASSES[kind])
    if kind == "patient":
        inner = {name: value for name, value in settings.items() if name not in PATIENT}
        wrapped = settings.get("wrapped")
        if wrapped == "patient":
            raise SamplerError(f"pruner patient wraps another kind: {', '.join(k for k in KINDS if k != 'patient')}")
        settings = {name: value for name, value in settings.items() if name in ("patience", "min_delta")}
        if wrapped is None:
            settings |= inner
        settings["wrapped_pruner"] = None if wrapped is None else _pruner(str(wrapped), inner)
        known: tuple[str, ...] = (*PATIENT, "wrapped_pruner")
    else:
        known = tuple(plain_arguments(cls))
    strange = [name for name in settings if name not in known]
    takes = ", ".join(name for name in known if name != "wrapped_pruner")
    if strange:
        raise SamplerError(f"pruner {kind} has no argument {', '.join(strange)}; it takes {takes or 'none'}")
    wrong = [] if kind == "patient" else mistyped(cls, settings)
    if wrong:
        raise SamplerError(f"pruner {kind}: {'; '.join(wrong)}")
    missing = [name for name in NEEDED.get(kind, ()) if settings.get(name) in (None, "auto")]
    if missing:
        raise SamplerError(f"pruner {kind} needs {', '.join(missing)}; it takes {takes}")
    try:
        pruner: BasePruner = cls(**settings)
    except (TypeError, ValueError) as error:
        raise SamplerError(f"pruner {kind}: {error}") from None
    return pruner
