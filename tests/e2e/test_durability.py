"""A study survives what can happen to it: kills, stops, a second controller. The real command line, quick runs."""

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Cli
from trainers.spec import RunResult

pytestmark = pytest.mark.slow

QUICK = [
    "tracking=disabled",
    "launcher.workers=2",
    "launcher.target=tests.e2e.quick_run:train",
    "launcher.preload=[]",
]


def sweep(cli: Cli) -> subprocess.Popen[str]:
    """Six runs, over in about a second."""
    return cli.sweep(*QUICK, "-m", "beta=range(1,7)")


def long_sweep(cli: Cli) -> subprocess.Popen[str]:
    """More runs than end before another command has begun; to be stopped."""
    return cli.sweep(*QUICK, "-m", "beta=range(1,401)")


def times_carried_out(study: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text()) for path in study.glob("runs/*/carried_out")}


def no_process_works_in(study: Path) -> bool:
    """No process of ours has an open file below the study."""
    for process in psutil.process_iter():
        try:
            if any(str(study) in file.path for file in process.open_files()):
                return False
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return True


def test_a_sweep_completes_and_tells_its_table_and_place(cli: Cli):
    code, text = cli.finish(sweep(cli))
    assert code == 0, text
    assert "6/6" in text
    assert f"study: {cli.study}" in text
    assert re.search(r"5 \*\s+6\s+complete", text), text
    assert {result.status for result in cli.results().values()} == {"completed"}
    for name in ("study.yaml", "command.txt", "table.csv", "table.md", "study.log"):
        assert (cli.study / name).stat().st_size > 0


def test_the_same_command_again_runs_nothing(cli: Cli):
    cli.finish(sweep(cli))
    before = times_carried_out(cli.study)
    code, text = cli.finish(sweep(cli))
    assert code == 0, text
    assert times_carried_out(cli.study) == before


def test_a_lost_result_is_run_again_and_nothing_else(cli: Cli):
    cli.finish(sweep(cli))
    lost = next(cli.study.glob("runs/t0003*"))
    (lost / "result.json").unlink()
    assert cli.finish(cli.start("resume", str(cli.study)))[0] == 0
    assert {run: n for run, n in times_carried_out(cli.study).items() if n > 1} == {lost.name: 2}


