"""Has runs tell values while they train, and a pruner judge them by these.

pruner=asha, a run of 40 steps -> evaluation.every=5: an eighth of its steps; and a watch that reports each to ASHA
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.objective import Objective
from orchestrator.planned import Planned, fingerprint
from orchestrator.pruning import Watch
from orchestrator.search_settings import PrunerSettings
from sweeps.pruning import Pruner
from trainers.config import RunConfig
from trainers.data import Report, inspect
from trainers.errors import InvalidInput
from trainers.metric_names import SAMPLE_METRICS
from trainers.schedule import planned_steps

# Into how many parts a run is cut where nobody says.
PARTS = 8
# Pruners that judge a run by its steps; the others judge a trial by its seeds, or nothing.
BY_STEPS = frozenset({"nop", "asha", "hyperband", "median", "percentile", "patient"})


def judged_by(settings: PrunerSettings, objective: Objective) -> Objective:
    """The metric, and its better way. Raises InvalidInput where that is not known."""
    if settings.metric is None:
        return objective.parts[0]
    found = [part for part in objective.parts if part.metric == settings.metric]
    if not found:
        known = ", ".join(part.metric for part in objective.parts)
        raise InvalidInput([f"pruner.metric={settings.metric}: it must be one of the objective's ({known})"])
    return found[0]


class Preparing:
    """Gives runs their measures on the way, and knows how long they are."""

    def __init__(self, settings: PrunerSettings, objective: Objective) -> None:
        self._settings = settings
        self._metric = judged_by(settings, objective).metric
        self._reports: dict[str, Report | None] = {}
        # By run id: the steps of a whole run.
        self.steps: dict[str, int] = {}

    def prepared(self, run: Planned) -> Planned:
        """The run with measures on the way where it is judged by them. Raises InvalidInput where that cannot be."""
        config = self.with_values(run.config)
        return run if config is run.config else replace(run, config=config, fingerprint=fingerprint(config))

    def with_values(self, config: RunConfig) -> RunConfig:
        """As it is where it measures often enough, or is not judged by its steps."""
        metric, every = self._metric, self._settings.every
        if self._settings.kind not in BY_STEPS or metric.startswith("train/"):
            return config
        key = "samples_every" if metric.partition(".")[0] in SAMPLE_METRICS else "every"
        if getattr(config.evaluation, key) > 0 and every is None:
            return config
        if every is None:
            every = max(1, self.total_steps(config) // PARTS)
        return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={key: every})})

    def total_steps(self, config: RunConfig) -> int:
        """Raises InvalidInput where it is not known."""
        steps = planned_steps(config, self._report(config))
        if steps is None:
            raise InvalidInput([
                f"pruner.every: how many steps a run has is not known before it begins: say how often {self._metric} "
                "is to be measured, pruner.every=50"
            ])  # fmt: skip
        return steps

    def arguments(self, config: RunConfig) -> dict[str, Any]:
        """The pruner's own, with what follows from how long a run is."""
        given: Mapping[str, Any] = self._settings.arguments
        if self._settings.kind not in ("asha", "hyperband"):
            return dict(given)
        evaluation = self.with_values(config).evaluation
        every = evaluation.samples_every if self._metric in SAMPLE_METRICS else evaluation.every
        found: dict[str, Any] = {"min_resource": max(1, every)}
        if self._settings.kind == "hyperband":
            found["max_resource"] = self.total_steps(config)
        return found | {key: value for key, value in given.items() if value is not None}

    def _report(self, config: RunConfig) -> Report | None:
        key = repr((config.data, config.model, config.training.max_length, config.method.name))
        if key not in self._reports:
            self._reports[key] = inspect(config)
        return self._reports[key]


def make_watch(settings: PrunerSettings, objective: Objective, arguments: Mapping[str, Any]) -> Watch | None:
    """None where no run is judged by its steps. Raises SamplerError where the pruner does not take its arguments."""
    if settings.kind not in BY_STEPS:
        return None
    judged = judged_by(settings, objective)
    return Watch(Pruner(settings.kind, arguments, judged.direction), judged.metric, name=f"pruner={settings.kind}")
