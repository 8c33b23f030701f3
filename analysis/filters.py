"""Which runs are asked for: --filter key=value, by anything that is known of a run, or by what only W&B knows.

--filter method=dpo,ipo --filter status=completed --filter tags=final
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.errors import BadQuestion
from analysis.frame import Row, make_frame, number
from analysis.runs import Runs
from orchestrator.wording import one_line

# What is known of runs at W&B alone, where the server itself can choose by it.
_AT_WANDB = ("tags", "state")


@dataclass
class Filters:
    """Conditions by key, each with the values of which a run must have one; all of them must hold."""

    conditions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # Keys that some runs were looked at for, and which of their values were there.
    _seen: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Filters":
        """Raises BadQuestion, with every fault."""
        conditions: dict[str, list[str]] = {}
        faults = []
        for text in texts:
            key, equals, values = text.partition("=")
            if not key.strip() or not equals:
                faults.append(f"--filter {text}: has the form key=value, or key=value,value")
            conditions.setdefault(key.strip(), []).extend(value.strip() for value in values.split(","))
        if faults:
            raise BadQuestion("\n".join(faults))
        return cls(conditions)

    def __bool__(self) -> bool:
        return bool(self.conditions)

    @property
    def at_wandb(self) -> list[Mapping[str, Any]]:
        """Those that W&B's server looks at, in its language."""
        return [{key: {"$in": list(values)}} for key, values in self.conditions.items() if key in _AT_WANDB]

    def refuse_at_wandb_only(self, source: str) -> None:
        """Raises BadQuestion where a source that is not W&B is asked for what only W&B knows."""
        for key in _AT_WANDB:
            if key in self.conditions:
                raise BadQuestion(f"--filter {key}=: only runs at W&B have it, and {source} is none of them")

    def wanted(self, rows: Sequence[Row]) -> Sequence[bool]:
        """Whether each run meets all conditions, by its row without parts."""
        runs = Runs(make_frame(rows))
        marked = [True] * len(rows)
        for key, values in self.conditions.items():
            if key in _AT_WANDB:
                continue
            fits = [any(_same(own, value) for value in values) for own in self._values(runs, key)]
            marked = [one and other for one, other in zip(marked, fits, strict=True)]
        return marked

    def _values(self, runs: Runs, key: str) -> Sequence[object]:
        try:
            found = list(runs.frame[key]) if key in runs.metrics else list(runs.values(key))
        except BadQuestion:
            found = [None] * len(runs)
        self._seen.setdefault(key, set()).update(one_line(_said(value), 60) for value in found)
        return found

    def none_left(self) -> BadQuestion:
        """What to say where no run meets them."""
        lines = [f"no run meets --filter {key}={','.join(values)}{self._there_are(key)}"
                 for key, values in self.conditions.items()]  # fmt: skip
        return BadQuestion("\n".join(lines))

    def _there_are(self, key: str) -> str:
        seen = sorted(self._seen.get(key, ()))
        more = ", ..." if len(seen) > 10 else ""
        return f" (there are: {', '.join(seen[:10])}{more})" if seen else ""


def _said(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) == "<NA>":
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same(own: object, asked: str) -> bool:
    if isinstance(own, bool):
        return asked.lower() == str(own).lower()
    if isinstance(own, int | float) and not math.isnan(own):
        return math.isclose(own, number(asked), rel_tol=1e-9)
    said = _said(own)
    return said == asked or (said == "none" and asked.lower() in ("none", "null"))
