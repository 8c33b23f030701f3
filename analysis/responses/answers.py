"""Sets answers to the same prompt side by side: of the starting policy, and of each run that is looked at.

prompt "What is ..." -> [Response("start", "...", reward 0.2), Response("dpo beta=0.1 seed 0", "...", reward 1.4), ...]
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.cells import shown
from analysis.errors import AnalysisError, BadQuestion, NoRuns
from analysis.ranking.rank import Question, rank_runs
from analysis.runs import Runs

# Runs side by side unless they are named.
MOST_RUNS = 8


@dataclass(frozen=True)
class Response:
    """One answer; `who` is "start" or says which run. Numbers are None where nothing is known; `kl` in nats.

    `win`: 1 where it beats the starting policy's answer (or that of another run, named in `against`), 0.5, 0.
    """

    who: str
    text: str
    tokens: int | None
    reward: float | None
    kl: float | None = None
    win: float | None = None
    against: str | None = None
    degenerate: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class Prompt:
    """A prompt, by its place in the data, and what was answered to it."""

    number: int
    text: str
    responses: Sequence[Response]


@dataclass(frozen=True)
class Responses:
    """Prompts in the order of the data; `told` says how runs were chosen, and what is not there."""

    prompts: Sequence[Prompt]
    told: Sequence[str]


def responses(runs: Runs, prompts: str = "3", chosen: str = "best", metric: str | None = None) -> Responses:
    """Answers of chosen runs. `runs` must have been read with the part `answers`.

    `prompts`: "3" for the first three, "0,4,7" for those at these places (from 0; "4," for one), anything else for
    those in which it stands, whatever the case. `chosen`: run ids, "best" for the best strength of each method, model
    and reference by `metric` (see `analysis.ranking`), or "all". Raises NoRuns where no run has answers, BadQuestion
    where a run or a prompt is not there.
    """
    frame, told = runs.frame, list(runs.told)
    having = [row for row in range(len(frame)) if _has(frame, row)]
    if not having:
        raise NoRuns("no run has answers (evaluation/answers.jsonl): evaluation.samples=64 makes them, or "
                     "`python -m orchestrator evaluate` afterwards")  # fmt: skip
    rows = _chosen(runs, chosen, having, metric, told)
    tables = {row: _table(frame, row) for row in rows}
    wanted = _wanted(tables, prompts)
    found = [Prompt(number, text, _responses(frame, tables, digest, told)) for number, (digest, text) in wanted]
    return Responses(found, list(dict.fromkeys(told)))


def _has(frame: pd.DataFrame, row: int) -> bool:
    return _cell(frame, row, "prompt") is not None


def _cell(frame: pd.DataFrame, row: int, name: str) -> Sequence[Any] | None:
    column = f"answers.{name}"
    cell = frame[column].iloc[row] if column in frame.columns else None
    return None if cell is None or isinstance(cell, float | str) or not len(cell) else cell


# Of a run: what it answered, by the prompt's digest.
_Table = Mapping[str, Mapping[str, Any]]
_COLUMNS = (
    "prompt_text",
    "text",
    "tokens",
    "reward",
    "kl",
    "win",
    "opponent",
    "start_text",
    "start_tokens",
    "start_reward",
)


def _table(frame: pd.DataFrame, row: int) -> _Table:
    digests = _cell(frame, row, "prompt")
    columns = {name: _cell(frame, row, name) for name in _COLUMNS}
    return {
        str(digest): {
            name: column[place] if column is not None and place < len(column) else None
            for name, column in columns.items()
        }
        for place, digest in reversed(
            list(enumerate(digests if digests is not None else ()))
        )  # the first answer to a prompt stays
    }


def _chosen(runs: Runs, chosen: str, having: Sequence[int], metric: str | None, told: list[str]) -> list[int]:
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    if not names:
        raise BadQuestion("--runs: name runs by their ids, or best, or all")
    rows: list[int] = []
    for name in names:
        match name:
            case "all":
                rows += having
            case "best":
                rows += _best(runs, having, metric, told)
            case _:
                rows += _named(runs, name, having)
    rows = list(dict.fromkeys(rows))
    if len(rows) > MOST_RUNS and not set(names).isdisjoint(("best", "all")):
        told.append(f"the first {MOST_RUNS} of {len(rows)} runs; name others with --runs")
        rows = rows[:MOST_RUNS]
    return rows


def _best(runs: Runs, having: Sequence[int], metric: str | None, told: list[str]) -> list[int]:
    """One run, that of the smallest seed, of the best strength within each method, model and reference."""
    try:
        ranking = rank_runs(runs, Question(by=("beta",), metric=metric))
    except AnalysisError as error:
        if metric is not None:
            raise
        told.append(f"nothing could be ranked, so these are simply the first runs ({error})")
        return list(having)
    rows, frame = [], runs.frame
    for group in ranking.groups:
        best = group.best
        mine = [row for row in (best.measured.rows if best else ()) if row in set(having)]
        rows += sorted(mine, key=lambda row: _seed(frame, row))[:1]
    told.append(f"best by {ranking.metric}: of each setting the first seed of its best beta")
    return rows or list(having)


def _seed(frame: pd.DataFrame, row: int) -> float:
    seed = frame["seed"].iloc[row]
    return math.inf if pd.isna(seed) else float(seed)


def _named(runs: Runs, name: str, having: Sequence[int]) -> list[int]:
    ids = [str(value) for value in runs.frame["run_id"]]
    begun = {own for own in ids if own.startswith(name)}
    whole = begun.pop() if len(begun) == 1 else name  # the beginning of one id will do
    found = [row for row, own in enumerate(ids) if own == whole]
    if not found:
        near = difflib.get_close_matches(name, ids, n=1, cutoff=0.4)
        raise BadQuestion(f"--runs {name}: no such run{f'; did you mean {near[0]}?' if near else ''}")
    lacking = [row for row in found if row not in set(having)]
    if lacking == found:
        raise BadQuestion(f"--runs {name}: that run has no answers")
    return [row for row in found if row not in lacking]


def _wanted(tables: Mapping[int, _Table], asked: str) -> list[tuple[int, tuple[str, str]]]:
    """Prompts with their places, of all that some chosen run has answered."""
    every: dict[str, str] = {}
    for table in tables.values():
        # Digests were put in backwards, so that of doubles the first stays.
        for digest in reversed(list(table)):
            every.setdefault(digest, str(table[digest]["prompt_text"] or ""))
    listed = list(enumerate(every.items()))
    words = [word.strip() for word in asked.split(",") if word.strip()]
    if words and all(word.isdecimal() for word in words):
        if "," not in asked:
            return listed[: int(asked)]
        beyond = [word for word in words if int(word) >= len(listed)]
        if beyond:
            raise BadQuestion(f"--prompts {', '.join(beyond)}: there are {len(listed)}, counted from 0")
        return [listed[int(word)] for word in words]
    found = [entry for entry in listed if asked.casefold() in entry[1][1].casefold()]
    if not found:
        raise BadQuestion(f"--prompts {asked!r}: stands in none of the {len(listed)} prompts")
    return found


def _responses(frame: pd.DataFrame, tables: Mapping[int, _Table], digest: str, told: list[str]) -> list[Response]:
    """Starts first, each once, then the runs."""
    starts: dict[tuple[str, str], Response] = {}
    answers = []
    models = {str(frame["model"].iloc[row]) for row in tables}
    for row, table in tables.items():
        name = describe(frame, row)
        if digest not in table:
            told.append(f"{name} was not asked all of these prompts")
            continue
        said = table[digest]
        against = str(said["opponent"] or "start")
        if said["start_text"] is not None:
            model = str(frame["model"].iloc[row])
            who = f"run {against}" if against != "start" else f"start of {model}" if len(models) > 1 else "start"
            start = Response(who, str(said["start_text"]), _whole(said["start_tokens"]), _number(said["start_reward"]))
            starts.setdefault((who, start.text), start)
        reason = frame["degenerate"].iloc[row]
        answers.append(
            Response(
                name,
                str(said["text"] or ""),
                _whole(said["tokens"]),
                _number(said["reward"]),
                _number(said["kl"]),
                _number(said["win"]),
                against,
                reason if isinstance(reason, str) else None,
                str(frame["run_id"].iloc[row]),
            )
        )
    return [*starts.values(), *answers]


def describe(frame: pd.DataFrame, row: int) -> str:
    """dpo beta=0.1 seed 0, with the reference where it is not the start."""
    run = frame[["method", "beta", "reference", "seed"]].iloc[row]
    words = [shown(run["method"])]
    words += [f"beta={shown(float(run['beta']))}"] if pd.notna(run["beta"]) else []
    words += [f"reference={shown(run['reference'])}"] if run["reference"] not in ("self", "none", None) else []
    words += [f"seed {int(run['seed'])}"] if pd.notna(run["seed"]) else []
    return " ".join(words)


def _number(value: object) -> float | None:
    if isinstance(value, str) or not hasattr(value, "__float__"):
        return None
    found = float(value)
    return found if math.isfinite(found) else None


def _whole(value: object) -> int | None:
    found = _number(value)
    return None if found is None else int(found)
