"""Puts a search to work: its sweeper with all that is known restored, the maker of its runs, and what watches them.

study.yaml of a search, 9 of 24 trials in its run folders -> a sweeper that knows of 9, and goes on with the tenth
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config import Composer, Source, composer
from orchestrator.errors import BadCommand, OrchestratorError
from orchestrator.limits import Limits
from orchestrator.objective import Objective
from orchestrator.on_the_way import Preparing, make_watch
from orchestrator.onlookers import RunWatch
from orchestrator.prompt_values import values_by_prompt
from orchestrator.racing import make_racing
from orchestrator.search_runs import SearchRuns
from orchestrator.search_settings import SamplerSettings
from orchestrator.search_space import Searched, draft_search
from orchestrator.settings import StudySettings
from orchestrator.store import StudyFolder, StudyRecord
from orchestrator.study_name import cache_of
from orchestrator.trial_runs import by_trial
from sweeps.errors import SweepsError
from sweeps.make import make_sweeper
from sweeps.optuna_sweeper import OptunaSweeper
from sweeps.samplers import SamplerSettings as Sampler
from sweeps.types import Known, Outcome, Sweeper, Trial
from trainers.spec import RunFolder, RunResult, RunSpec

# What Optuna remembers, in the study's folder.
JOURNAL = "optuna.journal"


Learn = Callable[[Trial, Sequence[RunResult]], None]


class Resumed:
    """A sweeper that first hands out again the trials that were begun and have not ended."""

    def __init__(self, sweeper: Sweeper, unfinished: Sequence[Trial]) -> None:
        self._sweeper, self._unfinished = sweeper, list(unfinished)

    @property
    def waits(self) -> bool:
        """As the sweeper's own."""
        return self._sweeper.waits

    def ask(self, n: int) -> Sequence[Trial]:
        """Those that were begun, then new ones."""
        again, self._unfinished = self._unfinished[:n], self._unfinished[n:]
        return [*again, *(self._sweeper.ask(n - len(again)) if len(again) < n else ())]

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Told to the sweeper."""
        self._sweeper.tell(trial, outcome)

    def restore(self, known: Known) -> None:
        """As the sweeper's own."""
        self._sweeper.restore(known)


@dataclass(frozen=True)
class SearchWork:
    """What the loop of a study is given for a search, and what tells of it afterwards."""

    sweeper: OptunaSweeper
    asked: Resumed
    runs: SearchRuns
    watch: RunWatch | None
    limits: Limits
    searched: Searched
    # Runs that there will be at most, None where only time ends it.
    total: int | None
    preparing: Preparing
    # Results of trials that ended under earlier controllers.
    before: Sequence[RunResult] = ()

    def left_of(self, specs: Sequence[RunSpec], results: Mapping[str, RunResult]) -> str:
        """ "9 of 24 trials have ended"."""
        over = {number for number, own in by_trial(specs).items() if all(spec.run_id in results for spec in own)}
        of = "" if self.sweeper.n_trials is None else f" of {self.sweeper.n_trials}"
        return f"{len(over)}{of} trials have ended"


@contextlib.contextmanager
def search_work(folder: StudyFolder, record: StudyRecord, settings: StudySettings) -> Iterator[SearchWork]:
    """Open as long as trials are handed out. Raises OrchestratorError where the search cannot go on."""
    assert record.search is not None
    with composer(Source(**record.source)) as compose:
        searched = searched_again(compose, record.search, settings)
        try:
            yield _work(folder, record, settings, compose, searched)
        except SweepsError as error:
            raise OrchestratorError(str(error)) from None


def searched_again(compose: Composer, asked: Mapping[str, Any], settings: StudySettings) -> Searched:
    """The space that the study's command gave. Raises OrchestratorError where it gives another one by now."""
    parsed = compose.parse([*asked["fixed"], *asked["swept"]])
    try:
        searched, drafts = draft_search(compose, parsed, settings.search)
    except BadCommand as error:
        raise OrchestratorError(f"the study's configs do not compose any more: {'; '.join(error.faults)}") from None
    faults = [*parsed.faults, *drafts.faults]
    if searched.space.as_dict() != asked["space"] and not faults:
        faults = ["they give another space than the study was made with"]
    if faults:
        raise OrchestratorError(f"the study's configs have changed: {'; '.join(faults)}")
    return searched


