"""Draws the charts of a report with matplotlib, each into a figure of its own, in the page's colours and signs.

Every function returns whether there was anything to draw. `words` makes text drawable.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.report import numbers
from analysis.report.cells import strength_name
from analysis.report.content import Cell, Content, Curve, Estimate, Metric, TokenStudy
from analysis.report.series import frontier as undominated
from analysis.report.series import frontier_axes, panels, series
from analysis.report.untrusted import one_line, visible_token

Words = Callable[[str], str]
# As --m0 to --m7 and --q0 to --q6 of page/page.css.
COLOURS = ("#1d4ed8", "#c2570c", "#0f9b8e", "#6b2d5c", "#b8860b", "#9b5de5", "#8b1a1a", "#4b6b77")
RAMP = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4aa04f", "#8a9a0a")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 3), (1.5, 2), (6, 2, 1.5, 2), (3, 1.5), (9, 3))
MARKERS = ("o", "s", "^", "D", "P", "d")
QUIET = "#5a606b"
# Widths in inches: a text column, and a page.
COLUMN, PAGE = 3.4, 6.9
_MOST_ROWS = 40
_MOST_PANELS = 6
_MOST_TOKENS = 12
_MOST_LEGEND_ROWS = 3
_LABEL = 28
MANY_RUNS = 60


@dataclass(frozen=True)
class _Look:
    """Colours by method, dashes and markers by reference, as the page has them."""

    methods: Sequence[str]
    references: Sequence[str]

    def colour(self, cell: Cell) -> str:
        return COLOURS[self.methods.index(cell.method) % len(COLOURS)]

    def dash(self, cell: Cell) -> tuple[float, ...]:
        return DASHES[self.references.index(cell.reference) % len(DASHES)]

    def marker(self, cell: Cell) -> str:
        return MARKERS[self.references.index(cell.reference) % len(MARKERS)]

    def line(self, axes: Axes, xs: Sequence[float], ys: Sequence[float], cell: Cell, width: float = 1.4) -> None:
        (line,) = axes.plot(xs, ys, color=self.colour(cell), linewidth=width, solid_joinstyle="round")
        if len(xs) == 1:
            line.set(marker=self.marker(cell), markersize=3)
        if self.dash(cell):
            line.set_dashes(self.dash(cell))

    def mark(self, axes: Axes, x: float, y: float, cell: Cell, *, filled: bool = True) -> None:
        face = self.colour(cell) if filled else "white"
        axes.plot([x], [y], self.marker(cell), color=self.colour(cell), markerfacecolor=face, markersize=4.2, zorder=3)

    def legend(self, figure: Figure, cells: Sequence[Cell], words: Words) -> None:
        """Methods by colour and references by dash, above the charts; none where there is nothing to tell apart."""
        handles: list[Line2D] = []
        firsts = {cell.method: cell for cell in reversed(cells)}
        if len(firsts) > 1:
            handles += [
                Line2D([], [], color=self.colour(firsts[m]), label=words(one_line(m, _LABEL))) for m in reversed(firsts)
            ]
        held = {cell.reference: cell for cell in reversed(cells)}
        if len(held) > 1:
            for name in reversed(held):
                line = Line2D([], [], color=QUIET, marker=self.marker(held[name]), markersize=3.6)
                line.set_dashes(self.dash(held[name]) or (1, 0))
                line.set_label(words(one_line(name or "no reference", _LABEL)))
                handles.append(line)
        if handles:
            # A letter takes some 0.07 inches, a line's picture as much as five.
            longest = max(len(str(handle.get_label())) for handle in handles) + 6
            columns = max(1, min(8, len(handles), int(figure.get_figwidth() / (0.07 * longest))))
            shown = handles[: columns * _MOST_LEGEND_ROWS]
            figure.legend(handles=shown, loc="outside upper left", ncols=columns, handlelength=2.4, columnspacing=1.3)


def _look(content: Content) -> _Look:
    cells = content.cells
    return _Look(list(dict.fromkeys(c.method for c in cells)), list(dict.fromkeys(c.reference for c in cells)))


def ranking(figure: Figure, content: Content, words: Words) -> bool:
    """Means and their bands, best on top."""
    rows = [row for row in content.ranking.rows if row.estimate is not None][:_MOST_ROWS]
    if not rows:
        return False
    look, metric = _look(content), content.metric(content.ranking.metric)
    figure.set_size_inches(COLUMN * 1.5, 0.7 + 0.17 * len(rows))
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        cell, estimate = content.cells[row.cell], row.estimate
        assert estimate is not None
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [place, place], color=look.colour(cell), linewidth=1.2)
        look.mark(axes, estimate.mean, place, cell, filled=not content.ranking.tested or row.best or row.tied)
    best = rows[0].estimate
    assert best is not None
    axes.axvline(best.mean, color="#dfe0e3", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(rows)), [words(_row_label(content.cells[row.cell])) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False)
    axes.set_xlabel(words(_axis(metric)))
    return True


def _row_label(cell: Cell) -> str:
    return one_line(cell.label, 60) + (" (degenerate)" if cell.degenerate else "")


def strength(figure: Figure, content: Content, words: Words) -> bool:
    """The score over the strength, a line with its band for each method and reference."""
    metric = content.metric(content.ranking.metric)
    cells = [cell for cell in content.cells if metric.name in cell.scores]
    if not cells:
        return False
    look, shown = _look(content), dict(list(panels(cells).items())[:_MOST_PANELS])
    filled = _filled(content)
    for axes, (name, members) in zip(_grid(figure, len(shown)), shown.items(), strict=True):
        for line in series(members):
            _strength_line(axes, line, metric, look, filled)
        for cell in members:
            if cell.strength is None:
                _level(axes, cell, cell.scores[metric.name], look)
        _strength_axis(axes, [cell.strength for cell in members if cell.strength is not None])
        names = {strength_name(cell.method): None for cell in members}
        axes.set_xlabel(words("strength" if len(names) > 1 else next(iter(names))))
        axes.set_ylabel(words(_axis(metric)))
        axes.set_title(words(one_line(name, 60)) if len(shown) > 1 else "", loc="left")
    look.legend(figure, cells, words)
    return True


def _filled(content: Content) -> frozenset[str]:
    """Labels of cells whose marks are filled: the best and those tied with it, where that was tested."""
    rows = {row.cell: row for row in content.ranking.rows}
    return frozenset(
        cell.label
        for place, cell in enumerate(content.cells)
        if not cell.degenerate
        and (not content.ranking.tested or (place in rows and (rows[place].best or rows[place].tied)))
    )


def _strength_line(axes: Axes, line: Sequence[Cell], metric: Metric, look: _Look, filled: frozenset[str]) -> None:
    placed = [(cell, cell.scores[metric.name]) for cell in line if cell.strength is not None]
    if not placed:
        return
    xs = [cell.strength or 0.0 for cell, _ in placed]
    banded = [(cell.strength or 0.0, e.low, e.high) for cell, e in placed if e.low is not None and e.high is not None]
    colour = look.colour(line[0])
    if len(banded) > 1:
        at, low, high = zip(*banded, strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
    elif banded:
        axes.plot([banded[0][0]] * 2, banded[0][1:], color=colour, linewidth=0.8)
    look.line(axes, xs, [estimate.mean for _, estimate in placed], line[0])
    for cell, estimate in placed:
        look.mark(axes, cell.strength or 0.0, estimate.mean, cell, filled=cell.label in filled)


def _level(axes: Axes, cell: Cell, estimate: Estimate, look: _Look) -> None:
    """A method without a strength is a line across."""
    if estimate.low is not None and estimate.high is not None:
        axes.axhspan(estimate.low, estimate.high, color=look.colour(cell), alpha=0.1, linewidth=0)
    axes.axhline(estimate.mean, color=look.colour(cell), linewidth=1, dashes=look.dash(cell) or (1, 0))


def _strength_axis(axes: Axes, strengths: Sequence[float]) -> None:
    known = sorted(set(strengths))
    if not known:
        axes.set_xticks([])
        return
    positive = [value for value in known if value > 0]
    if positive:
        # Zeros have no logarithm, and stand by themselves left of the smallest strength.
        scale = "log" if len(positive) == len(known) else "symlog"
        axes.set_xscale(scale, **({} if scale == "log" else {"linthresh": positive[0]}))
    axes.xaxis.set_major_locator(FixedLocator(known if len(known) <= 9 else known[:: math.ceil(len(known) / 8)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def frontier(figure: Figure, content: Content, words: Words) -> bool:
    """Reward, or the score ranked by, against the distance from the reference."""
    chosen = frontier_axes({metric.name: metric for metric in content.metrics}, content.cells)
    if chosen is None:
        return False
    gain, distance = chosen
    cells = [cell for cell in content.cells if gain.name in cell.scores and distance in cell.scores]
    if not cells:
        return False
    look, shown = _look(content), dict(list(panels(cells).items())[:_MOST_PANELS])
    for axes, (name, members) in zip(_grid(figure, len(shown)), shown.items(), strict=True):
        best = undominated(members, gain, distance)
        axes.step(*_at(best, distance, gain.name), where="post", color=QUIET, alpha=0.28, linewidth=2.6, zorder=1)
        for line in series(members):
            xs, ys = _at(line, distance, gain.name)
            look.line(axes, xs, ys, line[0], width=0.6)
            for cell in line:
                x, y = cell.scores[distance], cell.scores[gain.name]
                for ends, level in ((x, y.mean), (y, x.mean)):
                    if ends.low is not None and ends.high is not None:
                        span, flat = [ends.low, ends.high], [level, level]
                        axes.plot(
                            *((span, flat) if ends is x else (flat, span)), color=look.colour(cell), linewidth=0.6
                        )
                look.mark(axes, x.mean, y.mean, cell, filled=cell in best)
        for cell in best:
            text = f"{cell.method} {numbers.strength(cell.strength)}".strip()
            where = (cell.scores[distance].mean, cell.scores[gain.name].mean)
            axes.annotate(words(one_line(text, _LABEL)), where, (-3, 4), textcoords="offset points", fontsize=6.5,
                          color=look.colour(cell), ha="right")  # fmt: skip
        axes.set_xlim(left=min(0.0, *(cell.scores[distance].mean for cell in members)))
        axes.set_xlabel(words(_axis(content.metric(distance), better=False)))
        axes.set_ylabel(words(_axis(gain)))
        axes.set_title(words(one_line(name, 60)) if len(shown) > 1 else "", loc="left")
    look.legend(figure, cells, words)
    return True


def _at(cells: Sequence[Cell], *names: str) -> list[list[float]]:
    return [[cell.scores[name].mean for cell in cells] for name in names]


def curves(figure: Figure, content: Content, words: Words) -> bool:
    """The loss and the score ranked by over training: each run, or means over seeds where runs are many."""
    known = list(dict.fromkeys(curve.metric for curve in content.curves))
    first = [name for name in ("train/loss", content.ranking.metric) if name in known]
    names = list(dict.fromkeys([*first, *known]))[:2]
    if not names:
        return False
    look = _look(content)
    for axes, name in zip(_grid(figure, len(names)), names, strict=True):
        found = [curve for curve in content.curves if curve.metric == name]
        if len(content.runs) > MANY_RUNS:
            for cell, xs, ys in _means(content, found):
                look.line(axes, xs, ys, cell, width=0.7)
        else:
            for curve in found:
                look.line(axes, curve.steps, curve.values, content.cells[content.runs[curve.run].cell], width=0.8)
        axes.set_xlabel("training step")
        axes.set_ylabel(words(_axis(content.metric(name))))
    look.legend(figure, content.cells, words)
    return True


def _means(content: Content, found: Sequence[Curve]) -> list[tuple[Cell, list[float], list[float]]]:
    """Means over the seeds of each cell at steps of its shortest curve."""
    members: dict[int, list[Curve]] = {}
    for curve in found:
        members.setdefault(content.runs[curve.run].cell, []).append(curve)
    means = []
    for place, each in members.items():
        grid = min((curve.steps for curve in each), key=lambda steps: steps[-1])
        values = np.mean([np.interp(grid, curve.steps, curve.values) for curve in each], axis=0)
        means.append((content.cells[place], [float(step) for step in grid], values.tolist()))
    return means


def tokens(figure: Figure, content: Content, words: Words) -> bool:
    """Of the best run with a token study: histograms over strengths, and the most lowered and raised tokens."""
    by_run = {study.run: study for study in content.tokens}
    best = next((by_run[run] for run in content.preferred if run in by_run), None)
    if best is None:
        return False
    figure.set_size_inches(PAGE, 2.6)
    histogram, lowered, raised = figure.subplots(1, 3, width_ratios=(1.7, 1, 1))
    _histograms(histogram, content, best, by_run, words)
    for axes, title, listed, colour in (
        (lowered, "most lowered", best.lowered, COLOURS[1]), (raised, "most raised", best.raised, COLOURS[0])
    ):  # fmt: skip
        listed = listed[:_MOST_TOKENS]
        axes.barh(range(len(listed)), [token.mean_logratio for token in listed], color=colour, height=0.6)
        axes.set_yticks(range(len(listed)), [words(visible_token(token.token, 14)) for token in listed])
        axes.invert_yaxis()
        axes.set_title(title, loc="left")
        axes.set_xlabel("mean log-ratio (nats)")
        axes.grid(visible=False)
    run = content.runs[best.run]
    seed = "" if run.seed is None else f", seed {run.seed}"
    figure.suptitle(words(one_line(f"{content.cells[run.cell].label}{seed}", 90)), fontsize=8.5, x=0.01, ha="left")
    return True


def _histograms(axes: Axes, content: Content, best: TokenStudy, by_run: dict[int, TokenStudy], words: Words) -> None:
    own = content.runs[best.run]
    line = next(each for each in series(content.cells) if content.cells[own.cell] in each)
    strengths = sorted({cell.strength for cell in content.cells if cell.strength is not None})
    for cell in line:
        run = next((r for r in cell.runs if r in by_run and content.runs[r].seed == own.seed), None)
        if run is None or not by_run[run].counts:
            continue
        place = strengths.index(cell.strength) / max(1, len(strengths) - 1) if cell.strength is not None else 0.0
        label = f"{strength_name(cell.method)} {numbers.strength(cell.strength)}"
        colour, width = RAMP[round(place * (len(RAMP) - 1))], 1.6 if run == best.run else 0.8
        axes.stairs(by_run[run].counts, by_run[run].edges, color=colour, label=words(label), linewidth=width)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
    axes.set_xlabel("mean log p/p_ref of a vocabulary item (nats)")
    axes.set_ylabel("vocabulary items")
    axes.legend(loc="upper left", fontsize=6.5, handlelength=1.2)


def _axis(metric: Metric, *, better: bool = True) -> str:
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.label}{unit}" + (f", {metric.better} is better" if better and metric.better == "lower" else "")


def _grid(figure: Figure, count: int) -> list[Axes]:
    """So many axes, two beside each other where there are several; the figure's size by that."""
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure.set_size_inches(PAGE if columns > 1 else COLUMN * 1.35, 2.8 * rows + 0.3)
    return [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
