"""A search without a sampler: trials by a script, and runs that are made when a trial is handed out."""

from collections.abc import Mapping, Sequence

from orchestrator.objective import Objective
from orchestrator.store import StudyFolder
from orchestrator.trial_runs import TrialImpossible, outcome_of
from sweeps.errors import UnknownTrial
from sweeps.types import Outcome, Trial
from trainers.spec import RunResult, RunSpec

OBJECTIVE = Objective("eval/reward_accuracy", "maximize")


class ScriptedSweeper:
    """Hands out one trial for each beta; with `generation`, no more than so many beyond those it was told of."""

    def __init__(self, betas: Sequence[float], generation: int | None = None, over: Sequence[int] = ()) -> None:
        """`over` are trials that an earlier controller has told it of."""
        self._trials = [Trial(n, {"beta": beta}) for n, beta in enumerate(betas) if n not in over]
        self._generation = generation
        self._untold: set[int] = set()
        self.asked: list[int] = []
        self.told: list[tuple[int, Outcome]] = []

    @property
    def waits(self) -> bool:
        return bool(self._trials)

    def ask(self, n: int) -> Sequence[Trial]:
        if self._generation is not None:
            n = min(n, self._generation - len(self._untold))
        trials, self._trials = self._trials[:n], self._trials[n:]
        self.asked += [trial.number for trial in trials]
        self._untold |= {trial.number for trial in trials}
        return trials

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        if trial.number not in self._untold:
            raise UnknownTrial(f"trial {trial.number}")
        self._untold.remove(trial.number)
        self.told.append((trial.number, outcome))


class MadeRuns:
    """Makes a run for each trial when it begins, and more of them up to `seeds`, one at a time."""

    def __init__(self, folder: StudyFolder, seeds: int = 1, impossible: Sequence[int] = (), after: str = "") -> None:
        self._folder, self._seeds, self._impossible, self._after = folder, seeds, impossible, after
        self.asked_for_more: list[tuple[int, int]] = []

    def known(self) -> Sequence[RunSpec]:
        return [RunSpec.read(path) for path in sorted((self._folder.root / "runs").glob("t*"))]

    def begin(self, trial: Trial) -> Sequence[RunSpec]:
        if trial.number in self._impossible:
            raise TrialImpossible(["beta: it must be smaller", "gamma: there is none"])
        return [self._made(trial, 0)]

    def more(self, trial: Trial, results: Sequence[RunResult]) -> Sequence[RunSpec]:
        self.asked_for_more.append((trial.number, len(results)))
        return [self._made(trial, len(results))] if len(results) < self._seeds else ()

    def outcome(self, trial: Trial, results: Sequence[RunResult]) -> Outcome:
        return outcome_of(results, OBJECTIVE)

    def _made(self, trial: Trial, seed: int) -> RunSpec:
        digest = f"{trial.params['beta']}-{seed}".encode().hex().ljust(64, "0")
        params: Mapping[str, object] = trial.params
        spec = RunSpec("s", trial.number, seed, "dpo", params, {}, digest, self._folder.root, self._folder.root)  # type: ignore[arg-type]
        if self._after:
            spec = RunSpec(**{**vars(spec), "after": (self._after,)})
        spec = spec.at(self._folder.run(spec.run_id))
        self._folder.write_specs([spec])
        return spec
