"""Writes comparison tables: on a terminal, as Markdown, CSV, LaTeX (booktabs), HTML; text of others is no markup."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.comparison.tables import Comparison, Entry, Line
from analysis.ranking.records import written
from analysis.ranking.rows import decimals, number
from analysis.ranking.verdict import place
from analysis.ranking.view import tell
from analysis.texts import for_html, for_latex, for_markdown, visible_line

TIED = "†"


def title(table: Comparison) -> str:
    """What a table is of."""
    return visible_line(f"{', '.join(table.metrics)}{place(table.setting)}")


def captions(table: Comparison) -> list[str]:
    """What its numbers and marks are."""
    entries = [entry for line in table.lines for entry in line.entries if entry is not None]
    marks = {entry.mark for entry in entries}
    spread = any(entry.low is not None and entry.low == entry.low for entry in entries)
    told = ["mean" + (f" ± half the {100 * table.level:g} % interval" if spread else "")]
    told += ["bold: best of the table"] if "best" in marks else []
    told += [f"{TIED}: not told from it by a paired test with Holm's correction"] if "tied" in marks else []
    return ["; ".join(told), *table.told]


def show(tables: Sequence[Comparison], console: Console) -> None:
    """The tables and their captions on a terminal."""
    for table in tables:
        shown = Table(box=box.SIMPLE_HEAD, title=Text(title(table)), title_justify="left")
        for heading in table.rows:
            shown.add_column(Text(visible_line(heading)))
        for heading in table.columns:
            shown.add_column(Text(visible_line(heading)), justify="right")
        for line in table.lines:
            cells = [Text(visible_line(text), "bold" if _is_best(entry) else "") for text, entry in _cells(table, line)]
            shown.add_row(*(Text(visible_line(label)) for label in line.labels), *cells,
                          style="dim" if line.is_published else "")  # fmt: skip
        console.print(shown)
    _tell_all(tables, lambda line: tell(console, line))


def markdown(tables: Sequence[Comparison]) -> str:
    """Pipe tables, captions below the last."""
    parts = []
    for table in tables:
        heads = [for_markdown(head) for head in (*table.rows, *table.columns)]
        lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
        for line in table.lines:
            cells = [_bold(for_markdown(text), entry, "**", "**") for text, entry in _cells(table, line)]
            lines.append("| " + " | ".join([*map(for_markdown, line.labels), *cells]) + " |")
        parts += [f"### {for_markdown(title(table))}", "\n".join(lines)]
    _tell_all(tables, lambda line: parts.append(for_markdown(line)))
    return "\n\n".join(parts) + "\n"


def latex(tables: Sequence[Comparison]) -> str:
    """A table environment for each, with \\toprule and its like of the package booktabs; notes are comments below."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables:
        lines = [
            "\\begin{table}",
            "\\centering",
            f"\\begin{{tabular}}{{{'l' * len(table.rows)}{'r' * len(table.columns)}}}",
        ]
        lines += ["\\toprule", _latex_row([for_latex(head) for head in (*table.rows, *table.columns)]), "\\midrule"]
        for line in table.lines:
            cells = [_bold(_latex_number(text), entry, "\\textbf{", "}") for text, entry in _cells(table, line)]
            lines.append(_latex_row([*map(for_latex, line.labels), *cells]))
        marks, *notes = captions(table)
        told = "; ".join([title(table), marks])
        lines += ["\\bottomrule", "\\end{tabular}", f"\\caption{{{for_latex(told)}}}", "\\end{table}"]
        # For who writes the paper, not for who reads it.
        lines += [f"% {visible_line(note)}" for note in notes]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def html(tables: Sequence[Comparison]) -> str:
    """A <table> for each, to be put into a page."""
    parts = []
    for table in tables:
        heads = "".join(f"<th>{for_html(visible_line(head))}</th>" for head in (*table.rows, *table.columns))
        lines = [
            "<table>",
            f"<caption>{for_html(title(table))}</caption>",
            f"<thead><tr>{heads}</tr></thead>",
            "<tbody>",
        ]
        for line in table.lines:
            labels = "".join(f"<th>{for_html(visible_line(label))}</th>" for label in line.labels)
            cells = "".join(
                f"<td>{_bold(for_html(visible_line(text)), entry, '<strong>', '</strong>')}</td>"
                for text, entry in _cells(table, line)
            )
            lines.append(f"<tr>{labels}{cells}</tr>")
        parts.append("\n".join([*lines, "</tbody>", "</table>"]))
    _tell_all(tables, lambda line: parts.append(f"<p>{for_html(visible_line(line))}</p>"))
    return "\n".join(parts) + "\n"


def as_csv(tables: Sequence[Comparison]) -> str:
    """One row a line; of each column the mean in full, the ends of its interval and its mark; published as printed."""
    rows = []
    for table in tables:
        setting = {key: str(value) for key, value in table.setting.items()}
        for line in table.lines:
            row: dict[str, object] = {**setting, **dict(zip(table.rows, line.labels, strict=True))}
            for column, entry in zip(table.columns, line.entries, strict=True):
                found = entry or Entry()
                row[column] = found.mean if found.mean is not None else found.printed or found.lost or None
                row[f"{column} low"] = _finite(found.low)
                row[f"{column} high"] = _finite(found.high)
                row[f"{column} mark"] = found.mark or None
            rows.append(row)
    return written(rows)


FORMS: dict[str, Callable[[Sequence[Comparison]], str]] = {
    "md": markdown, "csv": as_csv, "latex": latex, "html": html,
}  # fmt: skip


def _cells(table: Comparison, line: Line) -> list[tuple[str, Entry | None]]:
    return [
        (_text(entry, _digits(table, metric)), entry)
        for entry, metric in zip(line.entries, table.column_metrics, strict=True)
    ]


def _digits(table: Comparison, metric: str) -> int:
    """Alike for all numbers of a metric."""
    spans = [
        (entry.low, entry.high, entry.mean)
        for line in table.lines
        for entry, own in zip(line.entries, table.column_metrics, strict=True)
        if own == metric and entry is not None and entry.low is not None and entry.high is not None
    ]
    return decimals(spans)


def _text(entry: Entry | None, digits: int) -> str:
    if entry is None:
        return ""
    if entry.mean is None:
        return entry.printed or entry.lost or "-"
    half = None if entry.low is None or entry.high is None else (entry.high - entry.low) / 2
    spread = "" if half is None or half != half else f" ± {half:.{digits}f}"
    mark = {"tied": TIED, "degenerate": " (degenerate)"}.get(entry.mark, "")
    return f"{number(entry.mean, digits)}{spread}{mark}"


def _is_best(entry: Entry | None) -> bool:
    return entry is not None and entry.mark == "best"


def _bold(text: str, entry: Entry | None, before: str, after: str) -> str:
    return f"{before}{text}{after}" if _is_best(entry) else text


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_number(text: str) -> str:
    """A minus as one, not as a hyphen."""
    escaped = for_latex(text)
    return f"$-${escaped[1:]}" if escaped[:1] == "-" and escaped[1:2].isdigit() else escaped


def _tell_all(tables: Sequence[Comparison], tell_one: Callable[[str], object]) -> None:
    """What is said below tables, each sentence once."""
    for line in dict.fromkeys(line for table in tables for line in captions(table)):
        tell_one(line)


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value else value
