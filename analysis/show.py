"""Lists the runs of a source: what each is, how it ended, and a few of its measures.

Names and errors are anybody's text: they come out on one line each, without control characters.
"""

import math
from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.runs import Runs
from analysis.under_way import under_way
from orchestrator.wording import count, one_line

_MEASURES = (
    "eval/win_rate", "eval/judge_win_rate", "eval/reward", "eval/reward_accuracy", "eval/margin_nats", "eval/kl",
)  # fmt: skip
_IDENTITY = ("study", "run_id", "method", "model", "reference", "data", "beta", "seed", "status")
_ALWAYS = ("run_id", "method", "status")
_STYLES = {"failed": "red", "cancelled": "yellow", "running": "cyan"}


def show(runs: Runs, console: Console, most: int) -> None:
    """Print the list, cut at `most` runs (0: all), what there is in all, and what was told."""
    frame = runs.frame
    measures = [name for name in _MEASURES if name in frame and frame[name].notna().any()]
    identity = [name for name in _IDENTITY if name in _ALWAYS or frame[name].nunique(dropna=False) > 1]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (*identity, "steps", *(name.removeprefix("eval/") for name in measures), "notes"):
        right = name in ("beta", "seed", "steps")
        table.add_column(name, overflow="fold", no_wrap=name == "run_id", justify="right" if right else "left")
    shown = frame if most == 0 else frame.head(most)
    for _, row in shown.iterrows():
        cells = [_cell(row[name]) for name in (*identity, "steps", *measures)]
        table.add_row(*cells, _notes(row), style=_STYLES.get(str(row["status"]), ""))
    console.print(table)
    for line in _summary(runs, len(shown)):
        console.print(Text(line), soft_wrap=True)


def _summary(runs: Runs, shown: int) -> Sequence[str]:
    frame = runs.frame
    states = ", ".join(f"{number} {status}" for status, number in frame["status"].value_counts().items())
    studies = count(frame["study"].nunique(), "studie").replace("1 studie", "1 study")
    same = [f"{name}={_said(frame[name].iloc[0])}" for name in ("model", "reference", "data", "method")
            if frame[name].nunique(dropna=False) == 1]  # fmt: skip
    cut = [f"{count(len(frame) - shown, 'run')} more; --most 0 lists all"] if shown < len(frame) else []
    parts = sorted({name.split(".", 1)[0] for name in frame.columns if "." in name or name == "tokens"})
    return [
        *cut,
        f"{count(len(frame), 'run')} of {studies}: {states}",
        *([state] if (state := under_way(runs)) else []),
        *([f"all have {', '.join(same)}"] if same else []),
        f"metrics: {', '.join(one_line(name, 60) for name in runs.metrics) or 'none'}",
        *_mixed(frame, runs.metrics),
        *([f"parts: {', '.join(parts)}"] if parts else []),
        *(one_line(sentence, 1000) for sentence in runs.told),
    ]


def _mixed(frame: pd.DataFrame, metrics: Sequence[str]) -> Sequence[str]:
    """Measures that only some of the runs have which ended well."""
    ended = frame[frame["status"] == "completed"]
    having = {name: int(ended[name].notna().sum()) for name in metrics if name.startswith("eval/")}
    return [f"{one_line(name, 60)}: only {n} of {len(ended)} completed runs have it"
            for name, n in having.items() if n < len(ended)][:10]  # fmt: skip


def _cell(value: object) -> Text:
    return Text(_said(value))


def _said(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value), 60)


def _notes(row: pd.Series) -> Text:
    notes = [f"degenerate: {row['degenerate']}"] if row["degenerate"] else []
    notes += [str(row["error"])] if row["error"] else []
    return Text(one_line("; ".join(notes), 80))
