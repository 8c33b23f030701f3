"""Makes tables as papers have them: methods down, strengths across, the best in bold and those tied with it marked.

rows method, columns beta, metric eval/win_rate -> dpo: 0.75 ± 0.03, **0.76 ± 0.04**, ...; published numbers in rows
of their own below.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from analysis.cells import Values, order, shown
from analysis.comparable import metric_row
from analysis.comparison.published import stands_beside
from analysis.errors import BadQuestion
from analysis.ranking.rank import Cell, Question, RankedGroup, Ranking, rank_runs
from analysis.runs import Runs
from orchestrator.published import NOTHING, Number, Published

Mark = Literal["best", "tied", "degenerate", ""]


@dataclass(frozen=True)
class Entry:
    """What stands at a place of a table: a mean with its interval, or a published number as it was printed."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    mark: Mark = ""
    seeds: int = 0
    printed: str = ""
    # What became of the runs where there is no mean.
    lost: str = ""


@dataclass(frozen=True)
class Line:
    """A row: the words it begins with, and its entries, one a column, None where there is nothing."""

    labels: Sequence[str]
    entries: Sequence[Entry | None]
    is_published: bool = False


@dataclass(frozen=True)
class Comparison:
    """One table. `rows` are the keys whose values a line begins with; `metrics` belongs to `columns`, one each."""

    setting: Mapping[str, Any]
    metrics: Sequence[str]
    rows: Sequence[str]
    columns: Sequence[str]
    column_metrics: Sequence[str]
    lines: Sequence[Line]
    told: Sequence[str]
    level: float


def compare_runs(
    runs: Runs,
    rows: Sequence[str],
    cols: Sequence[str],
    metrics: Sequence[str],
    question: Question,
    published: Published = NOTHING,
) -> list[Comparison]:
    """A table for each group of runs that differ in more than rows and columns say. Best and tied go over a table.

    `question` has what `rank_runs` asks besides; without `metrics` one is chosen as there. A metric without a better
    side has no best. Raises BadQuestion and Incomparable as `rank_runs` does.
    """
    if set(rows) & set(cols):
        raise BadQuestion(f"{', '.join(sorted(set(rows) & set(cols)))}: give a key to --rows or to --cols, not both")
    rankings = [_ranking(runs, (*rows, *cols), metric, question) for metric in metrics or (None,)]
    return [_table(runs, place, rankings, rows, cols, published) for place in range(len(rankings[0].groups))]


def _ranking(runs: Runs, by: Sequence[str], metric: str | None, question: Question) -> Ranking:
    asked = replace(question, by=by, metric=metric)
    if metric is not None and not _has_better_side(metric, question):
        asked = replace(asked, direction="maximize")  # of which nothing is shown
    return replace(rank_runs(runs, asked), question=question)


def _has_better_side(metric: str, question: Question) -> bool:
    return question.direction is not None or metric_row(metric).better is not None


def _table(
    runs: Runs,
    place: int,
    rankings: Sequence[Ranking],
    rows: Sequence[str],
    cols: Sequence[str],
    published: Published,
) -> Comparison:
    groups = [ranking.groups[place] for ranking in rankings]
    names = [ranking.metric for ranking in rankings]
    across = _values(groups[0], cols)
    columns = [(metric, values) for metric in range(len(names)) for values in across]
    found = [_entries(ranking, group, rows, cols) for ranking, group in zip(rankings, groups, strict=True)]
    beside = _published(runs, rankings[0], place, published, rows, cols)
    lines = []
    for down in _values(groups[0], rows):
        labels = [shown(value) for value in down]
        lines.append(Line(labels, [found[metric].get((down, values)) for metric, values in columns]))
        lines += _published_lines(labels, beside, down, columns, names, cols)
    told = list(dict.fromkeys(sentence for ranking in rankings for sentence in ranking.told))
    told += _unplaced(published, beside)
    headings = [_heading(names, cols, metric, values) for metric, values in columns]
    level = rankings[0].question.level
    metrics = [names[metric] for metric, _ in columns]
    return Comparison(groups[0].setting, names, rows, headings, metrics, lines, told, level)


def _values(group: RankedGroup, keys: Sequence[str]) -> list[Values]:
    """The values of some keys that the group's cells have, in order."""
    by = list(group.cells[0].keys) if group.cells else []
    places = [by.index(key) for key in keys]
    found = {tuple(cell.values[place] for place in places) for cell in group.measured.cells}
    return sorted(found, key=lambda values: tuple(map(order, values)))


