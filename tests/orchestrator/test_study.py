"""The loop of a study, around a launcher whose runs end as told."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.launchers.base import Unstarted
from orchestrator.objective import Objective
from orchestrator.retries import Retry
from orchestrator.store import StudyFolder
from orchestrator.study import Study
from orchestrator.trial_runs import PreparedRuns, by_trial
from sweeps.grid import GridSweeper
from tests.fakes.instant import InstantLauncher, Witness, completes, fails
from trainers.files import read_json
from trainers.spec import RunFolder, RunResult, RunSpec

BETAS = (0.1, 0.2, 0.3)


def specs_of(folder: StudyFolder, betas: Sequence[float] = BETAS, seeds: Sequence[int] = (0,)) -> list[RunSpec]:
    specs = []
    for trial, beta in enumerate(betas):
        for seed in seeds:
            digest = f"{beta}-{seed}".encode().hex().ljust(64, "0")
            spec = RunSpec("s", trial, seed, "dpo", {"beta": beta}, {}, digest, folder.root, folder.root)
            spec = spec.at(folder.run(spec.run_id))
            spec.run_dir.mkdir(parents=True)
            spec.write()
            specs.append(spec)
    return specs


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


def study(
    folder: StudyFolder, specs: Sequence[RunSpec], launcher: InstantLauncher, **given: Any
) -> tuple[Study, Witness]:
    """`given` goes to the study: a sweeper in place of the grid, steps, what it does at a failure."""
    witness = Witness()
    runs = by_trial(specs)
    sweeper = GridSweeper([runs[number][0].params for number in runs])
    objective = Objective("eval/reward_accuracy", "maximize")
    settled = {"sweeper": sweeper, "launcher": launcher, "observer": witness, **given}
    return Study(folder, PreparedRuns(runs, objective), **settled), witness


def test_every_run_is_carried_out(folder: StudyFolder):
    specs = specs_of(folder, seeds=(0, 1))
    made, witness = study(folder, specs, InstantLauncher())
    made.carry_out()
    assert {run_id for run_id, _ in witness.ends} == {spec.run_id for spec in specs}
    assert all(result.status == "completed" for result in made.results.values())


def test_no_more_runs_are_under_way_than_the_launcher_takes(folder: StudyFolder):
    launcher = InstantLauncher(capacity=2)
    study(folder, specs_of(folder, seeds=range(4)), launcher)[0].carry_out()
    assert launcher.most_at_once == 2


def test_a_failed_run_does_not_stop_the_others(folder: StudyFolder):
    specs = specs_of(folder)
    made, _ = study(folder, specs, InstantLauncher(lambda spec: fails(spec) if spec.trial == 1 else completes(spec)))
    made.carry_out()
    assert [made.results[spec.run_id].status for spec in specs] == ["completed", "failed", "completed"]


def test_fail_fast_starts_nothing_after_a_failure(folder: StudyFolder):
    launcher = InstantLauncher(fails, capacity=1)
    made, _ = study(folder, specs_of(folder), launcher, fail_fast=True)
    made.carry_out()
    assert len(launcher.submitted) == 1
    assert made.stopped


def test_what_has_completed_is_not_run_again(folder: StudyFolder):
    specs = specs_of(folder)
    study(folder, specs, InstantLauncher())[0].carry_out()
    again = InstantLauncher()
    made, _ = study(folder, specs, again)
    made.carry_out()
    assert again.submitted == []
    assert len(made.results) == len(specs)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_what_failed_or_was_cancelled_is_run_again(folder: StudyFolder, status: str):
    specs = specs_of(folder)
    RunResult(specs[1].run_id, status, specs[1].params).write(specs[1].folder)  # type: ignore[arg-type]
    launcher = InstantLauncher()
    study(folder, specs, launcher)[0].carry_out()
    assert specs[1].run_id in launcher.submitted


def needing(spec: RunSpec, other: RunSpec) -> RunSpec:
    changed = dataclasses.replace(spec, needs=(other.run_id,))
    changed.folder.spec.unlink()
    changed.write()
    return changed


def test_a_run_begins_when_the_one_it_needs_has_completed(folder: StudyFolder):
    first, second, third = specs_of(folder)
    launcher = InstantLauncher(capacity=3)
    made, witness = study(folder, [needing(first, third), second, third], launcher)
    made.carry_out()
    order = [run_id for run_id, _ in witness.ends]
    assert order.index(third.run_id) < order.index(first.run_id)
    assert launcher.submitted.index(third.run_id) < launcher.submitted.index(first.run_id)
    assert {result.status for result in made.results.values()} == {"completed"}


def test_a_run_whose_needed_one_fails_is_not_started(folder: StudyFolder):
    first, second, third = specs_of(folder)
    launcher = InstantLauncher(lambda spec: fails(spec) if spec.trial == 0 else completes(spec))
    made, _ = study(folder, [first, needing(second, first), third], launcher)
    made.carry_out()
    assert second.run_id not in launcher.submitted
    assert made.results[second.run_id].error == f"not started: {first.run_id}, which it needs, failed"
    assert RunResult.read(second.folder) == made.results[second.run_id]


def test_a_run_that_waits_for_a_cancelled_one_is_left_for_later(folder: StudyFolder):
    first, second, third = specs_of(folder)
    launcher = InstantLauncher(capacity=1)
    made, _ = study(folder, [first, needing(second, first), third], launcher)
    made.stop("a test")
    made.carry_out()
    assert RunResult.read(second.folder) is None
    again, _ = study(folder, [first, needing(second, first), third], InstantLauncher())
    again.carry_out()
    assert again.results[second.run_id].status == "completed"


def test_a_run_may_need_one_that_needs_another(folder: StudyFolder):
    first, second, third = specs_of(folder)
    specs = [needing(first, second), needing(second, third), third]
    made, witness = study(folder, specs, InstantLauncher())
    made.carry_out()
    assert [run_id for run_id, _ in witness.ends] == [third.run_id, second.run_id, first.run_id]


def with_step(folder: StudyFolder, specs: Sequence[RunSpec]) -> tuple[RunSpec, list[RunSpec]]:
    step = dataclasses.replace(specs[0], fingerprint="f" * 64, params={}, step="reference")
    step = step.at(folder.run(step.run_id))
    step.run_dir.mkdir(parents=True, exist_ok=True)
    step.write()
    return step, [dataclasses.replace(spec, after=(step.run_id,)) for spec in specs]


def test_a_step_comes_before_the_runs_that_share_it(folder: StudyFolder):
    step, specs = with_step(folder, specs_of(folder))
    launcher = InstantLauncher(capacity=3)
    made, witness = study(folder, specs, launcher, steps=[step])
    made.carry_out()
    assert witness.ends[0] == (step.run_id, "completed")
    assert launcher.submitted[0] == step.run_id
    assert set(made.results) == {spec.run_id for spec in specs}


def test_runs_do_without_a_step_that_failed(folder: StudyFolder):
    step, specs = with_step(folder, specs_of(folder))
    launcher = InstantLauncher(lambda spec: fails(spec) if spec.step else completes(spec))
    made, witness = study(folder, specs, launcher, steps=[step])
    made.carry_out()
    assert {result.status for result in made.results.values()} == {"completed"}
    assert any("each run does its work by itself" in text for text in witness.said)


def test_a_step_that_nobody_waits_for_any_more_is_left_out(folder: StudyFolder):
    step, specs = with_step(folder, specs_of(folder))
    for spec in specs:
        completes(spec).write(spec.folder)
    launcher = InstantLauncher()
    study(folder, specs, launcher, steps=[step])[0].carry_out()
    assert launcher.submitted == []


def test_a_step_that_has_completed_is_not_done_again(folder: StudyFolder):
    step, specs = with_step(folder, specs_of(folder))
    RunResult(step.run_id, "completed").write(step.folder)
    launcher = InstantLauncher()
    study(folder, specs, launcher, steps=[step])[0].carry_out()
    assert step.run_id not in launcher.submitted
    assert len(launcher.submitted) == len(specs)


def test_a_half_written_result_is_no_result(folder: StudyFolder):
    specs = specs_of(folder)
    specs[0].folder.result.write_text('{"run_id": "t0000')
    launcher = InstantLauncher()
    study(folder, specs, launcher)[0].carry_out()
    assert specs[0].run_id in launcher.submitted


def alike(folder: StudyFolder) -> list[RunSpec]:
    """Two trials that compute the same."""
    specs = specs_of(folder, betas=(0.1, 0.2))
    twin = dataclasses.replace(specs[1], fingerprint=specs[0].fingerprint)
    twin = twin.at(folder.run(twin.run_id))
    twin.run_dir.mkdir()
    twin.write()
    return [specs[0], twin]


def test_runs_that_compute_the_same_are_trained_once(folder: StudyFolder):
    first, second = alike(folder)
    launcher = InstantLauncher()
    made, _ = study(folder, [first, second], launcher)
    made.carry_out()
    assert launcher.submitted == [first.run_id]
    copied = folder.result(second.run_id)
    assert copied is not None
    assert (copied.run_id, copied.same_as, copied.params) == (second.run_id, first.run_id, {"beta": 0.2})
    assert copied.metrics == made.results[first.run_id].metrics


def test_of_alike_runs_one_known_from_before_serves_the_other(folder: StudyFolder):
    first, second = alike(folder)
    completes(first).write(first.folder)
    launcher = InstantLauncher()
    study(folder, [first, second], launcher)[0].carry_out()
    assert launcher.submitted == []
    assert folder.result(second.run_id) is not None


def test_a_stopped_study_starts_nothing_more_and_asks_what_runs_to_save(folder: StudyFolder):
    launcher = InstantLauncher(capacity=1)
    made, witness = study(folder, specs_of(folder), launcher)
    stop_after(launcher, made, times=1)
    made.carry_out()
    assert len(launcher.submitted) == 1
    assert [status for _, status in witness.ends] == ["cancelled"]


def test_stopping_twice_ends_runs_at_once(folder: StudyFolder):
    launcher = InstantLauncher(capacity=1)
    made, _ = study(folder, specs_of(folder), launcher)
    jobs = stop_after(launcher, made, times=2)
    made.carry_out()
    assert jobs[0].cancels == [False, True]


def test_a_cancel_file_stops_the_study(folder: StudyFolder):
    launcher = InstantLauncher(lambda spec: (folder.cancel.touch(), completes(spec))[1], capacity=1)
    made, _ = study(folder, specs_of(folder), launcher)
    made.carry_out()
    assert made.stopped
    assert len(made.results) < len(BETAS)


def test_a_study_taken_over_by_another_controller_stops(folder: StudyFolder):
    launcher = InstantLauncher(capacity=1)
    made, _ = study(folder, specs_of(folder), launcher, still_held=lambda: not launcher.submitted)
    made.carry_out()
    assert made.stopped
    assert len(launcher.submitted) == 1


def test_a_stop_while_a_run_is_being_submitted_reaches_it(folder: StudyFolder):
    class Interrupted(InstantLauncher):
        def submit(self, specs):
            jobs = super().submit(specs)
            made.stop("a signal")
            return jobs

    made, witness = study(folder, specs_of(folder), Interrupted(capacity=1))
    made.carry_out()
    assert [status for _, status in witness.ends] == ["cancelled"]


def test_a_run_that_cannot_be_started_has_failed(folder: StudyFolder):
    class Full(InstantLauncher):
        def submit(self, specs):
            return [Unstarted(spec, OSError(28, "No space left on device")) for spec in specs]

    made, _ = study(folder, specs_of(folder), Full())
    made.carry_out()
    assert all("No space left" in (result.error or "") for result in made.results.values())


def test_the_objective_is_told_once_all_seeds_have_ended(folder: StudyFolder):
    told = []

    class Recorder(GridSweeper):
        def tell(self, trial, outcome):
            super().tell(trial, outcome)
            told.append((trial.number, outcome.state, outcome.value))

    specs = specs_of(folder, betas=(0.5,), seeds=(0, 10))
    study(folder, specs, InstantLauncher(), sweeper=Recorder([{"beta": 0.5}]))[0].carry_out()
    assert told == [(0, "complete", pytest.approx(0.55))]


@pytest.mark.parametrize("repeat", range(5))
def test_whatever_fails_and_stops_no_result_is_lost_or_made_up(folder: StudyFolder, repeat: int):
    """Random outcomes and random stops, started again until done: each run completes once, and is run no more after."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    specs = specs_of(folder, betas=[b / 10 for b in range(1, 8)], seeds=(0, 1))
    completions: list[str] = []

    def script(spec: RunSpec) -> RunResult:
        result = chance.choice((completes, completes, fails))(spec)
        if result.status == "completed":
            completions.append(spec.run_id)
        if chance.random() < 0.2:
            folder.cancel.touch()
        return result

    for _ in range(200):
        made, _ = study(folder, specs, InstantLauncher(script, capacity=chance.randint(1, 4)))
        made.carry_out()
        if all(result.status == "completed" for result in made.results.values()) and len(made.results) == len(specs):
            break
    assert sorted(completions) == sorted(spec.run_id for spec in specs)


