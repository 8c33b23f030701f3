"""The loop of a study whose trials are made as it goes on: by a scripted sweeper, around a launcher of instant runs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator import pruned
from orchestrator.limits import Limits
from orchestrator.pruned import Decision
from orchestrator.store import StudyFolder
from orchestrator.study import Study
from sweeps.errors import SweepsError
from sweeps.types import Outcome, Trial
from tests.fakes.instant import InstantJob, InstantLauncher, Witness, completes, fails
from tests.fakes.searching import MadeRuns, ScriptedSweeper
from trainers.files import write_json
from trainers.spec import RunResult, RunSpec

BETAS = tuple(n / 10 for n in range(1, 9))


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = StudyFolder(tmp_path / "study")
    made.root.mkdir()
    return made


def search(
    folder: StudyFolder,
    sweeper: ScriptedSweeper,
    launcher: InstantLauncher | None = None,
    runs: MadeRuns | None = None,
    **given: Any,
) -> tuple[Study, Witness]:
    witness = Witness()
    launcher = launcher or InstantLauncher()
    return Study(
        folder, runs or MadeRuns(folder), sweeper=sweeper, launcher=launcher, observer=witness, **given
    ), witness


def states(sweeper: ScriptedSweeper) -> dict[int, str]:
    return {number: outcome.state for number, outcome in sweeper.told}


def test_each_trial_is_told_in_whichever_order_they_end(folder: StudyFolder) -> None:
    sweeper = ScriptedSweeper(BETAS)
    search(folder, sweeper, InstantLauncher(capacity=3))[0].carry_out()
    assert {number: outcome.value for number, outcome in sweeper.told} == dict(enumerate(BETAS))
    assert [number for number, _ in sweeper.told] != sorted(range(len(BETAS)))


def test_a_trial_is_asked_for_when_a_slot_is_free_and_not_before(folder: StudyFolder) -> None:
    """What is asked for later is asked for with more outcomes told."""
    sweeper = ScriptedSweeper(BETAS)
    ahead: list[int] = []

    def counting(spec: RunSpec) -> RunResult:
        ahead.append(len(sweeper.asked) - len(sweeper.told))
        return completes(spec)

    search(folder, sweeper, InstantLauncher(counting, capacity=2))[0].carry_out()
    assert max(ahead) == 2


def test_no_more_runs_than_max_parallel_are_under_way(folder: StudyFolder) -> None:
    sweeper, launcher = ScriptedSweeper(BETAS), InstantLauncher(capacity=5)
    search(folder, sweeper, launcher, limits=Limits(max_parallel=2))[0].carry_out()
    assert launcher.most_at_once == 2
    assert len(sweeper.told) == len(BETAS)


def test_a_sweeper_that_waits_for_outcomes_is_asked_again_when_it_was_told_one(folder: StudyFolder) -> None:
    sweeper, launcher = ScriptedSweeper(BETAS, generation=2), InstantLauncher(capacity=5)
    search(folder, sweeper, launcher)[0].carry_out()
    assert launcher.most_at_once == 2
    assert len(sweeper.told) == len(BETAS)


def test_a_sweeper_that_waits_for_nothing_that_is_under_way_ends_the_study(folder: StudyFolder) -> None:
    sweeper = ScriptedSweeper(BETAS, generation=0)
    search(folder, sweeper)[0].carry_out()
    assert sweeper.asked == []


@pytest.mark.parametrize("broken", ["fails", "tells nothing", "no number"])
def test_a_run_that_gives_no_value_is_a_failed_trial_and_the_search_goes_on(folder: StudyFolder, broken: str) -> None:
    def script(spec: RunSpec) -> RunResult:
        if spec.trial != 1:
            return completes(spec)
        metrics: dict[str, float | None] = {"eval/reward_accuracy": None} if broken == "no number" else {}
        return fails(spec) if broken == "fails" else dataclasses.replace(completes(spec), metrics=metrics)

    sweeper = ScriptedSweeper(BETAS)
    search(folder, sweeper, InstantLauncher(script))[0].carry_out()
    assert states(sweeper) == {n: "fail" if n == 1 else "complete" for n in range(len(BETAS))}


def test_a_trial_that_cannot_be_run_fails_with_its_reasons_told(folder: StudyFolder) -> None:
    sweeper, launcher = ScriptedSweeper(BETAS), InstantLauncher()
    _, witness = made = search(folder, sweeper, launcher, MadeRuns(folder, impossible=[2]))
    made[0].carry_out()
    assert states(sweeper)[2] == "fail"
    assert len(launcher.submitted) == len(BETAS) - 1
    told = "trial 2 (beta=0.3) cannot be run: beta: it must be smaller; gamma: there is none"
    assert told in witness.said


def test_a_trial_has_its_next_seed_when_the_last_has_ended(folder: StudyFolder) -> None:
    sweeper, launcher, runs = ScriptedSweeper((0.5, 0.6)), InstantLauncher(), MadeRuns(folder, seeds=3)
    search(folder, sweeper, launcher, runs)[0].carry_out()
    assert [run_id[:8] for run_id in launcher.submitted if run_id.startswith("t0000")] == [
        "t0000-s0", "t0000-s1", "t0000-s2"
    ]  # fmt: skip
    assert sorted(runs.asked_for_more) == [(n, ended) for n in (0, 1) for ended in (1, 2, 3)]
    values = {number: outcome.value for number, outcome in sweeper.told}
    assert values == {0: pytest.approx(0.51), 1: pytest.approx(0.61)}


def test_a_trial_is_pruned_with_its_run(folder: StudyFolder) -> None:
    def script(spec: RunSpec) -> RunResult:
        return dataclasses.replace(completes(spec), status="pruned") if spec.trial == 3 else completes(spec)

    sweeper = ScriptedSweeper(BETAS)
    made, _ = search(folder, sweeper, InstantLauncher(script))
    made.carry_out()
    assert (3, Outcome("pruned")) in sweeper.told
    again, launcher = ScriptedSweeper(BETAS), InstantLauncher()
    search(folder, again, launcher)[0].carry_out()
    assert launcher.submitted == []
    assert states(again)[3] == "pruned"


def test_a_run_that_is_to_be_pruned_is_not_submitted_again(folder: StudyFolder) -> None:
    """Its controller was killed, and the run with it, before it could obey."""
    runs = MadeRuns(folder)
    (spec,) = runs.begin(Trial(0, {"beta": BETAS[0]}))
    pruned.decide(spec.folder, Decision(3, "too low"))
    sweeper, launcher = ScriptedSweeper(BETAS), InstantLauncher()
    made, _ = search(folder, sweeper, launcher, runs)
    made.carry_out()
    assert spec.run_id not in launcher.submitted
    assert states(sweeper)[0] == "pruned"
    assert made.results[spec.run_id].why == "too low"


def test_too_many_failures_stop_the_study_with_the_reason(folder: StudyFolder) -> None:
    sweeper = ScriptedSweeper(BETAS)
    made, witness = search(folder, sweeper, InstantLauncher(fails, capacity=1), limits=Limits(max_failure_rate=0.5))
    made.carry_out()
    assert len(sweeper.told) == 5
    assert made.stopped
    assert made.failed_fast
    assert "stopping: 5 of 5 trials failed, more than max_failure_rate=0.5 allows" in witness.said


def test_as_many_failures_as_are_allowed_stop_nothing(folder: StudyFolder) -> None:
    sweeper = ScriptedSweeper(BETAS)
    launcher = InstantLauncher(lambda spec: fails(spec) if spec.trial % 2 else completes(spec), capacity=1)
    made, _ = search(folder, sweeper, launcher, limits=Limits(max_failure_rate=0.5))
    made.carry_out()
    assert not made.stopped
    assert len(sweeper.told) == len(BETAS)


def test_a_sweeper_that_fails_stops_the_study_and_the_runs_save_a_checkpoint(folder: StudyFolder) -> None:
    class Unreachable(ScriptedSweeper):
        def ask(self, n: int) -> Sequence[Trial]:
            if len(self.asked) == 3:
                raise SweepsError("the storage does not answer")
            return super().ask(n)

    sweeper = Unreachable(BETAS)
    made, witness = search(folder, sweeper, InstantLauncher(capacity=2))
    made.carry_out()
    assert made.stopped
    assert any("the sweeper cannot go on: the storage does not answer" in text for text in witness.said)
    assert "cancelled" in {status for _, status in witness.ends}


def test_runs_that_cannot_be_written_stop_the_study(folder: StudyFolder) -> None:
    class Full(MadeRuns):
        def begin(self, trial: Trial) -> Sequence[RunSpec]:
            raise OSError(28, "No space left on device")

    made, witness = search(folder, ScriptedSweeper(BETAS), runs=Full(folder))
    made.carry_out()
    assert made.stopped
    assert any("No space left" in text for text in witness.said)


def test_when_the_time_of_all_controllers_is_over_no_new_trial_is_begun(folder: StudyFolder) -> None:
    write_json(folder.clock, {"spent_s": 3600.0})
    sweeper, launcher = ScriptedSweeper(BETAS), InstantLauncher()
    made, witness = search(folder, sweeper, launcher, limits=Limits(timeout_s=3000))
    made.carry_out()
    assert launcher.submitted == []
    assert made.out_of_time
    assert not made.stopped
    assert any("no new trial is begun" in text for text in witness.said)


def test_when_the_time_is_over_trials_that_were_begun_are_brought_to_their_end(folder: StudyFolder) -> None:
    """And the one that had to be asked for to find that out is not begun."""
    runs = MadeRuns(folder, seeds=2)
    for trial in (Trial(0, {"beta": BETAS[0]}), Trial(1, {"beta": BETAS[1]})):
        (spec,) = runs.begin(trial)
        completes(spec).write(spec.folder)
        runs.more(trial, [completes(spec)])
    RunResult("t0000-s1", "cancelled").write(runs.known()[1].folder)
    write_json(folder.clock, {"spent_s": 3600.0})
    sweeper, launcher = ScriptedSweeper(BETAS), InstantLauncher()
    search(folder, sweeper, launcher, MadeRuns(folder, seeds=2), limits=Limits(timeout_s=3000))[0].carry_out()
    assert [run_id[:8] for run_id in launcher.submitted] == ["t0000-s1"]
    assert states(sweeper) == {0: "complete"}


def test_time_is_counted_on_from_controller_to_controller(folder: StudyFolder) -> None:
    write_json(folder.clock, {"spent_s": 3600.0})
    search(folder, ScriptedSweeper(BETAS), limits=Limits(timeout_s=4000))[0].carry_out()
    assert '"spent_s": 3600.' in folder.clock.read_text()


def test_a_resumed_search_knows_the_results_of_trials_that_are_over(folder: StudyFolder) -> None:
    """The sweeper does not hand them out again."""
    search(folder, ScriptedSweeper(BETAS[:3]))[0].carry_out()
    sweeper = ScriptedSweeper(BETAS[:5], over=(0, 1, 2))
    made, _ = search(folder, sweeper)
    made.carry_out()
    assert sorted(states(sweeper)) == [3, 4]
    assert {result.run_id[:5] for result in made.all_results().values()} == {f"t000{n}" for n in range(5)}
    assert len(made.results) == 2


def test_a_trial_that_computes_what_one_of_before_did_is_not_trained_again(folder: StudyFolder) -> None:
    search(folder, ScriptedSweeper((0.5,)))[0].carry_out()
    sweeper, launcher = ScriptedSweeper((0.5, 0.5), over=(0,)), InstantLauncher()
    made, _ = search(folder, sweeper, launcher)
    made.carry_out()
    assert launcher.submitted == []
    assert sweeper.told == [(1, Outcome("complete", (0.5,)))]


def test_jobs_that_an_earlier_controller_left_are_taken_up_though_no_slot_is_free(folder: StudyFolder) -> None:
    class Left(InstantLauncher):
        def adopt(self, specs: Sequence[RunSpec]) -> list[InstantJob]:
            self._open = [InstantJob(spec, completes) for spec in specs]
            return list(self._open)

    runs, launcher, sweeper = MadeRuns(folder), Left(capacity=2), ScriptedSweeper(BETAS)
    left = [spec.run_id for n in (0, 1) for spec in runs.begin(Trial(n, {"beta": BETAS[n]}))]
    made, _ = search(folder, sweeper, launcher, runs)
    made.carry_out()
    assert not set(left) & set(launcher.submitted)
    assert len(sweeper.told) == len(BETAS)
    assert launcher.most_at_once <= 2


def test_a_step_is_begun_when_a_run_first_asks_for_it(folder: StudyFolder) -> None:
    step = RunSpec("s", 0, 0, "dpo", {}, {}, "f" * 64, folder.root, folder.root, step="reference")
    step = step.at(folder.run(step.run_id))
    folder.write_specs([step])
    launcher = InstantLauncher(capacity=3)
    sweeper = ScriptedSweeper(BETAS)
    _, witness = made = search(folder, sweeper, launcher, MadeRuns(folder, after=step.run_id), steps=[step])
    made[0].carry_out()
    assert launcher.submitted.count(step.run_id) == 1
    assert witness.ends[0] == (step.run_id, "completed")
    assert len(sweeper.told) == len(BETAS)


def test_a_watch_hears_of_every_run_from_its_start_to_its_end(folder: StudyFolder) -> None:
    heard: list[str] = []

    class Recorder:
        def start(self, known: Sequence[RunSpec]) -> None:
            heard.append(f"start {len(known)}")

        def begin(self, spec: RunSpec) -> None:
            heard.append(f"begin {spec.trial}")

        def end(self, spec: RunSpec, result: RunResult) -> None:
            heard.append(f"end {spec.trial} {result.status}")

        def news(self) -> list[str]:
            return ["news"] if heard[-1] == "close" else []

        def close(self) -> None:
            heard.append("close")

    made, witness = search(folder, ScriptedSweeper((0.5, 0.6)), InstantLauncher(capacity=1), watch=Recorder())
    made.carry_out()
    assert heard == ["start 0", "begin 0", "end 0 completed", "begin 1", "end 1 completed", "close"]
    assert witness.said == ["news"]


@pytest.mark.parametrize("repeat", range(5))
def test_a_search_that_is_stopped_anywhere_and_resumed_ends_with_the_same_trials(
    folder: StudyFolder, repeat: int
) -> None:
    """However many controllers it takes, each run completes once."""
    completions: list[str] = []

    def script(spec: RunSpec) -> RunResult:
        completions.append(spec.run_id)
        if len(completions) % (repeat + 2) == 0:
            folder.cancel.touch()
        return completes(spec)

    for _ in range(40):
        sweeper = ScriptedSweeper(BETAS)
        made, _ = search(folder, sweeper, InstantLauncher(script, capacity=3), MadeRuns(folder, seeds=2))
        made.carry_out()
        folder.cancel.unlink(missing_ok=True)
        if not made.stopped:
            break
    assert sorted(states(sweeper)) == list(range(len(BETAS)))
    assert len(completions) == len(set(completions)) == 2 * len(BETAS)
