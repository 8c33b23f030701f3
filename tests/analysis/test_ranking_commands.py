"""`python -m analysis rank`, `compare` and `responses`, from words to what is printed."""

import json
from pathlib import Path

import pytest

from analysis.cli import main
from tests.analysis.planted import planted
from tests.fakes.finished_study import Finished, finished_study


@pytest.fixture
def study(tmp_path: Path) -> str:
    return str(planted(tmp_path, {0.05: 0.9, 0.1: 1.0, 0.2: 0.9, 0.5: 0.2}, prompts=24))


def test_rank_prints_a_table_and_its_verdict(study: str, capsys: pytest.CaptureFixture[str]):
    words = ["rank", study, "--by", "beta", "--within", "method,model,reference", "--metric", "eval/win_rate"]
    assert main([*words, "--pareto", "eval/kl", "--fit"]) == 0
    out = capsys.readouterr().out
    assert "in dpo on tiny with reference=self with 3 seeds and 24 prompts" in out
    assert "on the frontier" in out
    assert "over log-strength" in out


def test_runs_that_were_pulled_into_a_file_have_the_same_ranking(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["pull", study, "-o", str(tmp_path / "runs.parquet")]) == 0
    capsys.readouterr()
    said = []
    for source in (study, str(tmp_path / "runs.parquet")):
        assert main(["rank", source, "--pareto", "eval/kl", "--fit", "-f", "json"]) == 0
        said.append(json.loads(capsys.readouterr().out)["groups"])
    assert said[0] == said[1]


def test_runs_can_be_left_out(study: str, capsys: pytest.CaptureFixture[str]):
    assert main(["rank", study, "--filter", "beta=0.1,0.5", "-f", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_rank_writes_json_to_a_file(study: str, tmp_path: Path):
    assert main(["rank", study, "--metric", "eval/reward", "-f", "json", "-o", str(tmp_path / "a.json")]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["metric"] == "eval/reward"


@pytest.mark.parametrize("form", ["md", "csv", "latex", "html"])
def test_compare_has_every_form(study: str, form: str, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", study, "--rows", "method", "--cols", "beta", "--metric", "eval/reward", "-f", form]) == 0
    assert "beta=0.05" in capsys.readouterr().out


def test_compare_puts_published_numbers_beside(study: str, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", study, "--published", "reference_strength", "--metric", "eval/reward"]) == 0
    assert "0.718" in capsys.readouterr().out


def test_responses_are_printed(study: str, capsys: pytest.CaptureFixture[str]):
    assert main(["responses", study, "--prompts", "1"]) == 0
    assert " says 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rank", "STUDY", "--metric", "train/loss"], "--metric eval/win_rate may, or give --allow-incomparable"),
        (["rank", "STUDY", "--metric", "eval/rewards"], "eval/rewards: no run has it; did you mean eval/reward?"),
        (["rank", "STUDY", "--by", "betta"], "betta: no run has such a key; swept are beta, method"),
        (["rank", "STUDY", "--by", ""], "--by: name what to rank"),
        (["rank", "STUDY", "--direction", "up", "--metric", "eval/kl"], "--direction up: maximize or minimize"),
        (["rank", "STUDY", "-f", "xml"], "-f xml: there are table, md, csv, json"),
        (["rank", "STUDY", "-o", "/nowhere/a.md", "-f", "md"], "-o /nowhere/a.md: No such file or directory"),
        (["rank", "STUDY", "-o", "a.txt"], "a table is for the terminal; say -f md, csv, json"),
        (["compare", "STUDY", "--published", "nothing"], "--published nothing"),
        (["responses", "STUDY", "--runs", "nobody"], "--runs nobody: no such run"),
    ],
    ids=lambda value: " ".join(value[2:]) if isinstance(value, list) else "",
)
def test_what_cannot_be_answered_is_one_message_and_code_2(
    study: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
):
    assert main([study if word == "STUDY" else word for word in words]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert "Traceback" not in said.err


def test_an_empty_study_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    study = finished_study(tmp_path, [Finished(status=None)])
    assert main(["rank", str(study)]) == 2
    assert "0 of 1 run completed" in capsys.readouterr().err
