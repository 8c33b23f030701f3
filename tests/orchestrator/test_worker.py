"""What a worker leaves in a run's folder, whatever happens to it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.attempts import RunFolderBusy, alone_in, attempts_made
from orchestrator.reporter import FileReporter, MetricsFile, last_metrics
from orchestrator.worker import carry_out, main
from tests.contracts.small_runs import HERE, nothing, raises, spec_in, three_steps, until, until_stopped
from trainers.files import read_json, write_json
from trainers.spec import Reporter, RunFolder, RunResult, RunSpec


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.metrics.read_text().splitlines()]


def steps(folder: RunFolder) -> list[int]:
    return [line["step"] for line in lines(folder)]


def reporting(spec: RunSpec, *reports: tuple[int, Mapping[str, float]], phase: str = "training") -> None:
    """An attempt that makes these reports and no more."""
    with FileReporter(spec.folder) as reporter:
        reporter.begin(phase)
        for step, metrics in reports:
            reporter.report(step, metrics)


def test_importing_the_worker_imports_nothing_heavy() -> None:
    """What trains is imported when a run begins."""
    program = "import sys, orchestrator.worker, orchestrator.launchers.local; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 0


def test_a_result_is_written_and_returned(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    result = carry_out(spec.run_dir, three_steps)
    assert (result.status, result.steps, result.attempts) == ("completed", 3, 1)
    assert RunResult.read(spec.folder) == result
    assert steps(spec.folder) == [1, 2, 3]


def test_a_run_that_has_completed_is_not_attempted_again(tmp_path: Path) -> None:
    """Two jobs of a cluster may come upon the same run, one of them given up for lost too early."""
    spec = spec_in(tmp_path)
    result = carry_out(spec.run_dir, three_steps)
    assert carry_out(spec.run_dir, raises) == result
    assert attempts_made(spec.folder) == 1
    assert RunResult.read(spec.folder) == result


def test_attempts_count_also_those_that_left_no_result(tmp_path: Path) -> None:
    """Failed, killed and cancelled attempts all count."""
    spec = spec_in(tmp_path, 1)
    assert carry_out(spec.run_dir, raises).attempts == 1
    command = [sys.executable, "-m", "orchestrator.worker", str(spec.run_dir), "--train", f"{HERE}:killed"]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True).returncode == -signal.SIGKILL
    assert attempts_made(spec.folder) == 2
    assert carry_out(spec.run_dir, nothing).attempts == 3


def test_a_bug_is_a_failed_result_that_keeps_the_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Type and message are its error; the traceback goes to the log."""

    def breaks(spec: RunSpec, reporter: Reporter) -> RunResult:
        reporter.report(4, {"train/loss": 0.5})
        raise ZeroDivisionError("by zero")

    result = carry_out(spec_in(tmp_path).run_dir, breaks)
    assert (result.status, result.error) == ("failed", "ZeroDivisionError: by zero")
    assert (result.steps, result.metrics) == (4, {"train/loss": 0.5})
    assert "in breaks" in capsys.readouterr().err


def test_a_run_that_exits_is_a_failed_result(tmp_path: Path) -> None:
    def exits(spec: RunSpec, reporter: Reporter) -> RunResult:
        sys.exit(0)

    assert carry_out(spec_in(tmp_path).run_dir, exits).status == "failed"


def written_before_the_interrupt(folder: Path, train: Callable[[RunSpec, Reporter], RunResult]) -> RunResult:
    """The result on disk of a run that ends in a KeyboardInterrupt, which reaches who carries it out."""
    spec = spec_in(folder)
    with pytest.raises(KeyboardInterrupt):
        carry_out(spec.run_dir, train, heed_signals=False)
    written = RunResult.read(spec.folder)
    assert written is not None
    return written


def test_an_interrupted_run_is_cancelled_and_the_interrupt_goes_on(tmp_path: Path) -> None:
    """In a debugger Ctrl-C is for the controller."""

    def interrupted(spec: RunSpec, reporter: Reporter) -> RunResult:
        raise KeyboardInterrupt

    assert written_before_the_interrupt(tmp_path, interrupted).status == "cancelled"


def test_values_that_json_has_not_become_null(tmp_path: Path) -> None:
    def diverges(spec: RunSpec, reporter: Reporter) -> RunResult:
        reporter.report(1, {"train/loss": float("nan"), "train/grad_norm": float("inf")})
        return RunResult(spec.run_id, "completed", spec.params, {"eval/margin_nats": float("nan")})

    spec = spec_in(tmp_path)
    assert carry_out(spec.run_dir, diverges).metrics == {"eval/margin_nats": None}
    (line,) = lines(spec.folder)
    assert (line["train/loss"], line["train/grad_norm"]) == (None, None)


def test_a_result_that_json_cannot_hold_is_a_failure(tmp_path: Path) -> None:
    def odd(spec: RunSpec, reporter: Reporter) -> RunResult:
        return RunResult(spec.run_id, "completed", {"beta": object()})  # type: ignore[dict-item]

    spec = spec_in(tmp_path)
    assert carry_out(spec.run_dir, odd).status == "failed"
    assert "cannot be written as JSON" in str(read_json(spec.folder.result)["error"])


