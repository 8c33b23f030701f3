"""The page's charts as files for papers: PNG, SVG and PDF, the same bytes for the same runs.

draw(content, ["png", "pdf"]) -> ("ranking", {"png": ..., "pdf": ...}), ("strength", ...), ("frontier", ...), ...
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from analysis.report import plots
from analysis.report.content import Content

# Fonts are embedded as TrueType in PDF, and are outlines in SVG. Text is drawn as it stands: $ begins no formula.
STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "legend.fontsize": 7.5,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "axes.edgecolor": "#5a606b", "xtick.color": "#5a606b", "ytick.color": "#5a606b",
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.grid": True, "axes.grid.axis": "y",
    "grid.color": "#e9eaec", "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
    "lines.linewidth": 1.4, "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "prefsweep",
    "text.parse_math": False, "axes.unicode_minus": True, "savefig.dpi": 200, "axes.formatter.use_mathtext": False,
}  # fmt: skip
# Nothing of when and where a figure was made.
_METADATA: Mapping[str, Mapping[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
}
_CHARTS: Mapping[str, Callable[[Figure, Content, plots.Words], bool]] = {
    "ranking": plots.ranking,
    "strength": plots.strength,
    "frontier": plots.frontier,
    "curves": plots.curves,
    "tokens": plots.tokens,
}


def draw(content: Content, formats: Sequence[str]) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """Each chart that the content has something for, by name, in each of the formats."""
    with mpl.rc_context(cast("Any", STYLE)):
        for name, chart in _CHARTS.items():
            # In the resolution of the PNG: at a lower one letters are set narrower, and labels would be cut off.
            figure = Figure(layout="constrained", dpi=mpl.rcParams["savefig.dpi"])
            FigureCanvasAgg(figure)
            if chart(figure, content, drawable):
                # Laid out once: each format would do it again, and none quite like the one before.
                figure.draw_without_rendering()
                figure.set_layout_engine("none")
                _settle(figure)
                yield name, {each: _saved(figure, each) for each in formats}


def drawable(text: str) -> str:
    """The text with characters that the figures' font has not spelled out."""
    return "".join(ch if ord(ch) in _glyphs() else f"⟨U+{ord(ch):04X}⟩" for ch in text)


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()) | {10}


def _settle(figure: Figure) -> None:
    """Round where axes stand: the layout's solver ends a hair apart from one time to the next."""
    for axes in figure.axes:
        axes.set_position(tuple(round(each, 4) for each in axes.get_position().bounds))


def _saved(figure: Figure, suffix: str) -> bytes:
    into = io.BytesIO()
    figure.savefig(into, format=suffix, metadata=dict(_METADATA[suffix]))
    return into.getvalue()
