"""Published numbers, to stand beside what a study measured and never among it.

A row `beta,metric,value,of,source` of published/NAME.csv such as `0.1,eval/reward_accuracy,0.718,mistral-7b-sft-beta,
arXiv:2407.13709 table 2` -> "0.718" in a column of its own, in the row of each trial with beta=0.1.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import BadCommand
from orchestrator.wording import one_line
from trainers.methods import METHODS
from trainers.nearest import did_you_mean

FOLDER = Path(__file__).resolve().parent.parent / "published"
# What a number is and where it stands; every other column says which trials it stands beside.
OWN = ("metric", "value", "of", "source")


@dataclass(frozen=True)
class Number:
    """One published number as it was printed: `beside` maps config keys to the values that a trial must have."""

    metric: str
    value: str
    # Model and data that it was measured on, where those may be others than the study's.
    of: str
    source: str
    beside: Mapping[str, str]

    @property
    def series(self) -> str:
        """The column it stands in."""
        return f"published {self.metric.removeprefix('eval/')}" + (f" ({self.of})" if self.of else "")


@dataclass(frozen=True)
class Published:
    """The numbers of one file."""

    numbers: Sequence[Number] = ()

    @property
    def series(self) -> dict[str, str]:
        """Each column's name and the metric it is of, in the order of the file."""
        return {number.series: number.metric for number in self.numbers}

    @property
    def sources(self) -> list[str]:
        """Where the numbers stand, each once."""
        return list(dict.fromkeys(number.source for number in self.numbers))

    def beside(self, config: Mapping[str, Any]) -> dict[str, str]:
        """The numbers for a run of this config, by column. One that names no key stands beside every trial."""
        return {
            number.series: number.value
            for number in self.numbers
            if all(_same(setting(config, key), value) for key, value in number.beside.items())
        }


NOTHING = Published()


def published(name: str | None) -> Published:
    """The numbers of published/NAME.csv, or of a CSV file of the user's own; none without a name.

    Raises BadCommand where there is no such file, or it lacks a column.
    """
    if name is None:
        return NOTHING
    path = Path(name).expanduser() if name.endswith(".csv") else FOLDER / f"{name}.csv"
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError) as error:
        raise BadCommand([_unreadable(name, error)]) from None
    missing = [column for column in OWN if not rows or column not in rows[0]]
    if missing:
        raise BadCommand([f"table.published={name}: {path} has no column {', '.join(missing)}"])
    return Published([_number(row) for row in rows])


def _unreadable(name: str, error: Exception) -> str:
    names = sorted(path.stem for path in FOLDER.glob("*.csv"))
    hint = did_you_mean(name, names)
    return f"table.published={name}: {one_line(str(error))}; {hint}there are {', '.join(names)}, or a path to a .csv"


def _number(row: Mapping[str, str]) -> Number:
    beside = {key: value for key, value in row.items() if key not in OWN and value}
    return Number(row["metric"], row["value"], row["of"], row["source"], beside)


def setting(config: Mapping[str, Any], key: str) -> Any:
    """What a run's config says of a key of the command line: "beta" is the method's strength, "model" its name."""
    if key == "beta":
        strength = METHODS[config["method"]["name"]].strength
        return None if strength is None else config["method"][strength]
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return _label(node) if isinstance(node, Mapping) else node


def _label(section: Mapping[str, Any]) -> Any:
    return section.get("name", section.get("kind"))


def _same(own: Any, printed: str) -> bool:
    if isinstance(own, int | float) and not isinstance(own, bool):
        try:
            return math.isclose(own, float(printed), rel_tol=1e-9)
        except ValueError:
            return False
    return str(own) == printed


def measured(series: Iterable[str]) -> list[str]:
    """Of metrics, those that a run measures: the table shows them beside their published numbers."""
    return [metric for metric in dict.fromkeys(series) if metric.startswith(("eval/", "train/"))]