def _entries(
    ranking: Ranking, group: RankedGroup, rows: Sequence[str], cols: Sequence[str]
) -> dict[tuple[Values, Values], Entry]:
    ranks = _has_better_side(ranking.metric, ranking.question)
    return {(_of(cell, rows), _of(cell, cols)): _entry(cell, ranks=ranks) for cell in group.cells}


def _of(cell: Cell, keys: Sequence[str]) -> Values:
    return tuple(cell.keys[key] for key in keys)


def _entry(cell: Cell, *, ranks: bool) -> Entry:
    measured = cell.measured
    if cell.mean is None:
        return Entry(lost=", ".join(f"{count} {state}" for state, count in measured.states.items()))
    mark: Mark = ""
    if cell.standing == "degenerate":
        mark = "degenerate"
    elif ranks and cell.standing in ("best", "tied"):
        mark = "best" if cell.standing == "best" else "tied"
    return Entry(cell.mean, measured.low, measured.high, mark, cell.seeds)


def _heading(names: Sequence[str], cols: Sequence[str], metric: int, values: Values) -> str:
    across = ", ".join(f"{key}={shown(value)}" for key, value in zip(cols, values, strict=True))
    if len(names) == 1 and across:
        return across
    return f"{names[metric]}, {across}" if across else names[metric]


# Where numbers stand: by the values of rows and columns of the cells that they stand beside.
_Beside = dict[tuple[Values, Values], list[Number]]


def _published(
    runs: Runs, ranking: Ranking, place: int, published: Published, rows: Sequence[str], cols: Sequence[str]
) -> _Beside:
    if not published.numbers:
        return {}
    by = list(ranking.by)
    found: _Beside = {}
    for cell in ranking.sorted.groups[place].cells:
        keys: dict[str, Hashable] = dict(zip(by, cell.values, strict=True))
        config = runs.frame["config"].iloc[cell.rows[0]]
        settings = json.loads(config) if isinstance(config, str) and config else {}
        numbers = stands_beside(published, settings if isinstance(settings, dict) else {})
        found[tuple(keys[key] for key in rows), tuple(keys[key] for key in cols)] = list(numbers)
    return found


def _published_lines(
    labels: Sequence[str],
    beside: _Beside,
    down: Values,
    columns: Sequence[tuple[int, Values]],
    names: Sequence[str],
    cols: Sequence[str],
) -> list[Line]:
    """A line for each series of numbers that stand beside this one, in the columns of its metric if that is shown.

    A series that says nothing of what goes across stands in the first of its columns, and says so.
    """
    mine = {values: numbers for (row, values), numbers in beside.items() if row == down}
    series: dict[tuple[str, str, bool], None] = {}
    for numbers in mine.values():
        series |= {(number.series, number.metric, _goes_across(number, cols)): None for number in numbers}
    lines = []
    for name, metric, across in series:
        own = names.index(metric) if metric in names else 0
        entries = [_printed(mine.get(values, ()), name) if at == own else None for at, values in columns]
        told = name if across or not cols else f"{name}, whatever {', '.join(cols)}"
        if not across:
            first = next((place for place, entry in enumerate(entries) if entry is not None), 0)
            entries = [entry if place == first else None for place, entry in enumerate(entries)]
        lines.append(Line([f"{labels[0]}: {told}" if labels else told, *labels[1:]], entries, is_published=True))
    return lines


def _goes_across(number: Number, cols: Sequence[str]) -> bool:
    return not number.beside.keys().isdisjoint(cols)


def _printed(numbers: Sequence[Number], series: str) -> Entry | None:
    values = [number.value for number in numbers if number.series == series]
    return Entry(printed="; ".join(dict.fromkeys(values))) if values else None


def _unplaced(published: Published, beside: _Beside) -> list[str]:
    if not published.numbers:
        return []
    placed = {id(number) for numbers in beside.values() for number in numbers}
    left = [number for number in published.numbers if id(number) not in placed]
    sources = dict.fromkeys(number.source for number in published.numbers if id(number) in placed)
    told = [f"published, not measured here: {'; '.join(sources)}"] if sources else []
    if left:
        told.append(f"{len(left)} of {len(published.numbers)} published numbers stand beside none of these runs")
    return told
