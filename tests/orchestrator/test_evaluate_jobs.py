"""Evaluations on their way through a launcher: several at a time, stopped, failed, two commands at once."""

from pathlib import Path

from orchestrator.attempts import alone_in
from orchestrator.evaluation.jobs import Evaluations, step_of
from orchestrator.evaluation.sources import Subject
from orchestrator.retries import Retry
from tests.fakes.finished_study import Finished, finished_study
from tests.fakes.instant import InstantLauncher, Witness, completes, fails
from trainers.spec import FINAL, RunResult, RunSpec


def steps(tmp_path: Path, count: int = 3) -> list[RunSpec]:
    root = finished_study(tmp_path, [Finished(beta=0.1 * place) for place in range(count)])
    specs = [RunSpec.read(path) for path in sorted((root / "runs").iterdir())]
    return [step_of(Subject(spec, FINAL, None, None), spec.config, tmp_path) for spec in specs]


def evaluations(given: list[RunSpec], launcher: InstantLauncher, witness: Witness | None = None) -> Evaluations:
    return Evaluations(given, launcher, witness or Witness(), lambda _step, _result: None)


def test_each_has_a_folder_of_its_own_beside_its_run(tmp_path: Path) -> None:
    given = steps(tmp_path)
    jobs = evaluations(given, InstantLauncher())
    jobs.carry_out()
    assert jobs.completed == {step.run_dir for step in given}
    read = RunSpec.read(given[0].run_dir)
    assert (read.step, read.policy, read.run_dir.parent) == ("evaluation", FINAL, tmp_path / "study" / "runs")
    assert (read.run_dir.parent / read.needs[0] / "spec.json").exists()
    assert len({step.run_id for step in given}) == 3


def test_policies_of_one_run_have_different_folders(tmp_path: Path) -> None:
    spec = RunSpec.read(next((finished_study(tmp_path, [Finished()]) / "runs").iterdir()))
    made = {step_of(Subject(spec, name, None, None), {}, tmp_path).run_id for name in (FINAL, "checkpoint-4")}
    assert len(made) == 2


def test_several_go_on_at_a_time(tmp_path: Path) -> None:
    launcher = InstantLauncher(capacity=2)
    evaluations(steps(tmp_path), launcher).carry_out()
    assert (launcher.most_at_once, len(launcher.submitted)) == (2, 3)


def test_the_same_again_is_done_again(tmp_path: Path) -> None:
    given = steps(tmp_path, 1)
    evaluations(given, InstantLauncher()).carry_out()
    launcher = InstantLauncher()
    evaluations(given, launcher).carry_out()
    assert launcher.submitted == [given[0].run_id]


def test_one_that_fails_leaves_the_others(tmp_path: Path) -> None:
    given = steps(tmp_path)
    first = given[0].run_id
    jobs = evaluations(given, InstantLauncher(lambda spec: (fails if spec.run_id == first else completes)(spec)))
    jobs.carry_out()
    assert (jobs.failed, len(jobs.completed)) == ({given[0].run_dir}, 2)


def test_what_another_command_measures_now_is_left_to_it(tmp_path: Path) -> None:
    given = steps(tmp_path, 2)
    given[0].run_dir.mkdir()
    launcher = InstantLauncher()
    jobs = evaluations(given, launcher)
    with alone_in(given[0].folder):
        jobs.carry_out()
    assert launcher.submitted == [given[1].run_id]
    assert "measured already" in (jobs.results[given[0].run_dir].error or "")
    assert not given[0].folder.spec.exists()


def test_a_folder_that_cannot_be_written_is_a_failure_of_its_own(tmp_path: Path) -> None:
    given = steps(tmp_path, 2)
    given[0].run_dir.touch()
    jobs = evaluations(given, InstantLauncher())
    jobs.carry_out()
    assert (jobs.failed, jobs.completed) == ({given[0].run_dir}, {given[1].run_dir})


class Interrupting(Witness):
    """Interrupts what it watches as soon as something has ended."""

    jobs: Evaluations

    def ended(self, spec: RunSpec, result: RunResult) -> None:
        super().ended(spec, result)
        self.jobs.interrupt("SIGINT")


def test_an_interrupt_ends_what_is_under_way_and_starts_nothing(tmp_path: Path) -> None:
    launcher, witness = InstantLauncher(capacity=2), Interrupting()
    jobs = witness.jobs = evaluations(steps(tmp_path), launcher, witness)
    jobs.carry_out()
    assert (jobs.stopped, len(launcher.submitted), len(jobs.completed), jobs.failed) == (True, 2, 1, set())
    assert "once more to stop at once" in witness.said[0]


def test_one_that_may_be_tried_again_is(tmp_path: Path) -> None:
    given, tried = steps(tmp_path, 1), []

    def script(spec: RunSpec) -> RunResult:
        tried.append(spec.folder.adjusted.exists())
        return (completes if len(tried) > 1 else fails)(spec)

    def retry(_step: RunSpec, result: RunResult) -> Retry | None:
        return Retry({"evaluation.batch_size": 2}) if result.status == "failed" else None

    jobs = Evaluations(given, InstantLauncher(script), Witness(), retry)
    jobs.carry_out()
    assert (tried, jobs.completed) == ([False, True], {given[0].run_dir})
