"""What a run's metric is made of, prompt by prompt: values of the same prompts in all runs, which can be paired.

answers.win = [1, 0, 0.5] on answers.prompt = ["0f..", "3a..", "9c.."] -> eval/win_rate = 0.5, as three values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.runs import Part
from analysis.statistics.crossed import Floats
from analysis.statistics.samples import Ints
from trainers.metrics_table import known

Columns = Mapping[str, Floats]


def _positive(difference: Floats) -> Floats:
    """1 above zero, a half at zero, as `trainers.evaluation.pairs` counts."""
    return np.where(np.isnan(difference), np.nan, (np.sign(difference) + 1) / 2)


def _ratio(parts: Floats, tokens: Floats) -> Floats:
    """Values whose mean is sum(parts)/sum(tokens), and which differ as that ratio does by prompt (to first order)."""
    known = ~(np.isnan(parts) | np.isnan(tokens))
    if not tokens[known].sum() > 0:
        return np.full(len(parts), np.nan)
    ratio = parts[known].sum() / tokens[known].sum()
    values: Floats = ratio + (parts - ratio * tokens) / tokens[known].mean()
    return values


@dataclass(frozen=True)
class _Recipe:
    """The columns of a part that a metric is made of, and how."""

    part: Part
    columns: tuple[str, ...]
    make: Callable[..., Floats] = lambda values: values


_RECIPES: Mapping[str, _Recipe] = {
    "eval/policy_accuracy": _Recipe("pairs", ("chosen_logp", "rejected_logp"), lambda a, b: _positive(a - b)),
    "eval/policy_accuracy_norm": _Recipe(
        "pairs", ("chosen_logp", "rejected_logp", "chosen_tokens", "rejected_tokens"),
        lambda a, b, n, m: _positive(a / n - b / m),
    ),
    "eval/reward_accuracy": _Recipe("pairs", ("chosen_logratio", "rejected_logratio"), lambda a, b: _positive(a - b)),
    "eval/margin_nats": _Recipe("pairs", ("chosen_logratio", "rejected_logratio"), lambda a, b: a - b),
    "eval/chosen_logratio": _Recipe("pairs", ("chosen_logratio",)),
    "eval/rejected_logratio": _Recipe("pairs", ("rejected_logratio",)),
    "eval/win_rate": _Recipe("answers", ("win",)),
    "eval/judge_win_rate": _Recipe("answers", ("judge_win",)),
    "eval/reward": _Recipe("answers", ("reward",)),
    "eval/start_reward": _Recipe("answers", ("start_reward",)),
    "eval/kl": _Recipe("answers", ("kl",)),
    "eval/kl_k1": _Recipe("answers", ("k1",)),
    "eval/kl_k3": _Recipe("answers", ("k3",)),
    "eval/kl_per_token": _Recipe("answers", ("kl", "tokens"), _ratio),
    "eval/entropy": _Recipe("answers", ("entropy", "tokens"), lambda mean, tokens: _ratio(mean * tokens, tokens)),
    "eval/length": _Recipe("answers", ("tokens",)),
    "eval/ended": _Recipe("answers", ("ended",)),
    "eval/repetition": _Recipe("answers", ("repetition",)),
}  # fmt: skip
_NAMES: Mapping[Part, str] = {"pairs": "pairs.pair", "answers": "answers.prompt"}


@dataclass(frozen=True)
class ByPrompt:
    """A metric's values. `prompts`: digests of shape (prompts,), sorted; `names` has them as text.

    `values[row]` of shape (prompts,) for each row of the frame that has any, NaN where it has none of a prompt;
    `counts` of shape (prompts,), on how many rows of the data a prompt stands.
    """

    names: Sequence[str]
    values: Mapping[int, Floats]
    counts: Floats

    @property
    def numbers(self) -> Ints:
        """The prompts by number."""
        return np.arange(len(self.names), dtype=np.int64)


NOTHING = ByPrompt((), {}, np.zeros(0))


def part_of(metric: str) -> Part | None:
    """The part of a run in which the metric's values by prompt are; None where it is only known of whole runs."""
    recipe = _RECIPES.get(metric)
    return None if recipe is None else recipe.part


def by_prompt(frame: pd.DataFrame, metric: str) -> ByPrompt:
    """The metric's values by prompt of the runs that have them. Nothing for a metric that is of whole runs.

    A prompt that stands on several rows of a run counts once, with the mean of them and their number beside.
    """
    recipe = _RECIPES.get(metric)
    needed = [] if recipe is None else [_NAMES[recipe.part], *(f"{recipe.part}.{name}" for name in recipe.columns)]
    if recipe is None or any(name not in frame.columns for name in needed):
        return NOTHING
    names, *columns = (frame[name].tolist() for name in needed)
    cells = zip(names, *columns, strict=True)
    found = {row: made for row, run in enumerate(cells) if (made := _of_run(recipe, *run)) is not None}
    if not found:
        return NOTHING
    return _aligned(found)


def _of_run(recipe: _Recipe, names: Any, *columns: Any) -> tuple[npt.NDArray[np.object_], Floats] | None:
    if not _is_list(names) or not len(names):
        return None
    if any(not _is_list(column) or len(column) != len(names) for column in columns):
        return None
    values = [_numeric(column) for column in columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        made = np.asarray(recipe.make(*values), dtype=float)
    made = np.where(np.isfinite(made), made, np.nan)
    return (np.asarray(names, dtype=object), made) if not np.isnan(made).all() else None


def _numeric(column: Any) -> Floats:
    try:
        return np.asarray(column, dtype=float)  # None becomes NaN
    except (TypeError, ValueError):
        return np.asarray(pd.to_numeric(pd.Series(column), errors="coerce"), dtype=float)


def _is_list(cell: object) -> bool:
    """Whether a run has the part that the cell is of."""
    return isinstance(cell, list | tuple | np.ndarray)


def _aligned(found: Mapping[int, tuple[npt.NDArray[np.object_], Floats]]) -> ByPrompt:
    """All runs on the same sorted prompts. Most have the very same list, so each list is sorted once."""
    layouts: dict[bytes, tuple[npt.NDArray[np.str_], Ints, Floats]] = {}
    keys = {}
    for row, (names, _) in found.items():
        key = "\0".join(map(str, names)).encode("utf-8", "replace")
        keys[row] = key
        if key not in layouts:
            unique, place, often = np.unique(names.astype(str), return_inverse=True, return_counts=True)
            layouts[key] = (unique, place.astype(np.int64), often.astype(float))
    every = np.unique(np.concatenate([names for names, _, _ in layouts.values()]))
    counts: Floats = np.zeros(len(every))
    values: dict[int, Floats] = {}
    places = {key: np.searchsorted(every, names) for key, (names, _, _) in layouts.items()}
    for key, (_, _, rows) in layouts.items():
        counts[places[key]] = np.maximum(counts[places[key]], rows)
    for row, (_, made) in found.items():
        _, place, rows = layouts[keys[row]]
        full = np.full(len(every), np.nan)
        full[places[keys[row]]] = np.bincount(place, weights=made, minlength=len(rows)) / rows
        values[row] = full
    return ByPrompt([str(name) for name in every], values, counts)


def is_share(metric: str) -> bool:
    """Whether each value lies between 0 and 1."""
    row = known(metric)
    return row is not None and row.bounds == (0.0, 1.0)
