"""What `rank` shows: on a terminal, and as Markdown, CSV and JSON, which agree."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from analysis.ranking.answer import Answer, answer
from analysis.ranking.rank import Question
from analysis.ranking.records import as_csv, as_json
from analysis.ranking.rows import decimals, number, probability
from analysis.ranking.view import markdown, show
from analysis.sources import read
from tests.analysis.planted import planted
from tests.fakes.finished_study import Finished

NASTY = "=cmd|x\x1b[2J<script>|**b**"


@pytest.fixture
def found(tmp_path: Path) -> Answer:
    more = [
        Finished("dpo", 0.01, 0, metrics={"eval/reward": 5.0}, degenerate=NASTY),
        Finished("dpo", 0.9, 0, status="failed"),
    ]
    folder = planted(tmp_path, {0.02: 0.2, 0.05: 1.0, 0.1: 1.0, 0.5: 0.2}, more=more, prompts=30)
    runs = read([str(folder)], ("pairs", "answers"))
    return answer(runs, Question(("beta",), metric="eval/reward"), "eval/kl", fit=True)


def on_terminal(found: Answer, width: int = 200) -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=width))
    return out.getvalue()


def test_a_terminal_shows_standing_verdict_frontier_and_curves(found: Answer):
    text = on_terminal(found)
    for words in (
        "tied with the best",
        "1 failed",
        "degenerate",
        "is best in dpo on tiny",
        "on the frontier",
        "best at",
    ):
        assert words in text


def test_a_narrow_terminal_still_shows_the_numbers(found: Answer):
    assert "is best in dpo" in on_terminal(found, 80)


def test_nothing_steers_the_terminal(found: Answer):
    assert "\x1b" not in on_terminal(found)


def test_markdown_has_the_best_in_bold_and_no_markup_of_others(found: Answer):
    text = markdown(found)
    assert "| 1 | " in text
    assert " | **" in text.split("| 1 | ", 1)[1].splitlines()[0]
    assert "<script>" not in text
    assert "**b**" not in text


def test_csv_has_a_row_a_cell_and_no_formula(found: Answer):
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [row["standing"] for row in rows].count("best") == 1
    assert len(rows) == 6
    assert {row["beta"] for row in rows} == {"0.01", "0.02", "0.05", "0.1", "0.5", "0.9"}
    assert float(rows[0]["low"]) < float(rows[0]["mean"]) < float(rows[0]["high"])
    assert not any(cell.startswith(("=", "@", "\t")) for row in rows for cell in row.values())
    assert "\x1b" not in as_csv(found)


def test_json_agrees_with_csv_and_says_what_the_terminal_says(found: Answer):
    told = json.loads(as_json(found))
    cells = told["groups"][0]["cells"]
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [str(cell["rank"] or "") for cell in cells] == [row["rank"] for row in rows]
    assert [cell["mean"] for cell in cells[:4]] == [float(row["mean"]) for row in rows[:4]]
    assert told["groups"][0]["verdict"] in on_terminal(found)
    assert told["groups"][0]["fits"]["curve"]["interval"][0] < told["groups"][0]["fits"]["curve"]["optimum"] * 1.001
    assert len(told["groups"][0]["frontier"]["points"]) == 4


def test_json_names_the_runs_of_each_cell(found: Answer):
    cells = json.loads(as_json(found))["groups"][0]["cells"]
    assert all(len(cell["runs"]) == cell["seeds"] for cell in cells)
    assert cells[0]["runs"][0].startswith("t000")


@pytest.mark.parametrize(
    ("p", "text"), [(None, "-"), (1e-9, "<0.001"), (0.0123, "0.012"), (0.678, "0.68"), (1.0, "1.00")]
)
def test_probabilities_are_told_as_exactly_as_matters(p: float | None, text: str):
    assert probability(p) == text


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(0.1234, False, "0.12"), (-0.001, True, "0.00"), (-0.5, True, "-0.50"), (0.5, True, "+0.50"), (None, True, "-")],
)
def test_numbers_that_round_to_zero_have_no_sign(value: float | None, sign: bool, text: str):
    assert number(value, 2, sign=sign) == text


@pytest.mark.parametrize(
    ("cells", "places"), [([(0.5, 0.6, 0.55)], 2), ([(100.0, 120.0, 110.0)], 1), ([(0.0, 1e-9, 0.0)], 6), ([], 3)]
)
def test_so_many_places_as_the_interval_is_worth(cells: list[tuple[float, float, float]], places: int):
    assert decimals(cells) == places


@pytest.mark.parametrize("form", [on_terminal, markdown])
def test_where_nothing_is_compared_there_is_a_sentence_and_no_table(tmp_path: Path, form: Callable[[Answer], str]):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, prompts=8)
    text = form(answer(read([str(folder)], ("pairs", "answers")), Question(("reference",), metric="eval/reward")))
    assert text.startswith("nothing is compared: all runs have reference=self")
    assert "the only one with a sound result" not in text


@pytest.mark.parametrize("form", [on_terminal, markdown])
def test_a_group_without_any_number_has_no_table(tmp_path: Path, form: Callable[[Answer], str]):
    models = [Finished("reward", 0.1, 0, metrics={"eval/reward_accuracy": 0.7})]
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, prompts=8, more=models)
    text = form(answer(read([str(folder)], ("pairs", "answers")), Question(("beta",), metric="eval/reward")))
    assert text.count("p (Holm)") == 1
    assert "a reward model has no policy" in text
