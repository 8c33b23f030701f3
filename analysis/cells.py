"""Sorts runs into what is compared: groups that are ranked by themselves, in them cells, in those the runs of a cell.

--by beta on a study of dpo and ipo, beta 0.1 and 0.5, seeds 0 and 1 -> groups {method: dpo}, {method: ipo}; in each
the cells {beta: 0.1}, {beta: 0.5}; in each the runs of seed 0 and seed 1.
"""

import json
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.errors import BadQuestion
from analysis.runs import Runs
from orchestrator.wording import one_line
from trainers.methods import METHODS

# What makes runs different experiments, in the order they are told.
ALWAYS = ("method", "model", "reference", "data", "beta")
# What says of a group which runs these are.
_TELLING = ("method", "model")
METHOD, STRENGTH = "method", "beta"
# What makes runs repetitions of one experiment.
SEED = "seed"
# Keys of a config that change nothing of what is measured, or follow from others.
_IDLE = ("seed", "tracking.", "reference.of", "start.of", "training.logging_steps", "training.save_",
         "training.keep_checkpoints", "evaluation.every", "evaluation.batch_size", "evaluation.sampling_batch",
         "evaluation.samples", "evaluation.degenerate.",
         "model.name")  # fmt: skip
# The same in other people's scripts, by the end of the key.
_NAMES = ("output_dir", "run_name", "logging_dir", "data_seed", "hub_model_id", "report_to", "_wandb")
Values = tuple[Hashable, ...]


@dataclass(frozen=True)
class CellRuns:
    """Runs of one setting: `values` of the compared keys, `rows` of the frame, and what names each as a repetition."""

    values: Values
    rows: Sequence[int]
    repetitions: Sequence[Hashable]


@dataclass(frozen=True)
class Group:
    """Cells that are ranked together; `values` are those of the keys within which they are.

    `common`: method and model where all its runs have the same, and they are none of those keys.
    """

    values: Values
    cells: Sequence[CellRuns]
    common: Mapping[str, Hashable]


@dataclass(frozen=True)
class Sorted:
    """Groups in the order of their values, the keys they were made by, and sentences on how that came about."""

    by: tuple[str, ...]
    within: tuple[str, ...]
    groups: Sequence[Group]
    told: Sequence[str]


def sort_runs(runs: Runs, by: Sequence[str], within: Sequence[str] | None = None) -> Sorted:
    """Groups and cells by the keys given.

    Without `within`, whatever else differs among runs of one cell makes groups, so that nothing but the seed does. With
    it, cells go over what it leaves out. Runs that are the same are counted once. Raises BadQuestion for a key that no
    run has, and for the seed.
    """
    _check(by, within or ())
    table = _Keys(runs)
    chosen = tuple(key for key in (within or ()) if key not in by)
    told: list[str] = []
    for key in (*by, *chosen):
        table.need(key)
    if within is None:
        chosen = table.that_differ(by)
        # No scale of strengths is that of another method, also where no two methods have a strength in common.
        if STRENGTH in by and METHOD not in (*by, *chosen) and table.differ(METHOD):
            chosen = (METHOD, *chosen)
    left_out = table.that_differ((*by, *chosen))
    if left_out:
        told.append(f"means go over {', '.join(left_out)}, in which runs of a cell differ; --within takes them apart")
    rows, doubles = _distinct(table, runs, (*by, *chosen, *left_out))
    if doubles:
        told.append(f"{doubles} runs repeat another with the same settings and seed, and are counted once")
    groups = []
    for values, members in _by(table, rows, chosen):
        cells = [
            CellRuns(values, rows, [table.repetition(row, left_out) for row in rows])
            for values, rows in _by(table, members, by)
        ]
        groups.append(Group(values, cells, table.common(members, (*by, *chosen))))
    return Sorted(tuple(by), chosen, groups, told)


