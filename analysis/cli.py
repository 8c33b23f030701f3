"""The commands of `python -m analysis`: each reads runs from SOURCE, and says one thing of them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from analysis.errors import AnalysisError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="What did the runs show? SOURCE is the folder of a study, or of several; a .parquet file that pull has "
         "made; or wandb:entity/project, wandb:entity/project/group. Several may be named.",
)  # fmt: skip
Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE...", help="study folders, a .parquet of pull, or wandb:entity/project")
]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="KEY=VALUE", help="only runs that have it, as method=dpo,ipo or status=completed; "
                 "again for more; at W&B tags= and state= too"),
]  # fmt: skip
Metric = Annotated[str | None, typer.Option(help="rank by this metric, as eval/win_rate; the first there is otherwise")]


@app.callback()
def _root() -> None:
    """A group of commands even while there is one."""


@app.command()
def pull(
    sources: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.parquet", help="where the runs go")],
    filters: Filters = None,
) -> int:
    """Fetch runs into one file; again, and only what has changed since is fetched.

    Exit codes: 0 done, 1 written, but some runs lack what could not be fetched, 2 nothing written.
    """
    from analysis.progress import progress_bar
    from analysis.pull import pull as fetch

    with progress_bar() as progress:
        pulled = fetch(sources, output.expanduser(), filters or [], progress)
    for sentence in (*pulled.runs.told, *pulled.sentences(output)):
        _say(sentence)
    return 1 if pulled.missed else 0


@app.command()
def show(
    sources: Sources,
    filters: Filters = None,
    most: Annotated[int, typer.Option(min=0, help="runs to list; 0 for all")] = 50,
) -> None:
    """List the runs that a source holds, how they ended, and what was skipped."""
    from analysis.show import show as listing
    from analysis.sources import read
    from orchestrator.progress import screen

    listing(read(sources, filters=filters or []), screen(), most)


def _say(sentence: str) -> None:
    """A line for a person, whoever wrote what it quotes."""
    from orchestrator.wording import one_line

    print(one_line(sentence, 1000))


@app.command()
def report(
    sources: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="the HTML file to write")] = Path("report.html"),
    metric: Metric = None,
    title: Annotated[str | None, typer.Option(help="the page's title; the studies' names are it otherwise")] = None,
) -> None:
    """Write one HTML file that shows it all: ranking, charts, answers, failures, and how to run each run again."""
    from analysis.report.write import write_report

    size = write_report(sources, output, metric, title)
    print(f"{output}: {size / 1e6:.1f} MB; open it in a browser", file=sys.stderr)


@app.command()
def figures(
    sources: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="the folder to write into")] = Path("figures"),
    formats: Annotated[str, typer.Option("--format", help="png, svg, pdf, or several with commas")] = "png,svg,pdf",
    metric: Metric = None,
) -> None:
    """Write the report's charts as files for papers and slides."""
    from analysis.report.write import write_figures

    for path in write_figures(sources, output, formats.split(","), metric):
        print(path, file=sys.stderr)


def main(words: Sequence[str]) -> int:
    """Carry out a command; the exit code, 2 with one message for what the user can mend."""
    try:
        return int(app(args=list(words), standalone_mode=False) or 0)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except AnalysisError as error:
        print(error, file=sys.stderr)
        return 2
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        print(error, file=sys.stderr)
        return 2
