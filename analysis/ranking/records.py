"""What `rank` answers, for programs: CSV with a row a cell, JSON with all of it; numbers in full."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from analysis.ranking.answer import Answer
from analysis.ranking.fits import Fits
from analysis.ranking.frontier import Frontier
from analysis.ranking.rank import Cell, RankedGroup, Ranking
from analysis.ranking.rows import captions, missing
from analysis.ranking.verdict import verdict
from analysis.texts import for_csv, visible_line


def records(answer: Answer) -> list[dict[str, Any]]:
    """One flat row a cell, in the order of the ranking; None where there is none."""
    rows = []
    for at, group in enumerate(answer.ranking.groups):
        frontier = answer.frontiers[at] if answer.frontiers else None
        rows += [_record(answer.ranking, group, cell) | _on_frontier(frontier, cell) for cell in group.cells]
    return rows


def _record(ranking: Ranking, group: RankedGroup, cell: Cell) -> dict[str, Any]:
    measured = cell.measured
    return {
        **group.keys,
        **cell.keys,
        "metric": ranking.metric,
        "rank": cell.rank,
        "standing": cell.standing,
        "mean": cell.mean,
        "low": _finite(measured.low),
        "high": _finite(measured.high),
        "difference": cell.difference,
        "difference_low": cell.difference_low,
        "difference_high": cell.difference_high,
        "p": cell.p,
        "p_holm": cell.p_holm,
        "seeds": cell.seeds,
        "prompts": measured.prompts,
        "degenerate": sum(measured.degenerate.values()),
        "missing": sum(measured.states.values()),
        "note": missing(cell),
    }


def _on_frontier(frontier: Frontier | None, cell: Cell) -> dict[str, Any]:
    if frontier is None:
        return {}
    point = next((point for point in frontier.points if point.keys == cell.keys), None)
    return {
        frontier.other: None if point is None else point.other,
        "on_frontier": None if point is None else point.on_frontier,
        "frontier_share": None if point is None else point.share,
    }


def as_csv(answer: Answer) -> str:
    """`records` as CSV, without what a spreadsheet would take for a formula."""
    return written(records(answer))


def written(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV, in the columns that any of them has, without what a spreadsheet would take for a formula."""
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([for_csv(visible_line(column)) for column in columns])
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return for_csv(visible_line(str(value)))


def as_json(answer: Answer) -> str:
    """The groups with cells, verdict, frontier and curves, and what was told; ASCII."""
    ranking = answer.ranking
    told = {
        "metric": ranking.metric,
        "direction": ranking.direction,
        "by": list(ranking.by),
        "within": list(ranking.within),
        "level": ranking.question.level,
        "groups": [_group(answer, at) for at in range(len(ranking.groups))],
        "told": captions(ranking),
    }
    return json.dumps(told, indent=1, allow_nan=False) + "\n"


def _group(answer: Answer, at: int) -> dict[str, Any]:
    ranking, group = answer.ranking, answer.ranking.groups[at]
    cells = [{**_record(ranking, group, cell), "runs": list(cell.measured.runs)} for cell in group.cells]
    return {
        "within": dict(group.keys),
        "verdict": verdict(ranking, group),
        "cells": cells,
        **({"frontier": _frontier(answer.frontiers[at])} if answer.frontiers else {}),
        **({"fits": _fits(answer.fits[at])} if answer.fits else {}),
    }


def _frontier(frontier: Frontier) -> dict[str, Any]:
    points = [
        {
            **point.keys,
            "on_frontier": point.on_frontier,
            "share": point.share,
            "mean": point.mean,
            "mean_interval": [_finite(end) for end in point.mean_interval],
            "other": point.other,
            "other_interval": [_finite(end) for end in point.other_interval],
        }
        for point in frontier.points
    ]
    return {
        "other": frontier.other,
        "direction": frontier.other_direction,
        "points": points,
        "left_out": list(frontier.left_out),
    }


def _fits(fits: Fits) -> dict[str, Any]:
    curve = fits.curve
    return {
        "curve": None
        if curve is None
        else {
            "optimum": curve.optimum,
            "interval": [curve.optimum_low, curve.optimum_high],
            "at_edge": curve.at_edge,
            "strengths": [float(value) for value in curve.strengths],
            "mean": [float(value) for value in curve.mean],
            "low": [float(value) for value in curve.low],
            "high": [float(value) for value in curve.high],
        },
        "overoptimisation": [
            {
                "form": over.form,
                "alpha": over.alpha,
                "beta": over.beta,
                "explained": over.explained,
                "peak_kl": None if over.peak_kl is None else [_finite(value) for value in over.peak_kl],
            }
            for over in fits.overoptimisation
        ],
        "told": list(fits.told),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
