"""What a run logged, as one array a metric: each step once, damaged lines left out and counted."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.history import history_of_file, history_of_rows


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_lists(cells: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [None if value != value else value for value in cell] for name, cell in cells.items()}


def test_a_metric_is_an_array_as_long_as_the_steps():
    cells, damaged = history_of_file(lines({"step": 1, "time": 5.0, "train/loss": 0.5}, {"step": 3, "eval/kl": 2}))
    assert as_lists(cells) == {
        "history.step": [1, 3],
        "history.train/loss": [0.5, None],
        "history.eval/kl": [None, 2.0],
    }
    assert damaged == 0
    assert cells["history.step"].dtype == np.int64


def test_lines_of_one_step_are_one_entry_with_the_last_value_of_each():
    rows = lines({"step": 2, "train/loss": 0.5}, {"step": 2, "eval/kl": 1.0, "train/loss": 0.25}, {"step": 1})
    cells, _ = history_of_file(rows)
    assert as_lists(cells) == {"history.step": [1, 2], "history.train/loss": [None, 0.25], "history.eval/kl": [None, 1]}


def test_a_value_that_is_none_hides_no_earlier_one_of_the_same_step():
    cells, _ = history_of_file(lines({"step": 1, "train/loss": 0.5}, {"step": 1, "train/loss": None}))
    assert as_lists(cells)["history.train/loss"] == [0.5]


@pytest.mark.parametrize(
    ("content", "steps", "damaged"),
    [
        pytest.param(b"", None, 0, id="empty"),
        pytest.param(b"\n\n", None, 0, id="blank"),
        pytest.param(b'{"step": 1}\n{"step": 2, "train/lo', [1], 1, id="cut short"),
        pytest.param(b'{"step": 1}\n{"step": 2}', [1, 2], 0, id="no newline at the end"),
        pytest.param(b'{"step": 1}\nrubbish\n{"step": 2}\n', [1, 2], 1, id="rubbish"),
        pytest.param(b'{"step": 1}\n\xff\xfe\x00\n', [1], 1, id="no UTF-8"),
        pytest.param(b'{"step": 1, "train/\xff": 1}\n', None, 1, id="a name that is no UTF-8"),
        pytest.param(b'{"step": 1}\n[1, 2]\n"text"\n3\n', [1], 3, id="no objects"),
        pytest.param(b'{"step": 1}\n{"train/loss": 1}\n{"step": "2"}\n{"step": null}\n', [1], 3, id="no step"),
        pytest.param(b'{"step": 1}\n{"step": 99999999999999999999}\n', [1], 1, id="a step beyond all bounds"),
        pytest.param(b'{"step": 1}\n' + b"[" * 100_000 + b"\n", [1], 1, id="nested too deep"),
        pytest.param(b"\x00" * 50 + b"\n", None, 1, id="zeros, as after a power cut"),
        pytest.param(b'{"step": 1, "text": "' + b"x" * 3_000_000 + b'"}\n', [1], 0, id="a huge line"),
    ],
)
def test_damaged_lines_are_left_out_and_counted(content: bytes, steps: list[int] | None, damaged: int):
    cells, found = history_of_file(content)
    assert (list(cells["history.step"]) if cells else None) == steps
    assert found == damaged


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", '"NaN"', "null", "1e999"])
def test_what_is_no_finite_number_is_nan(value: str):
    cells, damaged = history_of_file(b'{"step": 1, "train/loss": %s}\n' % value.encode())
    assert np.isnan(cells["history.train/loss"]).all()
    assert damaged == 0


def test_what_is_no_number_at_all_is_no_metric():
    cells, _ = history_of_file(lines({"step": 1, "train/a": True, "train/b": {"x": 1}, "train/c": [1], "note": "x"}))
    assert list(cells) == ["history.step"]


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"step": st.integers(0, 20)},
        optional=dict.fromkeys(("train/loss", "eval/kl", "train/rewards/chosen"), NUMBERS),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(ROWS)
def test_the_fast_reader_reads_as_the_careful_one(rows: list[dict[str, Any]]):
    cells, damaged = history_of_file(lines(*rows))
    expected = history_of_rows(rows, "step")
    assert damaged == 0
    assert as_lists(cells) == as_lists(expected)