def stop_after(launcher: InstantLauncher, made: Study, *, times: int) -> list:
    """Stop the study, `times` times, as its first job is under way; returns the jobs."""
    jobs: list = []
    submit: Callable = launcher.submit

    def wait(timeout_s: float) -> None:
        for _ in range(times):
            made.stop("a test")

    def submit_and_keep(specs: Sequence[RunSpec]):
        jobs.extend(submit(specs))
        return jobs[-1:]

    launcher.wait, launcher.submit = wait, submit_and_keep  # type: ignore[method-assign]
    return jobs


class Cluster(InstantLauncher):
    """Its jobs outlive it: they do not end while they are waited for."""

    outlives = True

    def wait(self, timeout_s: float) -> None:
        pass


def test_who_has_lost_a_study_leaves_its_jobs_to_the_other(folder: StudyFolder):
    """They are the other controller's by now, who would see them cancelled."""
    launcher = Cluster(capacity=8)
    made, _ = study(folder, specs_of(folder), launcher, still_held=lambda: not launcher.submitted)
    made.carry_out()
    assert made.left
    assert not any(job.cancelled for job in launcher._open)


def test_an_interrupted_study_leaves_its_jobs_where_they_outlive_it(folder: StudyFolder):
    launcher = Cluster(capacity=8)
    made, _ = study(folder, specs_of(folder), launcher, still_held=lambda: made.interrupt("SIGINT") or True)
    made.carry_out()
    assert made.left == "SIGINT"
    assert made.under_way() == set(launcher.submitted)


