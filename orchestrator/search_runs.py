"""Makes the runs of a search's trials when these are handed out: composed, checked, their specs on disk.

Trial(7, {"beta": 0.034}) -> runs/t0007-s0-1a2b3c4d; once that has completed, and is not out of the running, seed 1 too
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.config import Composer
from orchestrator.faults import Faults
from orchestrator.objective import Objective
from orchestrator.planned import Planned, planned_runs
from orchestrator.reporter import reported
from orchestrator.search_space import Searched
from orchestrator.settings import StudySettings
from orchestrator.specs import spec_of
from orchestrator.store import StudyFolder
from orchestrator.trial_runs import TrialImpossible
from sweeps.types import Outcome, Trial
from trainers.errors import InvalidInput
from trainers.spec import RunFolder, RunResult, RunSpec

# Whether a trial, of which some seeds have ended, needs no more of them.
Enough = Callable[[Trial, Sequence[RunResult]], bool]
# What is done to a run before its spec is made. Raises InvalidInput.
Prepare = Callable[[Planned], Planned]


class SearchRuns:
    """Of one study; `compose` must be open as long as trials are handed out."""

    def __init__(
        self,
        folder: StudyFolder,
        name: str,
        compose: Composer,
        searched: Searched,
        *,
        seeds: Sequence[int],
        settings: StudySettings,
        cache_dir: Path,
        known: Sequence[RunSpec] = (),
        prepare: Prepare = lambda run: run,
        enough: Enough = lambda trial, results: False,  # noqa: ARG005 - the interface
    ) -> None:
        """`known` are the runs that earlier controllers have made."""
        self.folder, self.seeds = folder, seeds
        self._name, self._compose, self._searched = name, compose, searched
        self._settings, self._cache_dir = settings, cache_dir
        self._prepare, self._enough = prepare, enough
        self._objective = Objective.of(settings.objective.directions)
        self._made: dict[int, list[RunSpec]] = {}
        for spec in known:
            self._made.setdefault(spec.trial, []).append(spec)

    def known(self) -> list[RunSpec]:
        """Every run made so far."""
        return [spec for specs in self._made.values() for spec in specs]

    def begin(self, trial: Trial) -> Sequence[RunSpec]:
        """Its runs so far, or the one on its first seed. Raises TrialImpossible, and OSError."""
        return self._made.get(trial.number) or [self._make(trial, self.seeds[0])]

    def more(self, trial: Trial, results: Sequence[RunResult]) -> Sequence[RunSpec]:
        """The run on the next seed, where there is one and the trial is still in the running."""
        return [self._make(trial, self.seeds[len(results)])] if self.goes_on(trial, results) else []

    def goes_on(self, trial: Trial, results: Sequence[RunResult]) -> bool:
        """Whether a trial whose runs so far have ended is given another seed."""
        left = len(results) < len(self.seeds) and all(result.status == "completed" for result in results)
        # Asked in any case: by the last seed too it is known how the others stand.
        return not self._enough(trial, results) and left

    def outcome(self, trial: Trial, results: Sequence[RunResult]) -> Outcome:
        """The mean over its seeds; pruned where a run was, or where it was not given all of them."""
        pruned = [result for result in results if result.status == "pruned"]
        if any(result.status not in ("completed", "pruned") for result in results):
            return Outcome("fail")
        values = self._objective.values([replace(result, status="completed") for result in results])
        if pruned or (values is not None and len(self._made[trial.number]) < len(self.seeds)):
            return Outcome("pruned", values, self._reports(results))
        return Outcome("fail") if values is None else Outcome("complete", values)

    def _reports(self, results: Sequence[RunResult]) -> dict[int, float]:
        """What a pruned trial said on its way, for samplers to learn from: its seeds as one long run."""
        reports: dict[int, float] = {}
        ended: list[RunResult] = []
        before = 0
        for result in results:
            ended.append(result)
            values = self._objective.values(ended)
            if values is None:
                said = reported(RunFolder(self.folder.run(result.run_id)), self._objective.metric)
                reports |= {before + step: value for step, value in said.items()}
                break
            before += result.steps
            reports[before] = values[0]
        return reports

    def _make(self, trial: Trial, seed: int) -> RunSpec:
        draft = self._searched.draft(self._compose, trial)
        draft = replace(draft, swept=[*draft.swept, f"seed={seed}"])
        faults = Faults([trial])
        planned = planned_runs(self._compose, [draft], None, self._settings, faults)
        if faults.told():
            raise TrialImpossible(faults.told())
        try:
            prepared = self._prepare(planned[0])
        except InvalidInput as error:
            raise TrialImpossible(error.faults) from None
        spec = spec_of(prepared, self._name, self.folder, self._cache_dir)
        self.folder.write_specs([spec])
        self._made.setdefault(trial.number, []).append(spec)
        return spec
