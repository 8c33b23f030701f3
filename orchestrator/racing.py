"""Whether a trial is given its further seeds: not where it is clearly out of the running.

seeds_per_trial=3, a first seed at 0.41 beside trials of 0.71 and 0.67 -> no second one
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestrator.objective import Objective
from orchestrator.on_the_way import judged_by
from orchestrator.prompt_values import METRICS
from orchestrator.search_settings import PrunerSettings
from sweeps.errors import SamplerError
from sweeps.pruning import Pruner
from sweeps.replicates import enough, worse
from sweeps.types import Trial
from trainers.spec import RunResult

# A run's values by prompt; of a metric.
ReadPrompts = Callable[[str], Mapping[str, float]]
ReadValues = Callable[[str, str], Mapping[str, float]]


class Racing:
    """By how far seeds of a trial differ, over all trials: `sweeps.replicates`."""

    def __init__(self, objective: Objective, seeds: int) -> None:
        self._objective, self._seeds = objective, seeds
        self._values: dict[int, list[float]] = {}

    def learn(self, trial: Trial, results: Sequence[RunResult]) -> None:
        """What the runs of a trial have come to, so far."""
        values = [self._objective.values([result]) for result in results]
        self._values[trial.number] = [value[0] for value in values if value is not None]

    def enough(self, trial: Trial, results: Sequence[RunResult]) -> bool:
        """Whether a trial needs no more seeds."""
        self.learn(trial, results)
        # Beside several objectives a trial may be the best in another one.
        if self._objective.also or self._seeds < 2:
            return False
        others = [values for number, values in self._values.items() if number != trial.number]
        return enough(self._values[trial.number], others, self._objective.direction, of=self._seeds)


class WilcoxonRacing(Racing):
    """By a signed-rank test against the best trial, seed by seed: Optuna's WilcoxonPruner."""

    def __init__(self, objective: Objective, seeds: int, pruner: Pruner) -> None:
        super().__init__(objective, seeds)
        self._pruner = pruner

    def enough(self, trial: Trial, results: Sequence[RunResult]) -> bool:
        """Whether a trial needs no more seeds."""
        self.learn(trial, results)
        values = self._values[trial.number]
        # Each is reported, whatever came of the one before.
        told = [self._pruner.report(str(trial.number), place, value) for place, value in enumerate(values)]
        return any(told)

    def learn(self, trial: Trial, results: Sequence[RunResult]) -> None:
        """What the runs of a trial have come to, so far."""
        super().learn(trial, results)
        values = self._values[trial.number]
        if len(values) >= self._seeds:
            for place, value in enumerate(values):
                self._pruner.report(str(trial.number), place, value)
            self._pruner.end(str(trial.number), "complete", sum(values) / len(values))


class PromptRacing(Racing):
    """By a signed-rank test against the best trial that has all its seeds, prompt by prompt, each the mean of seeds."""

    def __init__(self, objective: Objective, seeds: int, level: float, read: ReadPrompts) -> None:
        super().__init__(objective, seeds)
        self._level, self._read = level, read
        self._prompts: dict[int, Mapping[str, float]] = {}
        self._seen: dict[str, Mapping[str, float]] = {}

    def learn(self, trial: Trial, results: Sequence[RunResult]) -> None:
        """What the runs of a trial have come to, so far."""
        super().learn(trial, results)
        self._prompts[trial.number] = _mean_by_prompt(
            [self._of(result.run_id) for result in results if result.status == "completed"]
        )

    def enough(self, trial: Trial, results: Sequence[RunResult]) -> bool:
        """Whether a trial needs no more seeds."""
        self.learn(trial, results)
        best = self._best()
        if best is None or best == trial.number:
            return False
        return worse(self._prompts[trial.number], self._prompts[best], self._objective.direction, self._level)

    def _best(self) -> int | None:
        means = {number: (statistics.fmean(own),) for number, own in self._values.items() if len(own) >= self._seeds}
        return min(self._objective.leaders(means), default=None)

    def _of(self, run_id: str) -> Mapping[str, float]:
        if run_id not in self._seen:
            self._seen[run_id] = self._read(run_id)
        return self._seen[run_id]


def _mean_by_prompt(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the prompts that every run has a value of."""
    if not runs:
        return {}
    common = [prompt for prompt in runs[0] if all(prompt in run for run in runs)]
    return {prompt: statistics.fmean(run[prompt] for run in runs) for prompt in common}


def over_prompts(settings: PrunerSettings) -> bool:
    """Whether trials are compared prompt by prompt instead of seed by seed. Raises SamplerError of any third."""
    over = settings.arguments.get("over", "seeds")
    if over not in ("seeds", "prompts"):
        raise SamplerError(f"pruner wilcoxon compares over=seeds or over=prompts, not over={over}")
    return bool(over == "prompts")


def wilcoxon_faults(settings: PrunerSettings, judged: Objective, seeds: int) -> Iterator[str]:
    """Why the race could never end a trial early. Raises SamplerError where the pruner does not take its arguments."""
    prompts, level = over_prompts(settings), _level(settings)
    if seeds < 2:
        yield "pruner=wilcoxon judges a trial by its seeds: give seeds_per_trial=5, or another pruner"
    elif prompts and judged.metric not in METRICS:
        yield f"pruner=wilcoxon over=prompts: {judged.metric} has no value for each prompt; {', '.join(METRICS)} have"
    # Of n pairs the smallest p is 1 / 2^n, and the last seed is too late.
    elif not prompts and 0.5 ** (seeds - 1) >= level:
        needed = math.floor(-math.log2(level)) + 2
        yield (
            f"pruner=wilcoxon: {seeds} seeds of a trial can never tell with p < {level:g}: give "
            f"seeds_per_trial={needed} or more, a larger pruner.arguments.p_threshold, or pruner.arguments.over=prompts"
        )


def _level(settings: PrunerSettings) -> float:
    arguments = {name: value for name, value in settings.arguments.items() if name != "over"}
    Pruner("wilcoxon", arguments)
    return float(arguments.get("p_threshold", 0.1))


def make_racing(settings: PrunerSettings, objective: Objective, seeds: Sequence[int], read: ReadValues) -> Racing:
    """As the pruner says. `read` gives a run's values of a metric by prompt. Raises SamplerError, InvalidInput."""
    if settings.kind != "wilcoxon":
        return Racing(objective, len(seeds))
    judged = judged_by(settings, objective)
    if over_prompts(settings):
        return PromptRacing(judged, len(seeds), _level(settings), lambda run_id: read(run_id, judged.metric))
    arguments = {name: value for name, value in settings.arguments.items() if name != "over"}
    return WilcoxonRacing(judged, len(seeds), Pruner("wilcoxon", arguments, judged.direction))