@pytest.mark.parametrize("repeat", range(4))
def test_a_controller_killed_at_any_moment_loses_no_finished_run(cli: Cli, repeat: int):
    """kill -9 again and again: what had completed is not run again, what is on disk is whole, no run is left behind."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    completed: dict[str, RunResult] = {}
    for _ in range(3):
        process = sweep(cli)
        time.sleep(chance.uniform(0.2, 1.6))
        process.kill()
        process.communicate()
        until = time.monotonic() + 5
        while not no_process_works_in(cli.study):
            assert time.monotonic() < until, "a run outlived its controller"
            time.sleep(0.05)
        now = cli.results()
        assert {run: now.get(run) for run in completed} == completed
        completed = {run: result for run, result in now.items() if result.status == "completed"}
        for path in cli.study.glob("runs/*/*.json"):
            json.loads(path.read_bytes())
    known = times_carried_out(cli.study)
    code, text = cli.finish(sweep(cli))
    assert code == 0, text
    after = times_carried_out(cli.study)
    assert {run: after[run] for run in completed} == {run: known[run] for run in completed}
    assert len(cli.results()) == 6


def test_a_killed_run_fails_alone_and_is_tried_again(cli: Cli):
    process = sweep(cli)
    cli.wait_for(1)
    victim = cli.run_under_way()
    os.kill(json.loads((victim / "heartbeat").read_text())["pid"], signal.SIGKILL)
    code, text = cli.finish(process)
    assert code == 1
    assert f"{victim.name} failed: killed by signal 9" in text
    results = cli.results()
    assert [run for run, result in results.items() if result.status != "completed"] == [victim.name]
    assert cli.finish(cli.start("resume", str(cli.study)))[0] == 0
    assert cli.results()[victim.name].status == "completed"
    assert cli.results()[victim.name].attempts == 2


def test_a_second_controller_is_refused(cli: Cli):
    first = long_sweep(cli)
    cli.wait_for(1)
    code, text = cli.finish(long_sweep(cli))
    assert code == 2
    assert f"is held by process {first.pid}" in text
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    assert cli.finish(first)[0] == 130


def test_ctrl_c_stops_cleanly_and_resume_goes_on(cli: Cli):
    process = sweep(cli)
    cli.wait_for(1)
    process.send_signal(signal.SIGINT)
    code, text = cli.finish(process)
    assert code == 130, text
    assert f"resume {cli.study}" in text
    assert no_process_works_in(cli.study)
    stopped = [run for run, result in cli.results().items() if result.status == "cancelled"]
    code, text = cli.finish(cli.start("resume", str(cli.study)))
    assert code == 0, text
    assert all(result.status == "completed" for result in cli.results().values())
    for run in stopped:
        lines = [json.loads(line) for line in (cli.study / "runs" / run / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, 11)), "went on from where it was stopped"


def test_ctrl_c_twice_stops_at_once(cli: Cli):
    process = long_sweep(cli)
    cli.wait_for(1)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    code, _ = cli.finish(process)
    assert code == 130
    assert no_process_works_in(cli.study)


def test_a_reader_that_goes_away_does_not_stop_the_study(cli: Cli):
    process = cli.sweep(*QUICK, "-m", "beta=range(1,7)")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert len(cli.results()) == 6
    assert (cli.study / "table.md").exists()


def test_a_closed_terminal_lets_runs_save(cli: Cli):
    process = long_sweep(cli)
    cli.wait_for(1)
    process.send_signal(signal.SIGHUP)
    assert cli.finish(process)[0] == 130
    assert "stopping: SIGHUP" in (cli.study / "study.log").read_text()
    assert len(cli.results()) < 400


@pytest.mark.parametrize("times", [1, 2])
def test_runs_in_the_controllers_own_process_can_be_stopped(cli: Cli, times: int):
    process = cli.sweep("tracking=disabled", "launcher=inline", "launcher.target=tests.e2e.quick_run:train", "-m",
                        "beta=range(1,401)")  # fmt: skip
    cli.wait_for(1)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    assert cli.finish(process)[0] == 130


def test_a_terminal_of_another_alphabet_gets_a_table(cli: Cli):
    code, text = cli.finish(cli.sweep(*QUICK, "-m", "beta=1,2", "seed=0,1", PYTHONIOENCODING="ascii"))
    assert code == 0, text


def test_a_missing_spec_is_mended_by_the_same_command(cli: Cli):
    cli.finish(sweep(cli))
    next(cli.study.glob("runs/t0002*/spec.json")).unlink()
    code, text = cli.finish(cli.start("resume", str(cli.study)))
    assert code == 2
    assert "run the study's command again" in text
    assert cli.finish(sweep(cli))[0] == 0
    assert cli.finish(cli.start("resume", str(cli.study)))[0] == 0


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("study.yaml", "runs: null\n"),
        ("runs/t0001*/spec.json", "[1]"),
        ("runs/t0001*/spec.json", "{}"),
        ("runs/t0001*/result.json", '{"run_id": "x", "status": null}'),
        ("runs/t0001*/result.json", '{"run_id": "x", "status": "completed", "metrics": [1]}'),
        ("runs/t0001*/result.json", '{"run_id": "x", "status": "completed", "metrics": {"eval/reward_accuracy": "a"}}'),
        ("runs/t0001*/result.json", "[" * 100_000),
        ("lease", '{"host": "x", "pid": -1, "started": 0.0}'),
    ],
)
def test_a_damaged_study_is_told_or_mended_without_a_traceback(cli: Cli, file: str, content: str):
    cli.finish(sweep(cli))
    (path,) = cli.study.glob(file) if "*" in file else [cli.study / file]
    path.write_text(content)
    for verb in ("status", "resume"):
        code, text = cli.finish(cli.start(verb, str(cli.study)))
        assert code in (0, 2), text
        assert "Traceback" not in text


def test_cancel_from_elsewhere_stops_the_study(cli: Cli):
    process = long_sweep(cli)
    cli.wait_for(1)
    code, text = cli.finish(cli.start("cancel", str(cli.study)))
    assert code == 0
    assert f"asked process {process.pid}" in text
    assert cli.finish(process)[0] == 130


def test_cancel_of_a_study_at_rest_says_so(cli: Cli):
    cli.finish(sweep(cli))
    code, text = cli.finish(cli.start("cancel", str(cli.study)))
    assert code == 0
    assert "nothing to cancel" in text


def test_status_tells_where_a_study_stands(cli: Cli):
    process = long_sweep(cli)
    cli.wait_for(2)
    code, text = cli.finish(cli.start("status", str(cli.study)))
    assert code == 0
    assert f"held by process {process.pid}" in text
    assert "complete" in text
    process.send_signal(signal.SIGINT)
    cli.finish(process)
    _, text = cli.finish(cli.start("status", str(cli.study)))
    assert "no controller works on it" in text
    assert re.search(r"\d+ of 400 runs completed", text)


def test_resume_changes_where_runs_go_on_and_nothing_else(cli: Cli):
    cli.finish(sweep(cli))
    assert cli.finish(cli.start("resume", str(cli.study), "launcher.workers=1"))[0] == 0
    code, text = cli.finish(cli.start("resume", str(cli.study), "beta=3"))
    assert code == 2
    assert "beta=3: resume changes launcher and fail_fast alone" in text


@pytest.mark.parametrize("verb", ["status", "resume", "cancel"])
def test_a_folder_without_a_study_is_told(cli: Cli, verb: str, tmp_path: Path):
    code, text = cli.finish(cli.start(verb, str(tmp_path)))
    assert code == 2
    assert "not the folder of a study" in text


def test_a_study_may_be_moved_and_resumed(cli: Cli, tmp_path: Path):
    cli.finish(sweep(cli))
    moved = tmp_path / "elsewhere"
    cli.study.rename(moved)
    next(moved.glob("runs/t0001*/result.json")).unlink()
    assert cli.finish(cli.start("resume", str(moved)))[0] == 0
    assert len(list(moved.glob("runs/*/result.json"))) == 6


def test_ten_thousand_trials_are_planned_in_bounded_memory(cli: Cli):
    process = cli.sweep("plan", *QUICK, "-m", "beta=range(1,101)", "seed=range(0,100)")
    code, text = cli.finish(process)
    assert code == 0
    assert "100 trials, 10000 runs" in text
    assert not cli.out.exists()
