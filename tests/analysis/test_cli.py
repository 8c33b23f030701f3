"""`python -m analysis pull` and `show`: what they print, and how they end."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from analysis.cli import main
from analysis.progress import progress_bar
from tests.fakes.finished_study import Finished, finished_study
from trainers.spec import RunFolder


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    runs = [
        Finished("dpo", 0.1, 0, metrics={"eval/win_rate": 0.625, "eval/kl": 2.0}),
        Finished("dpo", 0.5, 0, metrics={"eval/win_rate": 0.5}, degenerate="runaway length"),
        Finished("ipo", 0.1, 1, status="failed", error="\x1b[31mred\nlines"),
    ]
    return finished_study(tmp_path, runs)


def test_show_lists_runs_with_how_they_ended_and_what_they_came_to(study: Path, capfd: pytest.CaptureFixture[str]):
    assert main(["show", str(study)]) == 0
    lines = capfd.readouterr().out.splitlines()
    first = next(line for line in lines if "-s0-" in line)
    assert first.split()[:5] == ["t0000-s0-00000000", "dpo", "0.1", "0", "completed"]
    assert any("0.5" in line and "degenerate: runaway length" in line for line in lines)
    assert "3 runs of 1 study: 2 completed, 1 failed" in lines
    assert "all have model=tiny, reference=self, data=toy" in lines
    assert "eval/kl: only 1 of 2 completed runs have it" in lines


def test_text_of_others_comes_out_without_control_characters(study: Path, capfd: pytest.CaptureFixture[str]):
    main(["show", str(study)])
    out = capfd.readouterr().out
    assert "[31mred lines" in out
    assert "\x1b" not in out


def test_a_long_list_is_cut_and_says_so(study: Path, capfd: pytest.CaptureFixture[str]):
    main(["show", str(study), "--most", "1"])
    out = capfd.readouterr().out
    assert out.count("-s0-") == 1
    assert "2 runs more; --most 0 lists all" in out


def test_pull_says_what_it_wrote_and_what_was_strange(study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    file = tmp_path / "runs.parquet"
    (study / "runs" / "t0000-s0-00000000" / "result.json").write_text("{")
    assert main(["pull", str(study), "-o", str(file)]) == 0
    told = capfd.readouterr()
    assert told.out.splitlines() == [
        "1 run: result.json is damaged, and taken for missing (t0000-s0-00000000)",
        "1 run: logged nothing: no history (t0001-s0-00010000)",
        f"{file}: 3 runs, 0 of them as before",
    ]
    assert told.err == ""
    assert main(["show", str(file), "--filter", "method=ipo"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["show", "nowhere"],
        ["show", "nowhere.parquet"],
        ["show", "."],
        ["show", "wandb:nowhere"],
        ["show"],
        ["show", ".", "--filter", "x"],
        ["pull", "."],
        ["pull", "nowhere", "-o", "runs.parquet"],
        ["pull", "nowhere", "-o", "runs.csv"],
        ["nonsense"],
    ],
)
def test_what_cannot_be_done_is_one_message_and_code_2(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    told = capfd.readouterr()
    assert told.err.strip()
    assert "Traceback" not in told.err
    assert list(tmp_path.iterdir()) == []


def test_starting_up_imports_nothing_heavy():
    heavy = "{'pandas', 'pyarrow', 'wandb', 'torch', 'rich.progress', 'pydantic'}"
    code = f"import sys; from analysis.cli import main; print(main(['--help']), {heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("0 set()")


def test_progress_is_shown_in_a_terminal_alone():
    terminal, pipe = io.StringIO(), io.StringIO()
    for file, is_terminal in ((terminal, True), (pipe, False)):
        with progress_bar(Console(file=file, force_terminal=is_terminal, width=100)) as progress:
            progress.expect(2)
            progress.done()
            progress.note("HTTP 429: trying again in 4 s")
    assert "1/2" in terminal.getvalue()
    assert "HTTP 429" in terminal.getvalue()
    assert pipe.getvalue() == ""


def test_show_says_how_far_an_unfinished_study_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    study = finished_study(tmp_path, [Finished(beta=0.1), Finished(beta=0.5, status=None)])
    assert main(["show", str(study)]) == 0
    assert "the study is unfinished: 1 of 2 runs completed, 1 missing" in capfd.readouterr().out.splitlines()


def test_a_study_in_which_runs_train_is_under_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    study = finished_study(tmp_path, [Finished(beta=0.1, status=None)])
    (run,) = (study / "runs").iterdir()
    RunFolder(run).heartbeat.write_text("{}")
    assert main(["rank", str(study)]) == 2
    assert "the study is under way: 0 of 1 run completed, 1 running" in capfd.readouterr().err
