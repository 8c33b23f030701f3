"""What a search tells at its end: the best trials, which keys mattered, what was never tried, what pruning saved.

24 trials -> "best: trial 17 (method=ipo beta=0.041): eval/reward_accuracy 0.812", "what mattered: beta 61 %, ..."
"""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence

from orchestrator.objective import Objective
from orchestrator.savings import savings
from orchestrator.search_plan import size_of
from orchestrator.search_settings import SamplerSettings
from orchestrator.search_work import JOURNAL, SearchWork
from orchestrator.settings import StudySettings
from orchestrator.trial_runs import by_trial
from orchestrator.wording import count, one_line, short
from sweeps import insights
from sweeps.types import Outcome, Trial
from trainers.config_check import check
from trainers.errors import InvalidInput
from trainers.spec import RunResult, RunSpec

# Best trials, and values that were never tried, that are named.
_NAMED = 3
_MOST_VALUES = 8


def told(work: SearchWork, settings: StudySettings, results: Mapping[str, RunResult]) -> Iterator[str]:
    """A line each."""
    objective = Objective.of(settings.objective.directions)
    yield from _best(work, objective, _degenerate(work.runs.known(), results))
    yield from _mattered(work, objective)
    tried = work.sweeper.trials
    never = work.sweeper.space.never_tried(tried)
    if never:
        yield "never tried: " + "; ".join(f"{key}={_values(values)}" for key, values in never.items())
    size = size_of(work.sweeper.space)
    if size is not None:
        yield f"{len(tried)} of {count(size, 'point')} tried"
    specs = work.runs.known()
    unbegun = sum(
        len(work.runs.seeds) - len(own)
        for own in by_trial(specs).values()
        if all(spec.run_id in results and results[spec.run_id].status == "completed" for spec in own)
    )
    saved = savings(specs, results, _full(work, specs), unbegun)
    if saved is not None:
        yield saved
    assert isinstance(settings.sweeper, SamplerSettings)
    storage = settings.sweeper.storage or str(work.runs.folder.root / JOURNAL)
    yield f"look on: optuna-dashboard {shlex.quote(storage)}"


def _degenerate(specs: Sequence[RunSpec], results: Mapping[str, RunResult]) -> set[int]:
    """Trials that no table calls the best either."""
    return {spec.trial for spec in specs if spec.run_id in results and results[spec.run_id].degenerate}


def _best(work: SearchWork, objective: Objective, degenerate: Collection[int]) -> Iterator[str]:
    sound = [(trial, outcome) for trial, outcome in work.sweeper.told if trial.number not in degenerate]
    directions = work.sweeper.directions
    if not insights.best(sound, directions, 1):
        wanted = " and ".join(part.metric for part in objective.parts)
        yield f"no best: no trial has completed with a number for {wanted}"
        return
    if objective.also:
        front = insights.pareto(sound, directions)
        yield f"{count(len(front), 'trial')} that no other beats ({objective.told()}):"
        yield from (f"  {_trial(trial, outcome, objective)}" for trial, outcome in front[:_MOST_VALUES])
        return
    for place, (trial, outcome) in enumerate(insights.best(sound, directions, _NAMED)):
        yield f"{'best: ' if place == 0 else 'then: '}{_trial(trial, outcome, objective)}"


def _trial(trial: Trial, outcome: Outcome, objective: Objective) -> str:
    params = " ".join(f"{key}={short(value)}" for key, value in trial.params.items())
    numbers = ", ".join(
        f"{part.metric} {value:.4g}" for part, value in zip(objective.parts, outcome.values or (), strict=False)
    )
    return one_line(f"trial {trial.number} ({params}): {numbers}")


def _mattered(work: SearchWork, objective: Objective) -> Iterator[str]:
    if len(work.sweeper.space.slots) < 2:
        return  # there is nothing to compare it with
    complete = sum(outcome.state == "complete" for _, outcome in work.sweeper.told)
    if complete < insights.FEWEST:
        yield (
            f"what mattered cannot be told of {count(complete, 'complete trial')}: "
            f"{insights.FEWEST} are needed at least"
        )
    for part, shares in zip(objective.parts, work.sweeper.importances(), strict=True):
        listed = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        if listed:
            yield f"what mattered for {part.metric}: {one_line(listed)} (PED-ANOVA, of the complete trials)"


def _values(values: Sequence[object]) -> str:
    more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
    return one_line(", ".join(map(short, values[:_MOST_VALUES])) + more)


def _full(work: SearchWork, specs: Sequence[RunSpec]) -> dict[str, int]:
    """The steps of whole runs, as far as they are known."""
    found = {}
    for spec in specs:
        try:
            found[spec.run_id] = work.preparing.total_steps(check(spec.config))
        except InvalidInput:
            continue
    return found
