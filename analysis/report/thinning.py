"""Fewer points for the same picture: largest triangle three buckets, for many curves at once.

Steinarsson, Downsampling Time Series for Visual Representation (2013), 4.2: of each bucket of points stays the one that
makes the largest triangle with the one kept before it and the mean of the bucket after it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def budgeted(lengths: Sequence[int], total: int, least: int = 12) -> int:
    """Points that a curve may keep so that all together are at most `total`; short curves leave theirs to long ones."""
    sizes = np.sort(np.asarray(lengths, dtype=np.int64))
    if sizes.sum() <= total:
        return int(sizes[-1]) if len(sizes) else least
    before = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    room = (total - before) // np.arange(len(sizes), 0, -1)
    # The first curve that is longer than what is left for each from it on.
    place = int(np.argmax(sizes > room))
    return max(least, int(room[place]))


def thin(curves: Sequence[tuple[Floats, Floats]], most: int) -> list[tuple[Floats, Floats]]:
    """Each curve (x, y) with at most `most` of its points, the first and the last among them, in the same order."""
    kept = list(curves)
    by_length: dict[int, list[int]] = {}
    for place, (x, _) in enumerate(curves):
        if len(x) > most:
            by_length.setdefault(len(x), []).append(place)
    for places in by_length.values():
        xs, ys = (np.stack([curves[place][axis] for place in places]) for axis in (0, 1))
        chosen = _largest_triangles(xs, ys, max(3, most))
        for row, place in enumerate(places):
            kept[place] = (xs[row, chosen[row]], ys[row, chosen[row]])
    return kept


def _largest_triangles(xs: Floats, ys: Floats, most: int) -> NDArray[np.int64]:
    """Indices of shape (curves, most) into curves of shape (curves, points)."""
    curves, points = xs.shape
    edges = np.linspace(1, points - 1, most - 1).astype(np.int64)
    chosen = np.zeros((curves, most), dtype=np.int64)
    chosen[:, -1] = points - 1
    rows = np.arange(curves)
    for bucket in range(most - 2):
        low, high = edges[bucket], edges[bucket + 1]
        after = slice(high, edges[bucket + 2]) if bucket + 2 < len(edges) else slice(points - 1, points)
        far_x, far_y = xs[:, after].mean(axis=1), ys[:, after].mean(axis=1)
        last_x, last_y = xs[rows, chosen[:, bucket]], ys[rows, chosen[:, bucket]]
        area = np.abs(
            (last_x - far_x)[:, None] * (ys[:, low:high] - last_y[:, None])
            - (last_x[:, None] - xs[:, low:high]) * (far_y - last_y)[:, None]
        )
        chosen[:, bucket + 1] = low + area.argmax(axis=1)
    return chosen
