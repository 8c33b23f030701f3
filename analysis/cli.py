"""The commands of `python -m analysis`: each reads runs from SOURCE, and says one thing of them."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from analysis.errors import AnalysisError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="What did the runs show? SOURCE is the folder of a study, several of them, or a file that pull has made.",
)  # fmt: skip
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE...", help="study folders, or a .parquet of pull")]


@app.callback()
def _root() -> None:
    """A group of commands even while there is one."""


@app.command()
def show(sources: Sources) -> None:
    """List the runs that a source holds."""
    from rich.console import Console

    from analysis.sources import read

    runs = read(sources)
    shown = ["run_id", "method", "model", "reference", "beta", "seed", "status"]
    console = Console(width=200)
    console.print(runs.frame[shown].to_string(index=False), markup=False, highlight=False)
    for sentence in runs.told:
        console.print(sentence, markup=False, highlight=False)


def main(words: Sequence[str]) -> int:
    """Carry out a command; the exit code, 2 with one message for what the user can mend."""
    try:
        return int(app(args=list(words), standalone_mode=False) or 0)
    except AnalysisError as error:
        print(error, file=sys.stderr)
        return 2
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        print(error, file=sys.stderr)
        return 2
