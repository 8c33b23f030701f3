"""The commands of `python -m analysis`: each reads runs from SOURCE, and says one thing of them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.runs import Part

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
    filters: Filters = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="the HTML file to write")] = Path("report.html"),
    metric: Metric = None,
    title: Annotated[str | None, typer.Option(help="the page's title; the studies' names are it otherwise")] = None,
) -> None:
    """Write one HTML file that shows it all: ranking, charts, answers, failures, and how to run each run again."""
    from analysis.report.write import write_report

    size = write_report(sources, output, metric, title, filters or [])
    print(f"{output}: {size / 1e6:.1f} MB; open it in a browser", file=sys.stderr)


@app.command()
def figures(
    sources: Sources,
    filters: Filters = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="the folder to write into")] = Path("figures"),
    formats: Annotated[str, typer.Option("--format", help="png, svg, pdf, or several with commas")] = "png,svg,pdf",
    metric: Metric = None,
) -> None:
    """Write the report's charts as files for papers and slides."""
    from analysis.report.write import write_figures

    for path in write_figures(sources, output, formats.split(","), metric, filters or []):
        print(path, file=sys.stderr)


PARTS: "tuple[Part, ...]" = ("pairs", "answers")
Within = Annotated[
    str | None, typer.Option("--within", help="keys within which is compared, as method,model,reference")
]
Direction = Annotated[str | None, typer.Option("--direction", help="maximize or minimize, for a metric of your own")]
Incomparable = Annotated[
    bool, typer.Option("--allow-incomparable", help="compare what means another thing in each run")
]
PoolSeeds = Annotated[bool, typer.Option("--pool-seeds", help="take seeds to spread alike in all cells of a table")]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="write there instead of printing")]


@app.command()
def rank(
    sources: Sources,
    filters: Filters = None,
    by: Annotated[str, typer.Option("--by", help="what to rank, as beta, reference, method or method,beta")] = "beta",
    within: Within = None,
    metric: Metric = None,
    direction: Direction = None,
    pareto: Annotated[str | None, typer.Option("--pareto", help="weigh against another metric, as eval/kl")] = None,
    fit: Annotated[bool, typer.Option("--fit", help="curves over strength, and of reward over sqrt(KL)")] = False,
    allow_incomparable: Incomparable = False,
    pool_seeds: PoolSeeds = False,
    form: Annotated[str, typer.Option("-f", "--format", help="table, md, csv or json")] = "table",
    output: Output = None,
) -> None:
    """Rank what was swept: which is best, by how much, and from which it cannot be told."""
    from analysis.asking import out, question
    from analysis.ranking import records, view
    from analysis.ranking.answer import answer
    from analysis.sources import read

    asked = question(by, within, metric, direction, allow_incomparable=allow_incomparable, pool_seeds=pool_seeds)
    found = answer(read(sources, PARTS, filters or []), asked, pareto, fit=fit)
    forms = {"md": view.markdown, "csv": records.as_csv, "json": records.as_json}
    out(found, form, forms, output, view.show)


@app.command()
def compare(
    sources: Sources,
    filters: Filters = None,
    rows: Annotated[str, typer.Option("--rows", help="keys whose values go down")] = "method",
    cols: Annotated[str, typer.Option("--cols", help="keys whose values go across; '' for a column a metric")] = "beta",
    within: Within = None,
    metric: Annotated[str | None, typer.Option("--metric", help="one or several, as eval/win_rate,eval/kl")] = None,
    direction: Direction = None,
    published: Annotated[
        str | None, typer.Option("--published", metavar="NAME|FILE.csv", help="numbers beside")
    ] = None,
    allow_incomparable: Incomparable = False,
    pool_seeds: PoolSeeds = False,
    form: Annotated[str, typer.Option("-f", "--format", help="table, md, csv, latex or html")] = "table",
    output: Output = None,
) -> None:
    """Tables as papers have them: the best in bold, what is tied with it marked, published numbers beside."""
    from analysis.asking import keys, out, question
    from analysis.comparison import formats
    from analysis.comparison.published import NOTHING, read_published
    from analysis.comparison.tables import compare_runs
    from analysis.sources import read

    asked = question("", within, None, direction, allow_incomparable=allow_incomparable, pool_seeds=pool_seeds)
    beside = NOTHING if published is None else read_published(published)
    runs = read(sources, PARTS, filters or [])
    tables = compare_runs(runs, keys(rows) or (), keys(cols) or (), keys(metric) or (), asked, beside)
    out(tables, form, formats.FORMS, output, formats.show)


@app.command()
def responses(
    sources: Sources,
    filters: Filters = None,
    prompts: Annotated[str, typer.Option("--prompts", help="how many, or places as 0,4,7, or words of them")] = "3",
    chosen: Annotated[str, typer.Option("--runs", help="best, all, or run ids")] = "best",
    metric: Annotated[str | None, typer.Option("--metric", help="by which the best is best")] = None,
    form: Annotated[str, typer.Option("-f", "--format", help="table, md, json or html")] = "table",
    output: Output = None,
) -> None:
    """The same prompt answered by the starting policy and by each chosen run, side by side."""
    from analysis.asking import out
    from analysis.responses import view
    from analysis.responses.answers import responses as answered
    from analysis.sources import read

    found = answered(read(sources, PARTS, filters or []), prompts, chosen, metric)
    out(found, form, view.FORMS, output, view.show)


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
