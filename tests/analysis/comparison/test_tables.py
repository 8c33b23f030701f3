"""Tables as papers have them, in every form."""

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from analysis.comparison.formats import as_csv, html, latex, markdown, show
from analysis.comparison.published import read_published
from analysis.comparison.tables import Comparison, compare_runs
from analysis.errors import BadQuestion, Incomparable
from analysis.ranking.rank import Question
from analysis.runs import Runs
from analysis.sources import read
from orchestrator.published import NOTHING, Number, Published
from tests.analysis.planted import planted
from tests.fakes.finished_study import Finished

NASTY = Number("=2+3", "<script>alert(1)</script> & 50% \\input{x}", "**x** | y", "\x1b[2Ja paper", {"method": "dpo"})


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    more = [
        Finished("ipo", 0.5, 0, status="failed"),
        Finished("ipo", 0.01, 0, metrics={"eval/reward": 9.0, "eval/kl": 99.0}, degenerate="empty"),
    ]
    folder = planted(tmp_path / "a", {0.05: 1.0, 0.1: 1.02, 0.5: 0.1}, prompts=40)
    other = planted(tmp_path / "b", {0.1: 0.5}, methods=("ipo",), more=more, prompts=40, name="other")
    return read([str(folder), str(other)], ("pairs", "answers"))


def table(runs: Runs, metrics: Sequence[str] = ("eval/reward",), published: Published = NOTHING) -> Comparison:
    return compare_runs(runs, ("method",), ("beta",), metrics, Question(()), published)[0]


def test_rows_and_columns_are_the_values_of_their_keys(runs: Runs):
    found = table(runs)
    assert [line.labels for line in found.lines] == [["dpo"], ["ipo"]]
    assert list(found.columns) == ["beta=0.01", "beta=0.05", "beta=0.1", "beta=0.5"]


def test_the_best_of_the_table_and_what_is_tied_with_it_are_marked(runs: Runs):
    marks = {
        (line.labels[0], column): entry.mark if entry else None
        for line in table(runs).lines
        for column, entry in zip(table(runs).columns, line.entries, strict=True)
    }
    assert sorted([str(marks["dpo", "beta=0.05"]), str(marks["dpo", "beta=0.1"])]) == ["best", "tied"]
    assert marks["ipo", "beta=0.1"] == ""
    assert marks["ipo", "beta=0.01"] == "degenerate"
    assert marks["dpo", "beta=0.01"] is None


def test_a_metric_without_a_better_side_has_no_best(runs: Runs):
    found = table(runs, ("eval/reward", "eval/kl"))
    assert len(found.columns) == 8
    assert {entry.mark for line in found.lines for entry in line.entries[4:] if entry} <= {"", "degenerate"}


def test_without_columns_each_metric_is_one(runs: Runs):
    found = compare_runs(runs, ("method", "beta"), (), ("eval/reward", "eval/kl"), Question(()))[0]
    assert list(found.columns) == ["eval/reward", "eval/kl"]
    assert ["dpo", "0.1"] in [list(line.labels) for line in found.lines]


def test_published_numbers_stand_in_rows_of_their_own(runs: Runs):
    found = table(runs, published=read_published("reference_strength"))
    printed = [line for line in found.lines if line.is_published]
    assert printed[0].labels[0].startswith("dpo: published ")
    assert [entry.printed if entry else "" for entry in printed[0].entries] == ["", "0.744", "0.718", ""]
    assert any("stand beside none of these runs" in told for told in found.told)
    assert any("published, not measured here" in told for told in found.told)


def test_a_number_that_says_nothing_of_the_columns_stands_once(runs: Runs):
    number = Number("Arena-Hard", "10.4", "", "a paper", {"method": "dpo"})
    line = next(line for line in table(runs, published=Published([number])).lines if line.is_published)
    assert line.labels == ["dpo: published Arena-Hard, whatever beta"]
    assert sum(entry is not None for entry in line.entries) == 1


def test_markdown_marks_best_and_tied(runs: Runs):
    text = markdown([table(runs)])
    assert len(re.findall(r"\*\*[\d.]+ ± [\d.]+\*\*", text)) == 1
    assert len(re.findall(r"[\d.]+ ± [\d.]+†", text)) == 1
    assert "1 failed" in text


def test_latex_is_a_booktabs_table_in_which_nothing_is_a_command(runs: Runs):
    text = latex([table(runs, published=Published([NASTY]))])
    assert r"\textbf{" in text
    assert r"$^\dagger$" in text
    assert r"\input{x}" not in text
    assert r"50\%" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {4}


def test_notes_are_comments_of_latex_and_not_in_its_caption(runs: Runs):
    noted = dataclasses.replace(table(runs), told=["ranked by x\n\\input{y}", "seeds are few"])
    lines = latex([noted]).splitlines()
    caption = next(line for line in lines if line.startswith(r"\caption"))
    assert "mean ±" in caption or r"$\pm$" in caption
    assert "ranked by" not in caption
    assert lines[-2:] == [r"% ranked by x \input{y}", "% seeds are few"]


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_a_table_in_which_nothing_is_markup(runs: Runs):
    page = Tags(html([table(runs, published=Published([NASTY]))]))
    assert page.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "strong", "p"}
    assert "<script>alert(1)</script>" in page.text


def test_csv_has_numbers_in_full_and_no_formula(runs: Runs):
    rows = list(csv.DictReader(io.StringIO(as_csv([table(runs, published=Published([NASTY]))]))))
    assert float(rows[0]["beta=0.1"]) == pytest.approx(1.02, abs=0.3)
    assert float(rows[0]["beta=0.1 low"]) < float(rows[0]["beta=0.1"])
    assert {rows[0]["beta=0.1 mark"], rows[0]["beta=0.05 mark"]} == {"best", "tied"}
    formula = list(csv.reader(io.StringIO(as_csv([table(runs, ("eval/reward",), Published([NASTY]))]))))
    assert not any(cell.startswith(("=", "@", "+")) for row in formula for cell in row)


def test_a_terminal_is_not_steered(runs: Runs):
    out = io.StringIO()
    show([table(runs, published=Published([NASTY]))], Console(file=out, width=200))
    assert "\x1b" not in out.getvalue()
    assert "tied" not in out.getvalue() or "†" in out.getvalue()


def test_what_else_differs_makes_tables(tmp_path: Path):
    folders = [
        planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, prompts=8, name=f"rate{rate}", config={"training__learning_rate": rate})
        for rate in (0.1, 0.2)
    ]
    runs = read([str(folder) for folder in folders], ("pairs", "answers"))
    found = compare_runs(runs, ("method",), ("beta",), ("eval/reward",), Question(()))
    assert [dict(one.setting)["training.learning_rate"] for one in found] == [0.1, 0.2]


def test_a_key_goes_down_or_across(runs: Runs):
    with pytest.raises(BadQuestion, match="give a key to --rows or to --cols"):
        compare_runs(runs, ("method", "beta"), ("beta",), (), Question(()))


def test_what_may_not_be_compared_is_refused_here_too(runs: Runs):
    with pytest.raises(Incomparable, match="train/loss"):
        table(runs, ("train/loss",))
