"""What a ranking's tables say, cell by cell, whatever they are shown in: the terminal, Markdown."""

import math
from collections.abc import Sequence

from analysis.by_prompt import part_of
from analysis.cells import shown
from analysis.comparable import metric_row
from analysis.ranking.fits import Fits
from analysis.ranking.frontier import Frontier
from analysis.ranking.rank import Cell, RankedGroup, Ranking
from analysis.ranking.verdict import place
from analysis.statistics.overoptimisation import FORMULAS
from analysis.texts import visible_line

_STANDING = {
    "best": "best",
    "tied": "tied with the best",
    "behind": "",
    "degenerate": "degenerate",
    "none": "no result",
}
# Columns of words, which stand to the left as keys do.
WORDS = ("", "missing", "on the frontier")


def title(ranking: Ranking, group: RankedGroup) -> str:
    """What a group's table is of."""
    unit = metric_row(ranking.metric).unit
    better = "largest" if ranking.direction == "maximize" else "smallest"
    where = place(group.setting)
    return visible_line(f"{ranking.metric}{f' ({unit})' if unit else ''}, {better} first{where and ','}{where}")


def heads(ranking: Ranking) -> list[str]:
    """Headings of a group's table."""
    level = f"{100 * ranking.question.level:g} % interval"
    asked = "pairs" if part_of(ranking.metric) == "pairs" else "prompts"
    return ["rank", *ranking.by, "mean", level, "to the best", "its interval", "p (Holm)", "seeds", asked, "",
            "missing"]  # fmt: skip


def texts(ranking: Ranking, group: RankedGroup, cell: Cell) -> list[str]:
    """One row of it."""
    digits = decimals([(each.measured.low, each.measured.high, each.mean) for each in group.cells])
    measured = cell.measured
    return [
        "-" if cell.rank is None else str(cell.rank),
        *(shown(cell.keys[key]) for key in ranking.by),
        number(cell.mean, digits),
        span(measured.low, measured.high, digits),
        number(cell.difference, digits, sign=True),
        span(cell.difference_low, cell.difference_high, digits),
        probability(cell.p_holm),
        str(cell.seeds),
        str(measured.prompts) if measured.prompts else "-",
        _STANDING[cell.standing],
        missing(cell),
    ]


def missing(cell: Cell) -> str:
    """1 failed; 2 degenerate: it repeats itself."""
    told = [f"{count} {state}" for state, count in cell.measured.states.items()]
    told += [f"{count} degenerate: {reason}" for reason, count in cell.measured.degenerate.items()]
    return "; ".join(told)


def captions(ranking: Ranking) -> list[str]:
    """What the numbers are, and what to be wary of."""
    level = f"{100 * ranking.question.level:g} %"
    tested = any(cell.p_holm is not None for group in ranking.groups for cell in group.cells)
    tests = (
        f"tied with the best: a paired test at {level}, with Holm's correction in each table, does not tell them apart"
    )
    return [*([tests] if tested else []), *ranking.told]


def frontier_title(frontier: Frontier) -> str:
    """What a frontier's table is of."""
    way = "least" if frontier.other_direction == "minimize" else "most"
    where = place(frontier.setting)
    return visible_line(f"{frontier.metric} for the {way} {frontier.other}{where and ','}{where}")


def frontier_heads(frontier: Frontier, by: Sequence[str]) -> list[str]:
    """Headings of its table."""
    return [*by, frontier.other, "interval", frontier.metric, "interval", "on the frontier", "in draws"]


def frontier_texts(frontier: Frontier, by: Sequence[str]) -> list[list[str]]:
    """Its rows."""
    ours = decimals([(*point.mean_interval, point.mean) for point in frontier.points])
    others = decimals([(*point.other_interval, point.other) for point in frontier.points])
    return [
        [
            *(shown(point.keys[key]) for key in by),
            number(point.other, others),
            span(*point.other_interval, others),
            number(point.mean, ours),
            span(*point.mean_interval, ours),
            "yes" if point.on_frontier else "",
            f"{100 * point.share:.0f} %",
        ]
        for point in frontier.points
    ]


def fit_lines(fits: Fits, metric: str) -> list[str]:
    """What the curves come to, a sentence each."""
    where, lines = place(fits.setting), []
    if fits.curve is not None:
        curve = fits.curve
        at = f"{metric} over log-strength{where}: best at {curve.optimum:.3g}"
        edge = "; the range ends there, and the best may lie beyond it" if curve.at_edge else ""
        lines.append(f"{at} (95 %: {curve.optimum_low:.3g} to {curve.optimum_high:.3g}){edge}")
    for over in fits.overoptimisation:
        peak = over.peak_kl
        told = "no peak within what was measured"
        if peak is not None:
            told = f"peak at KL {peak[0]:.3g} nats (95 %: {peak[1]:.3g} to {_far(peak[2])})"
        alpha, beta = (f"{mid:.3g} ({low:.3g} to {high:.3g})" for mid, low, high in (over.alpha, over.beta))
        lines.append(
            f"gain in reward, d = sqrt(KL){where}: {FORMULAS[over.form]}, alpha {alpha}, beta {beta}, "
            f"R2 {over.explained:.3f}, {told}"
        )
    return [*lines, *fits.told]


def _far(value: float) -> str:
    return f"{value:.3g}" if value < 1e6 else "without end"


def decimals(cells: Sequence[tuple[float, float, float | None]]) -> int:
    """So many places that the narrowest of the intervals (low, high, mean) still has two digits; between 1 and 6."""
    widths = [high - low for low, high, _ in cells if math.isfinite(low) and high > low]
    sizes = widths or [abs(mean) / 50 for _, _, mean in cells if mean]
    return min(6, max(1, 1 - math.floor(math.log10(min(sizes))))) if sizes else 3


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """A number for people; - where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    rounded = round(value, digits) or 0.0  # no minus before a zero
    return f"{rounded:+.{digits}f}" if sign and rounded else f"{rounded:.{digits}f}"


def span(low: float | None, high: float | None, digits: int) -> str:
    """0.58 to 0.66."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "-"
    return f"{number(low, digits)} to {number(high, digits)}"


def probability(p: float | None) -> str:
    """<0.001, 0.012, 0.68."""
    if p is None or not math.isfinite(p):
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
