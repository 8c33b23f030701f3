"""The token study of each run, as it is kept in its evaluation, in the report's form."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.report.content import Token, TokenStudy
from analysis.runs import Runs

# Runs in all, and tokens each way of one run where there are many.
MOST_RUNS = 300
MANY_RUNS = 60
FEW_TOKENS = 20


def make_tokens(runs: Runs, preferred: Sequence[int]) -> tuple[list[TokenStudy], list[str]]:
    """Studies of the runs that have one, and what is to be told of them.

    `preferred`: places of runs, the most telling first; where there are too many, the others are left out.
    """
    texts = list(runs.frame["tokens"]) if "tokens" in runs.frame.columns else []
    found: list[TokenStudy] = []
    damaged = 0
    for run, text in enumerate(texts):
        if isinstance(text, str):
            study = _study(run, text)
            damaged += study is None
            found += [study] if study else []
    told = [f"The token studies of {damaged} runs are damaged, and left out."] if damaged else []
    if len(found) > MOST_RUNS:
        order = {run: place for place, run in enumerate(preferred)}
        kept = sorted(found, key=lambda study: order.get(study.run, len(order)))[:MOST_RUNS]
        told.append(f"The token studies of {MOST_RUNS} of {len(found)} runs are shown.")
        found = sorted(kept, key=lambda study: study.run)
    return found, told


def few(study: TokenStudy, runs: int) -> TokenStudy:
    """The study with fewer tokens where there are studies of many runs."""
    if runs <= MANY_RUNS:
        return study
    short = (study.lowered[:FEW_TOKENS], study.raised[:FEW_TOKENS])
    return TokenStudy(study.run, study.eos, study.eos_logp, *short, study.edges, study.counts)


def _study(run: int, text: str) -> TokenStudy | None:
    """None where the text is no token study."""
    try:
        read = json.loads(text)
        lowered, raised = ([_token(item) for item in read[way]] for way in ("lowered", "raised"))
        eos, histogram = read.get("eos"), read.get("histogram") or {}
        edges, counts = (
            [float(edge) for edge in histogram.get("edges", ())],
            [int(n) for n in histogram.get("counts", ())],
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if len(edges) != len(counts) + 1 or not all(map(math.isfinite, edges)):
        edges, counts = [], []
    if not isinstance(eos, Mapping):
        eos = None
    ending = _eos(eos) if eos else None
    logp = eos.get("logp") if eos else None
    return TokenStudy(
        run, ending, float(logp) if isinstance(logp, int | float) else None, lowered, raised, edges, counts
    )


def _token(item: Mapping[str, Any]) -> Token:
    value = float(item["mean_logratio"])
    if not math.isfinite(value):
        raise ValueError("a log-ratio that is not finite")
    return Token(str(item["token"]), value, int(item.get("count", 0)))


def _eos(item: Mapping[str, Any]) -> Token | None:
    try:
        return _token({"token": "EOS", **item})
    except (ValueError, TypeError, KeyError):
        return None
