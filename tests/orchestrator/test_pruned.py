"""What the decision to prune a run makes of its result."""

import dataclasses
from pathlib import Path

import pytest

from orchestrator import ledger, pruned
from orchestrator.pruned import Decision
from orchestrator.reporter import FileReporter
from orchestrator.worker import carry_out
from tests.contracts.small_runs import raises, spec_in, three_steps, until_stopped
from trainers.spec import Reporter, RunResult, RunSpec

DECISION = Decision(2, "eval/reward_accuracy 0.5 at step 2, by asha")


def with_metrics(folder: Path) -> RunSpec:
    spec = spec_in(folder)
    with FileReporter(spec.folder) as reporter:
        reporter.begin("training")
        reporter.report(2, {"train/loss": 0.5})
    return spec


def test_a_decision_is_read_as_it_was_made(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    assert pruned.decision(spec.folder) is None
    pruned.decide(spec.folder, DECISION)
    assert pruned.decision(spec.folder) == DECISION


@pytest.mark.parametrize("written", ["", "{", "[]", '{"step": "many"}'])
def test_a_file_made_by_hand_prunes_too(tmp_path: Path, written: str) -> None:
    spec = spec_in(tmp_path)
    spec.folder.prune.write_text(written)
    assert carry_out(spec.run_dir, until_stopped).status == "pruned"


def test_a_run_that_completed_all_the_same_has_completed(tmp_path: Path) -> None:
    def late(spec: RunSpec, reporter: Reporter) -> RunResult:
        pruned.decide(spec.folder, DECISION)
        return three_steps(spec, reporter)

    assert carry_out(spec_in(tmp_path).run_dir, late).status == "completed"


def test_a_run_that_failed_by_itself_has_failed(tmp_path: Path) -> None:
    def late(spec: RunSpec, reporter: Reporter) -> RunResult:
        pruned.decide(spec.folder, DECISION)
        return raises(spec, reporter)

    spec = spec_in(tmp_path)
    result = carry_out(spec.run_dir, late)
    assert result.status == "failed"
    assert pruned.without_attempt(spec, result) is None


def test_a_run_whose_job_died_before_it_could_obey_is_pruned_without_another(tmp_path: Path) -> None:
    spec = with_metrics(tmp_path)
    pruned.decide(spec.folder, DECISION)
    killed = RunResult(spec.run_id, "failed", spec.params, attempts=1, error="killed by signal 9", cause="killed")
    result = pruned.without_attempt(spec, killed)
    assert result is not None
    assert (result.status, result.error, result.cause, result.why) == ("pruned", None, None, DECISION.why)
    assert (result.steps, result.metrics) == (2, {"train/loss": 0.5})
    assert RunResult.read(spec.folder) == result
    assert ledger.causes(spec.folder) == {}


def test_of_a_run_that_another_process_works_on_nothing_is_said(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    pruned.decide(spec.folder, DECISION)
    assert pruned.without_attempt(spec, RunResult(spec.run_id, "failed", cause="busy")) is None


def test_an_interrupted_run_that_is_to_be_pruned_is_pruned(tmp_path: Path) -> None:
    def interrupted(spec: RunSpec, reporter: Reporter) -> RunResult:
        pruned.decide(spec.folder, DECISION)
        raise KeyboardInterrupt

    spec = spec_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        carry_out(spec.run_dir, interrupted, heed_signals=False)
    result = RunResult.read(spec.folder)
    assert result is not None
    assert result.status == "pruned"


def test_who_deletes_decision_and_result_has_the_run_again(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    pruned.decide(spec.folder, DECISION)
    assert carry_out(spec.run_dir, three_steps).status == "pruned"
    spec.folder.prune.unlink()
    spec.folder.result.unlink()
    assert carry_out(spec.run_dir, three_steps).status == "completed"


def test_a_result_of_before_there_was_a_reason_can_be_read(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    result = RunResult(spec.run_id, "completed", {"beta": 0.1})
    spec.folder.result.write_text(
        '{"run_id": "%s", "status": "completed", "params": {"beta": 0.1}}' % spec.run_id  # noqa: UP031
    )
    assert RunResult.read(spec.folder) == dataclasses.replace(result, why=None)