def shown(value: Hashable) -> str:
    """A key's value as people read it, on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else one_line(str(value), 80)


def _check(by: Sequence[str], within: Sequence[str]) -> None:
    if not by:
        raise BadQuestion("--by: name what to rank, as --by beta or --by method,beta")
    if SEED in (*by, *within):
        raise BadQuestion("seed: means and intervals go over seeds, so nothing can be ranked by them")


class _Keys:
    """What each run has of each key, looked up once."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._columns: dict[str, list[Hashable]] = {}
        self._leaves = [dict(_leaves(_settings(text))) for text in runs.frame["config"]]

    def need(self, key: str) -> None:
        self._columns.setdefault(key, [_plain(value) for value in self._runs.values(key)])

    def of(self, row: int, keys: Sequence[str]) -> Values:
        return tuple(self._columns[key][row] for key in keys)

    def that_differ(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Keys besides these in which runs differ that are alike in these, the usual ones first."""
        known = list(keys)
        for key in ALWAYS:
            self.need(key)
            if key not in known and self._differs(known, self._columns[key]):
                known.append(key)
        every = dict.fromkeys(leaf for leaves in self._leaves for leaf in leaves)
        for leaf in every:
            column = [leaves.get(leaf) for leaves in self._leaves]
            if len(set(column)) > 1 and self._differs(known, column):
                self._columns[leaf] = column
                known.append(leaf)
        return tuple(known[len(keys) :])

    def differ(self, key: str) -> bool:
        """Whether not all runs have the same."""
        self.need(key)
        return len(set(self._columns[key])) > 1

    def common(self, rows: Sequence[int], keys: Sequence[str]) -> dict[str, Hashable]:
        """Method and model where these rows have one, and it is not among the keys."""
        found = {key: {self._columns[key][row] for row in rows} for key in _TELLING if key not in keys}
        return {key: values.pop() for key, values in found.items() if len(values) == 1}

    def _differs(self, keys: Sequence[str], column: Sequence[Hashable]) -> bool:
        first: dict[Values, Hashable] = {}
        return any(first.setdefault(self.of(row, keys), value) != value for row, value in enumerate(column))

    def repetition(self, row: int, left_out: Sequence[str]) -> Hashable:
        """What names a run among those of its cell: its seed; a run without one is like no other."""
        seed = _plain(self._runs.frame[SEED].iloc[row])
        return (seed if seed is not None else f"row {row}", *self.of(row, left_out))


def _distinct(table: _Keys, runs: Runs, keys: Sequence[str]) -> tuple[list[int], int]:
    """Rows without those that repeat another; of the same the one that completed stays, else the first."""
    kept: dict[Values, int] = {}
    doubles = 0
    status = runs.frame["status"].tolist()
    for row in range(len(runs)):
        name = (*table.of(row, keys), table.repetition(row, ()))
        before = kept.get(name)
        if before is None:
            kept[name] = row
            continue
        doubles += 1
        if status[row] == "completed" and status[before] != "completed":
            kept[name] = row
    return sorted(kept.values()), doubles


def _by(table: _Keys, rows: Sequence[int], keys: Sequence[str]) -> list[tuple[Values, list[int]]]:
    found: dict[Values, list[int]] = {}
    for row in rows:
        found.setdefault(table.of(row, keys), []).append(row)
    return sorted(found.items(), key=lambda item: tuple(map(order, item[0])))


def order(value: Hashable) -> tuple[int, float, str]:
    """By which values are sorted: numbers by size, then text, what is missing last."""
    if value is None:
        return 2, 0.0, ""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _plain(value: Any) -> Hashable:
    """A value that can be a key: numbers are floats, lists JSON, what is missing None."""
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return value
    return float(value) if hasattr(value, "__float__") and not isinstance(value, str) else str(value)


def _settings(text: object) -> Mapping[str, Any]:
    found = json.loads(text) if isinstance(text, str) and text else {}
    if not isinstance(found, dict):
        return {}
    method = found.get("method")
    if isinstance(method, dict) and method.get("name") in METHODS:
        # The strength is the key `beta`.
        strength = METHODS[str(method["name"])].strength
        found["method"] = {key: value for key, value in method.items() if key != strength}
    return found


def _leaves(node: Any, at: str = "") -> Iterator[tuple[str, Hashable]]:
    """Dotted keys of a config and their values, without those that change nothing."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{at}.{key}" if at else str(key))
    elif not at.startswith(_IDLE) and not at.endswith(_NAMES):
        yield at, _plain(node)