def storage_of(folder: StudyFolder, settings: StudySettings) -> str:
    """Where Optuna keeps the trials: an URL, or a file."""
    assert isinstance(settings.sweeper, SamplerSettings)
    return settings.sweeper.storage or str(folder.root / JOURNAL)


def _work(
    folder: StudyFolder, record: StudyRecord, settings: StudySettings, compose: Composer, searched: Searched
) -> SearchWork:
    asked = record.search
    assert asked is not None
    objective = Objective.of(settings.objective.directions)
    n_trials, seeds = asked["n_trials"], asked["seeds"]
    specs = [spec for spec in folder.specs(record) if searched.space.fits(spec.params)]
    racing = make_racing(
        settings.pruner, objective, seeds,
        lambda run_id, metric: values_by_prompt(RunFolder(folder.run(run_id)).evaluation, metric),
    )  # fmt: skip
    preparing = Preparing(settings.pruner, objective)
    runs = SearchRuns(
        folder, record.name, compose, searched, seeds=seeds, settings=settings, cache_dir=cache_of(settings),
        known=specs, prepare=preparing.prepared, enough=racing.enough,
    )  # fmt: skip
    sweeper = _sweeper(folder, record, settings, searched)
    results = folder.results(specs)
    known = known_trials(runs, results, racing.learn, {trial.number for trial, _ in sweeper.told})
    sweeper.restore(known)
    ended = {trial.number for trial, outcome in known if outcome is not None}
    return SearchWork(
        sweeper,
        Resumed(sweeper, [trial for trial, outcome in known if outcome is None]),
        runs,
        make_watch(settings.pruner, objective, asked["pruner"]),
        Limits(settings.max_parallel, settings.timeout, settings.max_failure_rate),
        searched,
        None if n_trials is None else n_trials * len(seeds),
        preparing,
        [results[spec.run_id] for spec in specs if spec.trial in ended and spec.run_id in results],
    )


def _sweeper(folder: StudyFolder, record: StudyRecord, settings: StudySettings, searched: Searched) -> OptunaSweeper:
    given = settings.sweeper
    assert isinstance(given, SamplerSettings)
    assert record.search is not None
    directions = settings.objective.directions
    made = make_sweeper(
        searched.space,
        Sampler(given.kind, given.seed, given.arguments),
        list(directions.values()),
        n_trials=record.search["n_trials"],
        storage=storage_of(folder, settings),
        study_name=f"{record.name}-{record.identity[:8]}",
        metrics=list(directions),
        fit_changed=settings.search.adopt,
    )
    assert isinstance(made, OptunaSweeper)
    return made


def known_trials(
    runs: SearchRuns, results: Mapping[str, RunResult], learn: Learn, over: Collection[int] = ()
) -> list[tuple[Trial, Outcome | None]]:
    """Every trial that has a run, with what became of it; None where it goes on.

    Those that the sweeper was told of are `over`, however the race stands now: what came later might tell otherwise.
    """
    found: list[tuple[Trial, list[RunSpec], list[RunResult]]] = []
    for number, specs in sorted(by_trial(runs.known()).items()):
        # A failed one has ended too: the search has learnt from it, and does not try it again.
        ended = [results[spec.run_id] for spec in specs if spec.run_id in results]
        ended = [result for result in ended if result.status != "cancelled"]
        found.append((Trial(number, specs[0].params), specs, ended))
    for trial, specs, ended in found:
        if len(ended) == len(specs):
            learn(trial, ended)

    def outcome(trial: Trial, specs: Sequence[RunSpec], ended: Sequence[RunResult]) -> Outcome | None:
        if len(ended) < len(specs) or (trial.number not in over and runs.goes_on(trial, ended)):
            return None
        return runs.outcome(trial, ended)

    return [(trial, outcome(trial, specs, ended)) for trial, specs, ended in found]
