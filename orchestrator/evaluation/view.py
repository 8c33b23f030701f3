"""What a person sees of policies that were measured: a row each, with what may be compared across methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from orchestrator.evaluation.sources import Subject
from orchestrator.progress import values_of
from orchestrator.table import NOT_THERE
from orchestrator.wording import one_line
from trainers.files import read_json
from trainers.spec import EvaluationFolder

_HARNESSES = ("eval/lm_eval/", "eval/alpaca_eval/")
# Metric, heading, decimals.
_COLUMNS = (
    ("eval/policy_accuracy", "policy\nacc", 3),
    ("eval/reward_accuracy", "reward\nacc", 3),
    ("eval/kl", "KL\n(nats)", 2),
    ("eval/reward", "reward", 3),
    ("eval/win_rate", "win\nrate", 3),
    ("eval/judge_win_rate", "judge\nwins", 3),
)


@dataclass(frozen=True)
class Measured:
    """What the metrics.json of an evaluation says."""

    metrics: Mapping[str, Any]
    degenerate: str | None
    settings: Any
    policy: str
    # Why a measure that was asked for is not there, by its name.
    missing: Mapping[str, str]

    @classmethod
    def read(cls, folder: EvaluationFolder) -> "Measured | None":
        """None where there is no whole one."""
        said = read_json(folder.metrics)
        if not isinstance(said, dict) or not isinstance(said.get("metrics"), dict):
            return None
        reason, missing = said.get("degenerate"), said.get("missing")
        return cls(
            said["metrics"],
            None if reason is None else str(reason),
            said.get("settings"),
            str(said.get("policy")),
            {str(name): str(why) for name, why in missing.items()} if isinstance(missing, dict) else {},
        )


def table(rows: Sequence[tuple[Subject, Measured]]) -> Table:
    """In the order of the runs; columns that nobody has a number in are left out."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    studies = len({subject.spec.run_dir.parent for subject, _ in rows}) > 1
    for heading in [*(["study"] if studies else []), "run", "values"]:
        # A terminal that is too narrow breaks the values, whose numbers are in each row's folder too.
        shown.add_column(heading, no_wrap=heading == "run", overflow="fold")
    known = [*_COLUMNS, *_of_other_harnesses(rows)]
    columns = [column for column in known if any(_is_number(row.metrics.get(column[0])) for _, row in rows)]
    for _, heading, _ in columns:
        shown.add_column(heading, justify="right", no_wrap=True)
    some_degenerate = any(row.degenerate for _, row in rows)
    if some_degenerate:
        shown.add_column("degenerate")
    for subject, row in rows:
        cells = [_told(row.metrics.get(name), decimals) for name, _, decimals in columns]
        degenerate = [one_line(row.degenerate or NOT_THERE)] if some_degenerate else []
        study = [one_line(subject.spec.study)] if studies else []
        texts = [*study, subject.name, values_of(subject.spec), *cells, *degenerate]
        shown.add_row(*(escape(text) for text in texts))
    return shown


def _of_other_harnesses(rows: Sequence[tuple[Subject, Measured]]) -> list[tuple[str, str, int]]:
    """What they measured, without standard errors: "eval/lm_eval/arc_easy/acc" under "arc_easy acc"."""
    names = dict.fromkeys(name for _, row in rows for name in row.metrics if name.startswith(_HARNESSES))
    return [
        (name, one_line(" ".join(name.split("/")[2:])).replace(" ", "\n", 1), 3)
        for name in names
        if not name.endswith("_se")
    ]


def _told(value: Any, decimals: int) -> str:
    return f"{value:.{decimals}f}" if _is_number(value) else NOT_THERE


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
