"""`python -m analysis report` and `figures`: files written whole, and faults told in one message."""

from pathlib import Path

import pytest

from analysis.cli import main
from tests.fakes.finished_study import Finished, finished_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return finished_study(tmp_path, [Finished(beta=beta, metrics={"eval/reward": beta}) for beta in (0.1, 0.5)])


def test_report_writes_one_file_and_says_which(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "new" / "folder" / "report.html"
    assert main(["report", str(study), "-o", str(path)]) == 0
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().err.startswith(f"{path}: 0.1 MB")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_a_report_can_be_of_some_runs(study: Path, tmp_path: Path):
    path = tmp_path / "report.html"
    assert main(["report", str(study), "--filter", "beta=0.1", "-o", str(path)]) == 0
    page = path.read_text(encoding="utf-8")
    assert "t0000-" in page
    assert "t0001-" not in page


def test_figures_writes_the_formats_asked_for(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "figures"
    assert main(["figures", str(study), "-o", str(folder), "--format", "png, SVG"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "ranking.png",
        "ranking.svg",
        "strength.png",
        "strength.svg",
    ]
    assert capsys.readouterr().err.splitlines()[0] == str(folder / "ranking.png")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "{study}", "--metric", "eval/wins"], "eval/wins: no completed run has this metric; there are"),
        (["report", "{study}/none"], "none"),
        (["report", "{study}", "-o", "{study}"], "is a folder: name a file in it"),
        (["figures", "{study}", "--format", "gif,png"], "no such format as gif; there are png, svg, pdf"),
        (["figures", "{study}", "--format", ""], "there are png, svg, pdf"),
        (["figures", "{study}", "-o", "{study}/study.yaml"], "cannot be written to"),
        (["report", "{study}", "-o", "{study}/study.yaml/report.html"], "cannot be written to"),
    ],
)  # fmt: skip
def test_faults_are_told_in_one_message(
    words: list[str], message: str, study: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([word.replace("{study}", str(study)) for word in words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
