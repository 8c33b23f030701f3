"""The trials of a study on their way: asked for, begun as runs, given more of them, told to the sweeper.

flow.ask() -> runs of the next trial;  flow.run_ended(number, results) -> further runs of it, or none: then it was told
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.attempts import attempts_made
from orchestrator.limits import Clock, Limits
from orchestrator.trial_runs import TrialImpossible, TrialRuns
from orchestrator.wording import duration, one_line
from sweeps.errors import SweepsError
from sweeps.types import Outcome, Sweeper, Trial
from trainers.spec import RunResult, RunSpec


@dataclass(frozen=True)
class _Begun:
    trial: Trial
    # Grows with the runs that the trial is given later.
    runs: list[RunSpec]


class TrialFlow:
    """Between the sweeper, which knows no runs, and the loop, which knows no trials."""

    def __init__(
        self, runs: TrialRuns, sweeper: Sweeper, limits: Limits, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._runs, self._sweeper, self._limits, self._clock, self._say = runs, sweeper, limits, clock, say
        self._begun: dict[int, _Begun] = {}
        # Trials of earlier controllers that were begun, and those of them that are not over.
        self._earlier: set[int] = set()
        self._unfinished: set[int] = set()
        # Whether the sweeper has no more trials.
        self.exhausted = False
        # Whether it has none before it is told of another that ended.
        self.starved = False
        # Whether no new trial is begun any more because the study's time is over.
        self.out_of_time = False
        # Why the study has to stop; "" while it need not.
        self.halt = ""
        # Whether that is because too many trials have failed.
        self.too_many_failed = False
        self._ended = self._failed = 0

    def take_up(self, known: Sequence[RunSpec], results: Mapping[str, RunResult], under_way: Collection[str]) -> None:
        """Which runs were there before this controller, how those have ended that have, and which have jobs."""
        if self._limits.timeout_s is None:
            return
        for spec in known:
            result = results.get(spec.run_id)
            if result is not None or spec.run_id in under_way or attempts_made(spec.folder):
                self._earlier.add(spec.trial)
                if result is None or not result.final:
                    self._unfinished.add(spec.trial)

    @property
    def may_ask(self) -> bool:
        """Whether another trial may come of asking."""
        return not (self.exhausted or self.starved or self.halt)

    def ask(self) -> Sequence[RunSpec]:
        """The runs of the next trial; none where there is none now, or it has none, which `may_ask` tells apart."""
        late = self._late()
        if late and not self._unfinished:
            self._end_of_time()
            return ()
        try:
            trials = self._sweeper.ask(1)
        except SweepsError as error:
            self._halt(f"the sweeper cannot go on: {error}")
            return ()
        if not trials:
            self.starved = bool(getattr(self._sweeper, "waits", False))
            self.exhausted = not self.starved
            return ()
        (trial,) = trials
        self._unfinished.discard(trial.number)
        if late and trial.number not in self._earlier:
            # It was handed out for nothing, and will be again by the sweeper of the next controller.
            self._end_of_time()
            return ()
        return self._begin(trial)

    def _late(self) -> bool:
        return self._limits.timeout_s is not None and self._clock.spent_s() >= self._limits.timeout_s

    def _end_of_time(self) -> None:
        self.exhausted = self.out_of_time = True
        self._say(f"no new trial is begun: the study has taken {duration(self._clock.spent_s())}, its timeout")

    def _begin(self, trial: Trial) -> Sequence[RunSpec]:
        try:
            runs = self._runs.begin(trial)
        except TrialImpossible as impossible:
            values = " ".join(f"{key}={value}" for key, value in trial.params.items())
            self._say(f"trial {trial.number} ({one_line(values)}) cannot be run: {one_line(str(impossible))}")
            self._tell(trial, Outcome("fail"))
            return ()
        except OSError as error:
            self._halt(f"the runs of trial {trial.number} cannot be written: {error}")
            return ()
        self._begun[trial.number] = _Begun(trial, list(runs))
        return runs if runs else self.run_ended(trial.number, {})

    def run_ended(self, number: int, results: Mapping[str, RunResult]) -> Sequence[RunSpec]:
        """What is to be run of a trial besides, now that a run of it has ended; where nothing is, the sweeper is told.

        `results` are those of the study by run id.
        """
        begun = self._begun.get(number)
        if begun is None:
            return ()
        known = [results.get(spec.run_id) for spec in begun.runs]
        ended = [result for result in known if result is not None and result.status != "cancelled"]
        if len(ended) < len(known):
            return ()
        try:
            more = self._runs.more(begun.trial, ended)
        except OSError as error:
            self._halt(f"more runs of trial {number} cannot be written: {error}")
            return ()
        if more:
            begun.runs.extend(more)
            return more
        del self._begun[number]
        self._tell(begun.trial, self._runs.outcome(begun.trial, ended))
        return ()

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        self.starved = False
        self._ended += 1
        self._failed += outcome.state == "fail"
        try:
            self._sweeper.tell(trial, outcome)
        except SweepsError as error:
            self._halt(f"the sweeper cannot go on: {error}")
        why = self._limits.too_many_failed(self._failed, self._ended)
        if why and not self.halt:
            self.too_many_failed = True
            self._halt(why)

    def _halt(self, why: str) -> None:
        self.halt = self.halt or why