def test_a_study_that_is_detached_ends_when_all_is_submitted(folder: StudyFolder):
    launcher = Cluster(capacity=2)
    made, _ = study(folder, specs_of(folder), launcher, detach=True)
    made.carry_out()
    assert len(launcher.submitted) == 2
    assert not made.results


def test_a_run_that_failed_is_no_persons_wish_again_for_a_controller_that_was_queued_again(folder: StudyFolder):
    launcher = InstantLauncher()
    made, _ = study(folder, specs_of(folder), launcher, failed_again=False)
    spec = RunSpec.read(next(iter(sorted((folder.root / "runs").iterdir()))))
    RunResult(spec.run_id, "failed", spec.params, error="its own").write(spec.folder)
    made.carry_out()
    assert spec.run_id not in launcher.submitted
    assert made.results[spec.run_id].status == "failed"


def test_a_run_is_tried_again_as_its_cause_asks(folder: StudyFolder):
    """What the retry changes is written down before the run is submitted."""
    tries: list[str] = []

    def once(spec: RunSpec, result: RunResult) -> Retry | None:
        tries.append(spec.run_id)
        return Retry({"training.batch_size": 2}) if len(tries) == 1 else None

    launcher = InstantLauncher(fails, capacity=1)
    made, witness = study(folder, specs_of(folder), launcher, retry=once)
    made.carry_out()
    first = launcher.submitted[0]
    assert launcher.submitted.count(first) == 2
    assert read_json(RunFolder(folder.run(first)).adjusted) == {"training.batch_size": 2}
    assert any("is tried again" in text for text in witness.said)
