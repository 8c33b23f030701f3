"""What the commands have in common: questions from words, answers to a terminal or a file."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from analysis.errors import BadQuestion
from analysis.ranking.rank import Question
from trainers.files import write_whole
from trainers.metrics_table import Direction

# Columns of a table where nobody looks at a terminal.
_WIDTH = 200
T = TypeVar("T")


def question(
    by: str,
    within: str | None,
    metric: str | None,
    direction: str | None,
    *,
    allow_incomparable: bool = False,
    pool_seeds: bool = False,
) -> Question:
    """The question that options ask. Raises BadQuestion where one says nothing that is known."""
    return Question(
        by=keys(by) or (),
        within=keys(within),
        metric=metric,
        direction=_direction(direction),
        allow_incomparable=allow_incomparable,
        pool_seeds=pool_seeds,
    )


def keys(text: str | None) -> tuple[str, ...] | None:
    """ "method,beta" -> ("method", "beta"), each once."""
    if text is None:
        return None
    return tuple(dict.fromkeys(key.strip() for key in text.split(",") if key.strip()))


def _direction(word: str | None) -> Direction | None:
    match word:
        case None | "maximize" | "minimize":
            return word
        case _:
            raise BadQuestion(f"--direction {word}: maximize or minimize")


def out(
    answer: T,
    form: str,
    forms: Mapping[str, Callable[[T], str]],
    path: str | None,
    show: Callable[[T, Console], None],
) -> None:
    """Print an answer in a form, or write it to a file; "table" is for people.

    Raises BadQuestion for a form that there is none of, or a file that cannot be written.
    """
    if form != "table" and form not in forms:
        raise BadQuestion(f"-f {form}: there are table, {', '.join(forms)}")
    if path is None:
        if form == "table":
            show(answer, Console(width=None if sys.stdout.isatty() else _WIDTH))
        else:
            sys.stdout.write(forms[form](answer))
        return
    if form == "table":
        raise BadQuestion(f"-o {path}: a table is for the terminal; say -f {', '.join(forms)}")
    try:
        write_whole(Path(path).expanduser(), forms[form](answer))
    except OSError as error:
        raise BadQuestion(f"-o {path}: {error.strerror or error}") from None
