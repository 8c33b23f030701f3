"""Learning curves of all runs, thinned so that a page of a thousand of them stays small."""

import numpy as np

from analysis.report import columns, metrics, numbers
from analysis.report.content import Curve
from analysis.report.thinning import budgeted, thin
from analysis.runs import Runs

# A point takes some five bytes of the page.
POINTS = 700_000
# More than a picture is wide in pixels is wasted.
MOST_OF_A_CURVE = 400
MOST_METRICS = 12


def make_curves(runs: Runs, first: str) -> tuple[list[Curve], list[str]]:
    """The curves, those of one metric after those of another, and what is to be told of them.

    A value that is not finite, as of a loss that ran away, is left out and counted.
    """
    steps = [np.nan_to_num(each, nan=-1).astype(np.int64) for each in columns.floats(runs, "history.step")]
    known = [name for name in columns.names(runs, "history") if name != "step"]
    found, lost = [], set()
    for metric in metrics.curves(known, first, MOST_METRICS):
        for run, values in enumerate(columns.floats(runs, f"history.{metric}")):
            size = min(len(values), len(steps[run]))
            values, at = values[:size], steps[run][:size]
            if np.isinf(values).any():
                lost.add(run)
            kept = np.isfinite(values) & (at >= 0)
            if kept.any():
                found.append((run, metric, at[kept].astype(np.float64), values[kept]))
    most = min(MOST_OF_A_CURVE, budgeted([len(x) for _, _, x, _ in found], POINTS))
    thinned = thin([(x, y) for _, _, x, y in found], most)
    curves = [
        Curve(run, metric, [int(step) for step in x], [numbers.significant(value) for value in y.tolist()])
        for (run, metric, _, _), (x, y) in zip(found, thinned, strict=True)
    ]
    told = [f"Curves of {len(lost)} runs have infinite values, which are not drawn."] if lost else []
    return curves, told
