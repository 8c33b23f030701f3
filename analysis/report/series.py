"""What charts draw of cells: lines of one method over its strengths, panels of one scale, and the frontier."""

from collections.abc import Mapping, Sequence

from analysis.report.content import Cell, Metric

# Measures of how far a policy has moved, the exact one first.
DISTANCES = ("eval/kl", "eval/kl_k3", "eval/kl_per_token")


def panel_name(cell: Cell) -> str:
    """Scores of other models and data have no common scale: each has a panel."""
    return " on ".join(name for name in (cell.model, cell.data) if name)


def panels(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells by panel, in their order."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(panel_name(cell), []).append(cell)
    return found


def series(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that differ in the strength alone, each line in the order of strength; those without one first."""
    found: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        key = (cell.method, cell.reference, cell.model, cell.data, *sorted(cell.others.items()))
        found.setdefault(key, []).append(cell)
    return [sorted(each, key=lambda cell: -1.0 if cell.strength is None else cell.strength) for each in found.values()]


def frontier(cells: Sequence[Cell], gain: Metric, distance: str) -> list[Cell]:
    """Cells with both scores that no other one beats in both, from the least distance on; no degenerate ones."""
    sign = -1.0 if gain.better == "lower" else 1.0
    sound = [cell for cell in cells if not cell.degenerate and gain.name in cell.scores and distance in cell.scores]
    ordered = sorted(sound, key=lambda cell: (cell.scores[distance].mean, -sign * cell.scores[gain.name].mean))
    kept: list[Cell] = []
    for cell in ordered:
        if not kept or sign * cell.scores[gain.name].mean > sign * kept[-1].scores[gain.name].mean:
            kept.append(cell)
    return kept


def frontier_axes(metrics: Mapping[str, Metric], cells: Sequence[Cell]) -> tuple[Metric, str] | None:
    """Gain and distance to draw where nobody chooses: reward against KL; None where there is no distance."""
    known = [name for name in metrics if any(name in cell.scores for cell in cells)]
    distance = next((name for name in DISTANCES if name in known), None)
    gains = [name for name in known if name not in DISTANCES]
    if distance is None or not gains:
        return None
    return metrics["eval/reward" if "eval/reward" in gains else gains[0]], distance
