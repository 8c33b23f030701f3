"""`evaluate` as a user has it: a small study measured again, its checkpoints, and what is said of what cannot be."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Cli

pytestmark = pytest.mark.slow

WORDS = [
    "method=dpo", "-m", "beta=0.1,0.5", "training.max_steps=6", "training.save_steps=4", "data.max_train_samples=32",
    "training.save_checkpoints=true", "data.max_eval_samples=16", "evaluation.samples=8", "tracking=disabled",
]  # fmt: skip


def said_of(run: Path, policy: str = "") -> dict[str, Any]:
    said: dict[str, Any] = json.loads((run / "evaluation" / policy / "metrics.json").read_text())
    return said


def runs(study: Path) -> list[Path]:
    return sorted(study.glob("runs/t*"))


def test_a_study_is_measured_again_and_so_are_its_checkpoints(cli: Cli) -> None:
    code, said = cli.finish(cli.sweep(*WORDS))
    assert code == 0, said
    before = [said_of(run) for run in runs(cli.study)]
    answers = [(run / "evaluation" / "answers.jsonl").read_bytes() for run in runs(cli.study)]

    code, said = cli.finish(cli.start("evaluate", str(cli.study)))
    assert (code, "measured by these settings before; --again does it again" in said) == (0, True), said
    code, said = cli.finish(cli.start("evaluate", str(cli.study), "--again"))
    assert (code, said.count(": completed in")) == (0, 2), said
    assert [said_of(run) for run in runs(cli.study)] == before
    assert [(run / "evaluation" / "answers.jsonl").read_bytes() for run in runs(cli.study)] == answers

    first, second = runs(cli.study)
    words = ["evaluation.samples=4", "evaluation.temperature=0.5"]
    code, said = cli.finish(cli.start("evaluate", str(first), str(second / "checkpoints" / "checkpoint-4"), *words))
    assert code == 0, said
    assert said_of(first)["metrics"]["eval/answers"] == 4
    assert said_of(second) == before[1]
    checkpoint = said_of(second, "checkpoint-4")
    assert (checkpoint["policy"], checkpoint["settings"]["temperature"]) == ("checkpoint-4", 0.5)
    assert f"{checkpoint['metrics']['eval/policy_accuracy']:.3f}" in said

    shown = cli.environment | {"COLUMNS": "200"}
    code, said = cli.finish(cli.start("evaluate", str(cli.study), "--checkpoint", "all,8", **shown))
    assert (code, "give last, all, or steps" in said) == (2, True)


def test_what_was_moved_or_has_changed_is_told(cli: Cli, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Say {i}:", "chosen": f" yes {i}.", "rejected": " no."} for i in range(40)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, said = cli.finish(
        cli.sweep("data=jsonl", f"data.path={pairs}", "training.save_final=true", *WORDS[:-4], *WORDS[-2:])
    )
    assert code == 0, said
    before = [said_of(run) for run in runs(cli.study)]
    moved = tmp_path / "moved"
    shutil.move(cli.study, moved)
    gone = dict(cli.environment, PREFSWEEP_CACHE=str(tmp_path / "other-cache"))
    code, said = cli.finish(cli.start("evaluate", str(moved), "--again", **gone))
    assert code == 0, said
    assert [said_of(run) for run in runs(moved)] == before

    pairs.write_text(pairs.read_text() + json.dumps(rows[0]) + "\n")
    code, said = cli.finish(cli.start("evaluate", str(moved), "--again"))
    assert (code, said.count("has changed since the study was made")) == (1, 1), said
    shutil.rmtree(runs(moved)[0] / "adapter")
    pairs.unlink()
    code, said = cli.finish(cli.start("evaluate", str(moved), "--again"))
    assert (code, "is gone since the study was made" in said, "its weights are gone" in said) == (1, True, True), said
    assert [said_of(run) for run in runs(moved)] == before


def test_two_commands_at_once_leave_whole_files(cli: Cli) -> None:
    code, said = cli.finish(cli.sweep(*WORDS))
    assert code == 0, said
    both = [cli.start("evaluate", str(cli.study), f"evaluation.samples={count}") for count in (5, 7)]
    codes = {cli.finish(one)[0] for one in both}
    assert codes <= {0, 1}
    for run in runs(cli.study):
        count = said_of(run)["settings"]["samples"]
        assert count in (5, 7)
        assert len((run / "evaluation" / "answers.jsonl").read_text().splitlines()) == count


def test_ctrl_c_ends_it_and_leaves_whole_files(cli: Cli) -> None:
    code, said = cli.finish(cli.sweep(*WORDS))
    assert code == 0, said
    process = cli.start("evaluate", str(cli.study), "evaluation.samples=16", "launcher.workers=1")
    until = time.monotonic() + 60
    while not list(cli.study.glob("runs/evaluation-*/heartbeat")) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(2)
    code, said = cli.finish(process)
    assert (code, "stopping: SIGINT" in said) == (130, True), said
    for run in runs(cli.study):
        whole = said_of(run)["settings"]["samples"]
        assert len((run / "evaluation" / "answers.jsonl").read_text().splitlines()) == whole


def test_nothing_to_measure_is_a_fault(cli: Cli) -> None:
    code, said = cli.finish(
        cli.sweep(*WORDS[:-4], "data.max_eval_samples=16", "training.save_final=false", "tracking=disabled")
    )
    assert code == 0, said
    code, said = cli.finish(cli.start("evaluate", str(cli.study)))
    assert code == 2, said
    assert "kept no weights (training.save_final=false)" in said
    assert "there is nothing to evaluate" in said


# In a name space that ends with the script: there not even root may write.
READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 99
cd "$2"; "$3" -m orchestrator evaluate "$1" --again
"""


def test_a_folder_that_may_only_be_read_is_told_and_left(cli: Cli) -> None:
    code, said = cli.finish(cli.sweep(*[word for word in WORDS if word != "beta=0.1,0.5"]))
    assert code == 0, said
    before = said_of(runs(cli.study)[0])
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", READ_ONLY, "bash", str(cli.study), str(cli.repository), sys.executable],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=cli.environment, timeout=120,
    )  # fmt: skip
    assert (done.returncode, "cannot be written" in done.stdout) == (1, True), done.stdout
    assert said_of(runs(cli.study)[0]) == before


def test_what_cannot_be_measured_is_told_before_or_after_and_can_be_tried_again(cli: Cli) -> None:
    """A rater that there is not, before; a judge that stays away, after: then nothing counts as measured."""
    code, said = cli.finish(cli.sweep(*[word for word in WORDS if word != "beta=0.1,0.5"]))
    assert code == 0, said
    (run,) = runs(cli.study)
    before = (run / "evaluation" / "metrics.json").read_bytes()
    wrong = ["evaluation.reward_model=/nowhere", "evaluation.opponent=/nowhere"]
    code, said = cli.finish(cli.start("evaluate", str(cli.study), *wrong))
    assert (code, said.count("there is no such folder")) == (2, 2), said
    assert (run / "evaluation" / "metrics.json").read_bytes() == before

    away = ["evaluation.judge.base_url=http://127.0.0.1:9/v1", "evaluation.judge.model=m", "evaluation.judge.tries=1"]
    for _ in range(2):
        code, said = cli.finish(cli.start("evaluate", str(cli.study), *away))
        assert (code, "not measured: eval/judge_win_rate" in said) == (1, True), said
    assert said_of(run)["metrics"]["eval/win_rate"] is not None
