"""Curves with fewer points keep their shape: largest triangle three buckets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.report.thinning import budgeted, thin


def one_at_a_time(x: np.ndarray, y: np.ndarray, most: int) -> list[int]:
    """The algorithm as its author writes it, for one curve."""
    edges = np.linspace(1, len(x) - 1, most - 1).astype(int)
    kept = [0]
    for bucket in range(most - 2):
        after = np.arange(edges[bucket + 1], edges[bucket + 2] if bucket + 2 < len(edges) else len(x))
        far = np.mean(x[after]), np.mean(y[after])
        last = kept[-1]
        areas = {
            i: abs((x[last] - far[0]) * (y[i] - y[last]) - (x[last] - x[i]) * (far[1] - y[last]))
            for i in range(edges[bucket], edges[bucket + 1])
        }
        kept.append(max(areas, key=areas.__getitem__))
    return [*kept, len(x) - 1]


@pytest.mark.parametrize("most", [3, 7, 40])
def test_many_curves_at_once_are_thinned_as_each_by_itself(most: int):
    chance = np.random.default_rng(0)
    curves = [(np.sort(chance.uniform(0, 9, size)), chance.normal(size=size)) for size in (100, 100, 57, 41, 100)]
    for (x, y), (thin_x, thin_y) in zip(curves, thin(curves, most), strict=True):
        places = one_at_a_time(x, y, most)
        assert thin_x.tolist() == x[places].tolist()
        assert thin_y.tolist() == y[places].tolist()


def test_a_short_curve_stays_as_it_is():
    curve = (np.arange(5.0), np.arange(5.0))
    assert thin([curve], 10)[0] is curve


def test_a_spike_survives():
    y = np.zeros(1000)
    y[617] = 50
    ((x, kept),) = thin([(np.arange(1000.0), y)], 20)
    assert x[np.argmax(kept)] == 617


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=60), st.integers(1, 50_000))
def test_curves_share_a_budget_and_short_ones_leave_theirs(lengths: list[int], total: int):
    least = 12
    most = budgeted(lengths, total, least)
    spent = sum(min(length, most) for length in lengths)
    assert spent <= total or most == least
    # No curve could have one point more, were all allowed one.
    assert sum(min(length, most + 1) for length in lengths) > total or most >= max(lengths)
