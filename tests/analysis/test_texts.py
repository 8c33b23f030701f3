"""Text of others is shown, never obeyed: by a terminal, a browser, LaTeX, or a spreadsheet."""

import csv
import io

import pytest

from analysis.ranking.records import written
from analysis.texts import fenced, for_csv, for_html, for_latex, for_markdown, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("over\rwritten", "over\\x0dwritten"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\x9b31m", "\\x9b31m"),
        ("a line\nand\ta tab", "a line\nand\ta tab"),
        ("Grüße, 你好", "Grüße, 你好"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_steers_a_terminal_is_spelt_out(text: str, shown: str):
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_a_formula_is_no_formula_in_csv(text: str):
    assert for_csv(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1.5", "+2", "-1e-05", ".5", "dpo", "", "a=b", "nan"])
def test_numbers_and_words_stay_as_they_are(text: str):
    assert for_csv(text) == text


def test_rows_are_written_with_all_their_columns():
    rows = [{"a": 1, "b": None}, {"a": "=cmd|' /C calc'!A0", "c": "x\ny,z"}]
    assert list(csv.reader(io.StringIO(written(rows)))) == [
        ["a", "b", "c"],
        ["1", "", ""],
        ["'=cmd|' /C calc'!A0", "", "x y,z"],
    ]


def test_nothing_is_markup_in_html():
    assert for_html("<script>alert('x')</script>&\"") == "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;&quot;"


def test_nothing_is_markup_in_markdown():
    assert for_markdown("**a** | [x](http://y) `c` <b>\nnext") == (
        "\\*\\*a\\*\\* \\| \\[x\\](http://y) \\`c\\` &lt;b&gt; next"
    )


def test_nothing_is_a_command_in_latex():
    assert for_latex(r"\input{x} 50% a_b $1 #2 ~^&") == (
        r"\textbackslash{}input\{x\} 50\% a\_b \$1 \#2 \textasciitilde{}\textasciicircum{}\&"
    )


def test_a_fence_is_longer_than_any_in_the_text():
    assert fenced("```\nend\n````").splitlines()[0] == "`````text"
    assert fenced("```\nend\n````").splitlines()[-1] == "`````"
