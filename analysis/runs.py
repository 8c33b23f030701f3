"""The one form that runs have here, wherever they come from: a table with one row a run.

study folders, W&B, a parquet file -> Runs(frame[run_id, method, model, reference, beta, seed, status, eval/..., ...])
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from analysis.errors import BadQuestion

# What a run is, and how it ended; every frame has these, in this order. `beta` is the strength, whatever its name.
IDENTITY = (
    "source", "study", "run_id", "trial", "seed", "method", "model", "reference", "data", "beta",
    "status", "error", "degenerate", "steps", "seconds", "tracking_url", "config", "params",
    "evaluated",
)  # fmt: skip
# The parts of a run that take time to read, as list columns `history.step`, `pairs.pair`, `answers.text`, ...
Part = Literal["history", "pairs", "answers", "tokens"]
PARTS: tuple[Part, ...] = ("history", "pairs", "answers", "tokens")


@dataclass(frozen=True)
class Runs:
    """Runs, and what a reader of them should know.

    `frame`: the columns IDENTITY; metrics as float columns `eval/...` and `train/...`, the last value of each, NaN
    where a run has none; `config` and `params` are JSON texts, and so is `evaluated`, the settings of the newest
    evaluation, which may be a later one than the run's own. Text that a run has not is None; numbers are <NA> in
    `trial`, `seed` and `steps`, else NaN. Parts that were asked for are columns whose cells are arrays, one for each
    run (numbers float64 or int64, NaN where there is none; text str), or None where a run has no such part; `tokens`
    is JSON text. `told`: what was skipped or is strange, a sentence each.
    """

    frame: pd.DataFrame
    told: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that some run has."""
        return [name for name in self.frame.columns if is_metric(name)]

    @property
    def completed(self) -> "Runs":
        """Those that ended well."""
        return self.where(self.frame["status"] == "completed")

    def where(self, wanted: "pd.Series[bool]") -> "Runs":
        """Those of the marked rows."""
        return Runs(self.frame[wanted].reset_index(drop=True), self.told)

    def values(self, key: str) -> pd.Series:
        """What each run has of a key: a swept key, an identity column, or one of its config by its dotted name.

        Raises BadQuestion where no run has it.
        """
        if key in IDENTITY and key not in ("config", "params", "evaluated"):
            return self.frame[key]
        found = pd.Series([_setting(row, key) for row in self._settings()], index=self.frame.index, dtype=object)
        if found.isna().all():
            raise BadQuestion(f"{key}: no run has such a key; swept are {', '.join(self.swept()) or 'none'}")
        return found

    def swept(self) -> list[str]:
        """Keys that were swept in some run's study."""
        return list(dict.fromkeys(key for text in self.frame["params"] for key in _mapping(text)))

    def _settings(self) -> Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        for params, config in zip(self.frame["params"], self.frame["config"], strict=True):
            yield _mapping(params), _mapping(config)


def is_metric(name: str) -> bool:
    """Whether a column is a metric's last value."""
    return name.startswith(("eval/", "train/"))


def _mapping(text: object) -> dict[str, Any]:
    found = json.loads(text) if isinstance(text, str) and text else {}
    return found if isinstance(found, dict) else {}


def _setting(row: tuple[Mapping[str, Any], Mapping[str, Any]], key: str) -> Any:
    params, node = row
    if key in params:
        return params[key]
    at: Any = node
    for part in key.split("."):
        at = at.get(part) if isinstance(at, Mapping) else None
    return at.get("name", at.get("kind")) if isinstance(at, Mapping) else at
