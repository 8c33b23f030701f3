"""Reads what the evaluation of a run's policy left (trainers.spec.EvaluationFolder), from wherever it lies.

RUN/evaluation/ -> metrics and degeneracy; cells pairs.chosen_logp, ..., answers.text, ..., tokens
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.frame import ANSWERS, PAIRS, Row, array, clean
from analysis.identity import as_text
from analysis.runs import Part
from analysis.told import Told
from trainers.files import read_json
from trainers.spec import EvaluationFolder

# What a line must have to be an answer.
_ANSWER = ("prompt", "text")


@dataclass(frozen=True)
class Verdict:
    """What metrics.json says: None stands for a measure that could not be taken.

    `settings`: what was evaluated with, as JSON text; None where it does not say.
    """

    metrics: Mapping[str, object]
    degenerate: str | None
    settings: str | None


def verdict(place: EvaluationFolder, run: str, told: Told) -> Verdict | None:
    """What the evaluation came to, or None where there is none that is whole."""
    if not place.metrics.exists():
        if any(path.exists() for path in (place.pairs, place.answers, place.tokens)):
            told.add("run", "evaluation is half-written (no metrics.json), and left out", run)
        return None
    said = read_json(place.metrics)
    metrics = said.get("metrics") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(metrics, dict):
        told.add("run", "evaluation/metrics.json is damaged: the evaluation is left out", run)
        return None
    reason, settings = said.get("degenerate"), said.get("settings")
    used = clean(as_text(settings)) if isinstance(settings, dict) and settings else None
    return Verdict(metrics, None if reason is None else clean(str(reason)), used)


def read_parts(place: EvaluationFolder, parts: Collection[Part], run: str, told: Told) -> Row:
    """The cells of the asked parts; a part that is not there has none. `place` must have a whole metrics.json."""
    cells: Row = {}
    if "pairs" in parts and place.pairs.exists():
        cells |= _pairs(place, run, told)
    if "answers" in parts and place.answers.exists():
        cells |= _answers(place, run, told)
    if "tokens" in parts and place.tokens.exists():
        cells |= _tokens(place, run, told)
    return cells


def _pairs(place: EvaluationFolder, run: str, told: Told) -> Row:
    try:
        table = pq.read_table(place.pairs, use_threads=False)
        missing = [name for name in PAIRS if name not in table.column_names]
        cells = {f"pairs.{name}": _cell(table[name], kind) for name, kind in PAIRS.items() if name not in missing}
    except (pa.ArrowException, OSError, ValueError) as error:
        told.add("run", f"evaluation/pairs.parquet is damaged ({type(error).__name__}), and left out", run)
        return {}
    if missing:
        told.add("run", f"evaluation/pairs.parquet has no column {', '.join(missing)}, and is left out", run)
    return {} if missing else cells


def _cell(column: pa.ChunkedArray, kind: str) -> "np.ndarray[Any, Any]":
    if kind == "text":
        return array(kind, column.to_pylist())
    if kind == "int":
        return np.asarray(column.cast(pa.int64()).fill_null(0))
    values = np.asarray(column.cast(pa.float64()))
    return np.where(np.isfinite(values), values, np.nan)


def _answers(place: EvaluationFolder, run: str, told: Told) -> Row:
    try:
        lines = [line for line in place.answers.read_bytes().split(b"\n") if line.strip()]
    except OSError as error:
        told.add("run", f"evaluation/answers.jsonl cannot be read ({error.strerror}), and is left out", run)
        return {}
    answers = [answer for answer in map(_answer, lines) if answer is not None]
    if len(answers) < len(lines):
        told.add("line", "damaged in evaluation/answers.jsonl, and left out", run, len(lines) - len(answers))
    if not answers:
        return {}
    return {
        f"answers.{clean(name)}": array(kind, [answer.get(name) for answer in answers])
        for name, kind in {**ANSWERS, **_extra(answers)}.items()
    }


def _extra(answers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Kinds of what another version of the scorer has added: numbers, or else text."""
    kinds: dict[str, str] = {}
    for answer in answers:
        for name in answer.keys() - ANSWERS.keys():
            value = answer[name]
            if isinstance(value, str) or (isinstance(value, int | float) and kinds.get(name) != "text"):
                kinds[name] = "text" if isinstance(value, str) else "float"
    return dict(sorted(kinds.items()))


def _answer(line: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) and all(isinstance(answer.get(key), str) for key in _ANSWER) else None


def _tokens(place: EvaluationFolder, run: str, told: Told) -> Row:
    try:
        study = json.loads(place.tokens.read_bytes(), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError):
        study = None
    if not isinstance(study, dict):
        told.add("run", "evaluation/tokens.json is damaged, and left out", run)
        return {}
    return {"tokens": json.dumps(study)}
