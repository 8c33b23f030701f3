"""Text of unknown origin: what steers a screen is spelled out, and a shell gets back just what was meant."""

import subprocess

import pytest

from analysis.report.untrusted import one_line, shell_word, visible, visible_token


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, naïve 日本語 🙂", "plain text, naïve 日本語 🙂"),
        ("two\nlines\tand tabs", "two\nlines\tand tabs"),
        ("null\x00byte", "null␀byte"),
        ("\x1b[31mred", "␛[31mred"),
        ("invoice\u202egpj.exe", "invoice⟨U+202E⟩gpj.exe"),
        ("a\u2066b\u2069c", "a⟨U+2066⟩b⟨U+2069⟩c"),
        ("line\u2028separator\u2029", "line⟨U+2028⟩separator⟨U+2029⟩"),
        ("zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
        ("half \ud800 a character", "half ⟨U+D800⟩ a character"),
        ("carriage\rreturn\x7f\x9b", "carriage␍return␡⟨U+009B⟩"),
        *((kept, kept) for kept in ("\u0645\u0631\u062d\u0628", "\U0001f468\u200d\U0001f469", "\u0e2a\u0e27\u0e31")),
    ],
)  # fmt: skip
def test_what_steers_a_screen_is_spelled_out(text: str, shown: str):
    assert visible(text) == shown


def test_a_long_text_is_cut_and_says_by_how_much():
    assert visible("x" * 1500, 10) == "xxxxxxxxxx … (1,490 characters more)"


def test_a_label_stands_on_one_line():
    assert one_line("a\n b\t\u2028c", 100) == "a b c"
    assert one_line("a bc def", 5) == "a bc…"


def test_white_space_of_a_token_can_be_seen():
    assert visible_token(" the\n") == "␣the↵"
    assert visible_token("") == "(empty)"


@pytest.mark.parametrize(
    "word",
    [
        "plain",
        "two words",
        "it's",
        "$(touch x)",
        "`id`",
        "a;b",
        "line\nbreak",
        "tab\tand \\ back",
        "\u202e rtl",
        "q'\x01",
    ],
)
def test_a_shell_reads_back_the_very_word(word: str):
    written = shell_word(word)
    assert written.isprintable()
    read = subprocess.run(["bash", "-c", f"printf %s {written}"], capture_output=True, env={"LC_ALL": "C.UTF-8"})
    assert read.stdout.decode() == word
