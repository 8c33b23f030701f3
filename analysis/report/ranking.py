"""What the report says of who is best. Here a statistical ranking comes in: `make_ranking` is all that makes it.

For now cells are put in the order of their means over seeds, nothing is tested, and the verdict says so.
"""

from collections.abc import Sequence
from dataclasses import replace

from analysis.report import numbers
from analysis.report.cells import SPREAD
from analysis.report.content import Cell, Estimate, Metric, Ranking, RankRow
from analysis.runs import Runs

UNTESTED = "The differences were not tested."


def make_ranking(runs: Runs, cells: Sequence[Cell], metric: Metric) -> Ranking:
    """Cells from best to worst by `metric`; those without a value, and degenerate ones, last and without a rank.

    `cells` stand for rows of `runs.frame` by their places. The estimates of the rows go into the charts as well; rows
    with `difference`, `p` and `tied` are shown as such once `tested` is set.
    """
    estimates = [cell.scores.get(metric.name) for cell in cells]
    sign = 1.0 if metric.better == "lower" else -1.0
    sound = [place for place, cell in enumerate(cells) if estimates[place] is not None and not cell.degenerate]
    ranked = sorted(sound, key=lambda place: sign * _mean(estimates[place]))
    rest = [place for place in range(len(cells)) if place not in set(sound)]
    rows = [RankRow(place, rank, estimates[place], best=rank == 1) for rank, place in enumerate(ranked, start=1)]
    rows += [RankRow(place, None, estimates[place]) for place in rest]
    rows = [replace(row, note=_note(cells[row.cell], runs)) for row in rows]
    return Ranking(metric.name, _verdict(cells, rows, metric), rows, SPREAD)


def _mean(estimate: Estimate | None) -> float:
    return estimate.mean if estimate is not None else float("nan")


def _note(cell: Cell, runs: Runs) -> str:
    """What is wrong with a cell, in a few words."""
    statuses = runs.frame["status"].iloc[list(cell.runs)]
    bad = statuses[statuses != "completed"].value_counts()
    notes = [f"{count} of {len(cell.runs)} {status}" for status, count in bad.items()]
    return "; ".join([*notes, *([f"degenerate: {cell.degenerate}"] if cell.degenerate else [])])


def _verdict(cells: Sequence[Cell], rows: Sequence[RankRow], metric: Metric) -> str:
    best = next((row for row in rows if row.best), None)
    if best is None or best.estimate is None:
        return "Nothing can be ranked: no setting has a sound run with a score."
    end = "lowest" if metric.better == "lower" else "highest"
    value = spread(best.estimate, metric)
    count = f"{best.estimate.seeds} seeds" if best.estimate.seeds > 1 else "one seed"
    return f"{cells[best.cell].label} has the {end} {metric.label}: {value}, over {count}. {UNTESTED}"


def spread(estimate: Estimate, metric: Metric) -> str:
    """A mean with its band: 0.641 ± 0.036, or 0.641 (0.600 to 0.690) where the band is lopsided."""
    return "".join(spread_parts(estimate, metric)) + (f" {metric.unit}" if metric.unit else "")


def spread_parts(estimate: Estimate, metric: Metric) -> tuple[str, str]:
    """The mean and the band of it, without the unit; no band where there is none."""
    mean = numbers.fixed(estimate.mean, metric.decimals)
    if estimate.low is None or estimate.high is None:
        return mean, ""
    up, down = estimate.high - estimate.mean, estimate.mean - estimate.low
    if abs(up - down) <= 0.02 * max(up, down):
        return mean, f"\u00a0±\u00a0{numbers.fixed(up, metric.decimals)}"
    low, high = (numbers.fixed(end, metric.decimals) for end in (estimate.low, estimate.high))
    return mean, f" ({low} to {high})"
