"""Runs that came to no sound end, those with one reason together, and what else a reader should know."""

from collections.abc import Iterator, Sequence

from analysis.report.content import Cell, Failure, Run

_ORDER = ("failed", "missing", "running", "cancelled", "pruned", "degenerate")
_WORDS = {
    "missing": "has no result yet",
    "running": "is still running",
    "cancelled": "was stopped before its end",
    "pruned": "was stopped because others did better",
}


def make_failures(runs: Sequence[Run]) -> list[Failure]:
    """Failed runs first, by how many they are; then the other states, then completed ones that are degenerate."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, run in enumerate(runs):
        if run.status != "completed":
            found.setdefault((run.status, run.error or _WORDS.get(run.status, run.status)), []).append(place)
        elif run.degenerate:
            found.setdefault(("degenerate", run.degenerate), []).append(place)
    order = {status: place for place, status in enumerate(_ORDER)}
    ordered = sorted(found.items(), key=lambda item: (order.get(item[0][0], len(order)), -len(item[1]), item[0][1]))
    return [Failure(status, message, places) for (status, message), places in ordered]


def doubts(cells: Sequence[Cell], runs: Sequence[Run], ranked_by: str) -> Iterator[str]:
    """What weakens the numbers of runs that completed."""
    scored = [cell.scores[ranked_by] for cell in cells if ranked_by in cell.scores]
    single = sum(estimate.seeds == 1 for estimate in scored)
    if single:
        yield f"{single} of {len(scored)} settings have one seed only, so that nothing tells how much seeds differ."
    without = sum(run.status == "completed" and run.score is None for run in runs)
    if without and ranked_by:
        yield f"{without} completed runs have no {ranked_by}."