def test_a_second_worker_in_a_folder_changes_nothing(tmp_path: Path) -> None:
    """It is told who is at work there."""
    spec = spec_in(tmp_path)
    spec.folder.stop.touch()
    with alone_in(spec.folder):
        before = sorted(spec.run_dir.iterdir())
        with pytest.raises(RunFolderBusy, match="changed nothing"):
            carry_out(spec.run_dir, nothing)
        assert sorted(spec.run_dir.iterdir()) == before


def test_a_killed_worker_releases_its_folder(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    command = [sys.executable, "-m", "orchestrator.worker", str(spec.run_dir), "--train", f"{HERE}:deaf"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        until(spec.folder.metrics.exists)
        process.kill()
    assert carry_out(spec.run_dir, nothing).status == "completed"


def test_a_stop_asked_before_the_run_began_is_obeyed_once(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    spec.folder.stop.touch()
    assert carry_out(spec.run_dir, until_stopped).status == "cancelled"
    assert not spec.folder.stop.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_signals_ask_for_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    """The handlers of whoever called are back afterwards."""

    def signalled(spec: RunSpec, reporter: Reporter) -> RunResult:
        os.kill(os.getpid(), number)
        return until_stopped(spec, reporter)

    before = signal.getsignal(number)
    assert carry_out(spec_in(tmp_path).run_dir, signalled).status == "cancelled"
    assert signal.getsignal(number) is before


def test_a_signal_while_the_result_is_written_loses_nothing(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    command = [sys.executable, "-m", "orchestrator.worker", str(spec.run_dir)]
    command += ["--train", f"{HERE}:signalled_at_the_end"]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True).returncode == 0
    written = RunResult.read(spec.folder)
    assert written is not None
    assert written.status == "completed"


def test_what_is_put_off_is_done_once_the_result_is_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One thing that fails keeps neither the others nor the result."""
    seen: list[Any] = []

    def puts_off(spec: RunSpec, reporter: Reporter) -> RunResult:
        reporter.afterwards(lambda: seen.append(RunResult.read(spec.folder)))
        reporter.afterwards(lambda: seen.append(1 / 0))
        reporter.afterwards(lambda: seen.append("last"))
        assert not seen
        return RunResult(spec.run_id, "completed", spec.params)

    result = carry_out(spec_in(tmp_path).run_dir, puts_off)
    assert seen == [result, "last"]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_interrupt_after_the_result_leaves_it(tmp_path: Path) -> None:
    def interrupted(spec: RunSpec, reporter: Reporter) -> RunResult:
        def interrupt() -> None:
            raise KeyboardInterrupt

        reporter.afterwards(interrupt)
        return RunResult(spec.run_id, "completed", spec.params)

    assert written_before_the_interrupt(tmp_path, interrupted).status == "completed"


@pytest.mark.slow  # it is tried again for four seconds
def test_a_result_that_cannot_be_written_undoes_nothing(tmp_path: Path) -> None:
    """What is put off may be the dropping of checkpoints, which the run then still needs."""
    spec = spec_in(tmp_path)
    checkpoints = spec.folder.checkpoints

    def loses_its_folder(spec: RunSpec, reporter: Reporter) -> RunResult:
        checkpoints.mkdir()
        reporter.afterwards(checkpoints.rmdir)
        spec.folder.result.mkdir()
        return RunResult(spec.run_id, "completed", spec.params)

    with pytest.raises(OSError, match="result"):
        carry_out(spec.run_dir, loses_its_folder)
    assert checkpoints.exists()


@pytest.mark.parametrize(
    "returned", [None, {"status": "completed"}, RunResult("r", "done"), RunResult("r", "completed", metrics=[1.0])]
)
def test_what_is_no_result_is_a_failure_that_says_what_is_wanted(tmp_path: Path, returned: Any) -> None:
    """Whatever a target of the user's own returns."""
    spec = spec_in(tmp_path)
    result = carry_out(spec.run_dir, lambda spec, reporter: returned)
    assert result.status == "failed"
    assert "it must return a RunResult" in str(result.error)
    assert RunResult.read(spec.folder) == result


@pytest.mark.parametrize("changes", [{"status": "done"}, {"status": ["completed"]}, {"metrics": [1.0]}])
def test_a_result_that_another_program_damaged_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = spec_in(tmp_path)
    result = carry_out(spec.run_dir, nothing)
    write_json(spec.folder.result, {**dataclasses.asdict(result), **changes})
    assert RunResult.read(spec.folder) is None


@pytest.mark.parametrize(
    ("function", "code"), [("three_steps", 0), ("raises", 1), ("stops_itself", 3), ("not_there", 1)]
)
def test_exit_codes(tmp_path: Path, function: str, code: int) -> None:
    """0 completed, 1 failed, 3 cancelled; a function that is not there is a failed run."""
    assert main([str(spec_in(tmp_path).run_dir), "--train", f"{HERE}:{function}"]) == code


def test_exit_codes_where_there_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2 where there is no run, 4 where another process works."""
    assert main([str(tmp_path)]) == 2
    spec = spec_in(tmp_path)
    with alone_in(spec.folder):
        assert main([str(spec.run_dir)]) == 4
    assert "works in" in capsys.readouterr().err


def test_steps_that_a_resumed_run_repeats_count_once(tmp_path: Path) -> None:
    """Resumed from the checkpoint at step 2, steps 3 and 4 of the attempt before are dropped, 1 and 2 stay."""
    spec = spec_in(tmp_path)
    reporting(spec, *[(step, {"train/loss": 1.0}) for step in (1, 2, 3, 4)])
    reporting(spec, (3, {"train/loss": 2.0}))
    assert [(line["step"], line["train/loss"]) for line in lines(spec.folder)] == [(1, 1.0), (2, 1.0), (3, 2.0)]


def test_a_step_reported_without_metrics_drops_what_comes_after_it(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    reporting(spec, *[(step, {"train/loss": 1.0}) for step in (5, 10, 15)])
    reporting(spec, (6, {}), (10, {"train/loss": 2.0}))
    assert [(line["step"], line["train/loss"]) for line in lines(spec.folder)] == [(5, 1.0), (10, 2.0)]


def test_an_evaluation_repeated_keeps_what_training_told_of_the_step(tmp_path: Path) -> None:
    """Killed in its last evaluation, a run repeats that alone."""
    spec = spec_in(tmp_path)
    reporting(spec, (1, {"train/loss": 1.0}), (2, {"train/loss": 0.5}), (2, {"eval/kl": 3.0}))
    reporting(spec, (2, {"eval/kl": 4.0}), phase="evaluating")
    told = [{name: value for name, value in line.items() if name != "time"} for line in lines(spec.folder)]
    assert told == [{"step": 1, "train/loss": 1.0}, {"step": 2, "train/loss": 0.5}, {"step": 2, "eval/kl": 4.0}]


def test_an_evaluation_of_the_start_keeps_later_steps(tmp_path: Path) -> None:
    """A resumed run may evaluate its starting point again before it goes on."""
    spec = spec_in(tmp_path)
    reporting(spec, (0, {"eval/kl": 0.0}), (1, {"train/loss": 1.0}), (2, {"train/loss": 0.5}))
    reporting(spec, (0, {"eval/kl": 0.0}), phase="evaluating")
    assert steps(spec.folder) == [1, 2, 0]


def test_several_lines_of_one_step_stay_within_an_attempt(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    reporting(spec, (1, {"train/loss": 1.0}), (1, {"eval/kl": 3.0}), (1, {"train/loss": 0.9}))
    assert steps(spec.folder) == [1, 1, 1]


def test_half_a_line_left_by_a_kill_is_cut(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    reporting(spec, (1, {"train/loss": 1.0}))
    with spec.folder.metrics.open("a") as file:
        file.write('{"step": 2, "tra')
    reporting(spec, (2, {"train/loss": 0.5}))
    assert steps(spec.folder) == [1, 2]


def test_last_metrics_are_the_last_of_each(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    reporting(spec, (1, {"train/loss": 1.0, "train/lr": 0.1}), (2, {"train/loss": 0.5}))
    assert last_metrics(spec.folder) == (2, {"train/loss": 0.5, "train/lr": 0.1})


def test_the_heartbeat_tells_who_is_where(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    with FileReporter(spec.folder) as reporter:
        reporter.begin("training", 40)
        first = read_json(spec.folder.heartbeat)
        reporter.report(7, {})
    assert (first["phase"], first["step"], first["steps"], first["pid"]) == ("training", 0, 40, os.getpid())
    assert read_json(spec.folder.heartbeat)["step"] == 7


def test_the_heartbeat_goes_on_while_a_step_takes_long(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    with FileReporter(spec.folder):
        first = read_json(spec.folder.heartbeat)["time"]
        until(lambda: read_json(spec.folder.heartbeat)["time"] > first, 5)


def test_a_full_disk_costs_metrics_and_not_the_run(tmp_path: Path) -> None:
    """What is in the file are whole lines, and stderr is told once."""
    spec = spec_in(tmp_path)
    command = [sys.executable, "-m", "orchestrator.worker", str(spec.run_dir), "--train", f"{HERE}:fills_the_disk"]
    process = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert process.returncode == 0
    assert steps(spec.folder) == [0, 1, 2, 3]
    assert process.stderr.count("the run goes on") == 1


def test_writing_a_step_takes_well_under_a_millisecond(tmp_path: Path) -> None:
    """Reporting every step must not slow a run."""
    spec = spec_in(tmp_path)
    with FileReporter(spec.folder) as reporter:
        began = time.process_time()
        for step in range(500):
            reporter.report(step, {"train/loss": 1.0})
        assert time.process_time() - began < 0.5


def test_metrics_are_whole_lines_at_any_moment(tmp_path: Path) -> None:
    """Someone who reads while a run writes sees whole lines only."""
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    for step in range(50):
        metrics.append(step, {"train/loss": 1.0})
        assert path.read_bytes().endswith(b"}\n")
    metrics.close()
