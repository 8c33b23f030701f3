"""Shows what `rank` answers: tables on a terminal, or as Markdown."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.ranking.answer import Answer
from analysis.ranking.rank import RankedGroup
from analysis.ranking.rows import (
    WORDS,
    captions,
    fit_lines,
    frontier_heads,
    frontier_texts,
    frontier_title,
    heads,
    texts,
    title,
)
from analysis.ranking.verdict import verdict
from analysis.texts import for_markdown, visible_line

_STYLES = {"best": "bold green", "tied": "green", "behind": "", "degenerate": "red", "none": "dim"}


def show(answer: Answer, console: Console) -> None:
    """A table for each group with its verdict, frontier and curves, then what should be known of all of them."""
    ranking, by = answer.ranking, answer.ranking.by
    for at, group in enumerate(ranking.groups):
        if ranking.compares:
            if _has_numbers(group):
                rows = [(texts(ranking, group, cell), _STYLES[cell.standing]) for cell in group.cells]
                console.print(_table(title(ranking, group), heads(ranking), rows, len(by)))
            tell(console, verdict(ranking, group), "bold")
        for frontier in answer.frontiers[at : at + 1]:
            points = zip(frontier_texts(frontier, by), frontier.points, strict=True)
            marked = [(row, "green" if point.on_frontier else "") for row, point in points]
            console.print(_table(frontier_title(frontier), frontier_heads(frontier, by), marked, len(by) - 1))
            for line in frontier.left_out:
                tell(console, f"left out: {line}")
        for fits in answer.fits[at : at + 1]:
            for line in fit_lines(fits, ranking.metric):
                tell(console, line)
        if ranking.compares:
            console.print()
    for line in captions(ranking):
        tell(console, line)


def _has_numbers(group: RankedGroup) -> bool:
    return any(cell.mean is not None for cell in group.cells)


def tell(console: Console, line: str, style: str = "") -> None:
    """A line as it is, without what would steer the terminal."""
    console.print(Text(visible_line(line), style), soft_wrap=True)


def _table(name: str, headings: Sequence[str], rows: Iterable[tuple[Sequence[str], str]], keys: int) -> Table:
    """`keys`: the last of the first columns that hold words."""
    table = Table(box=box.SIMPLE_HEAD, title=Text(name), title_justify="left")
    for place, heading in enumerate(headings):
        left = heading in WORDS or 0 < place <= keys
        wraps = heading == "missing"
        table.add_column(Text(visible_line(heading)), justify="left" if left else "right", no_wrap=not wraps)
    for row, style in rows:
        table.add_row(*(Text(visible_line(text)) for text in row), style=style)
    return table


def markdown(answer: Answer) -> str:
    """The same as Markdown, the verdict in bold."""
    ranking, by = answer.ranking, answer.ranking.by
    parts = []
    for at, group in enumerate(ranking.groups):
        best = [place for place, cell in enumerate(group.cells) if cell.standing == "best"]
        rows = [texts(ranking, group, cell) for cell in group.cells]
        if ranking.compares:
            parts.append(f"### {for_markdown(title(ranking, group))}")
            parts += [_lines(heads(ranking), rows, best, 1 + len(by))] if _has_numbers(group) else []
            parts.append(f"**{for_markdown(verdict(ranking, group))}**")
        for frontier in answer.frontiers[at : at + 1]:
            on = [place for place, point in enumerate(frontier.points) if point.on_frontier]
            lines = _lines(frontier_heads(frontier, by), frontier_texts(frontier, by), on, len(by) + 2)
            parts += [f"#### {for_markdown(frontier_title(frontier))}", lines]
            parts += [for_markdown(f"left out: {line}") for line in frontier.left_out]
        for fits in answer.fits[at : at + 1]:
            parts += [for_markdown(line) for line in fit_lines(fits, ranking.metric)]
    return "\n\n".join([*parts, *map(for_markdown, captions(ranking))]) + "\n"


def _lines(headings: Sequence[str], rows: Iterable[Sequence[str]], bold: Sequence[int], at: int) -> str:
    """A table; in the rows `bold` the column `at` is."""
    lines = ["| " + " | ".join(map(for_markdown, headings)) + " |", "|" + " --- |" * len(headings)]
    for place, row in enumerate(rows):
        cells = [for_markdown(text) for text in row]
        if place in bold:
            cells[at] = f"**{cells[at]}**"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
