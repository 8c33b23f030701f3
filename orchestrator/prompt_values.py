"""What a run's metric is made of, prompt by prompt, for tests that pair runs by their prompts.

runs/t0003-s0-…/evaluation/answers.jsonl -> {"27ca2134…": 0.0, "aed267e7…": 1.0} for eval/reward
"""

import json
import math
from collections.abc import Mapping

from trainers.spec import EvaluationFolder

_ANSWERS: Mapping[str, str] = {"eval/reward": "reward", "eval/win_rate": "win", "eval/judge_win_rate": "judge_win"}
_PAIRS: Mapping[str, tuple[str, str]] = {
    "eval/reward_accuracy": ("chosen_logratio", "rejected_logratio"),
    "eval/policy_accuracy": ("chosen_logp", "rejected_logp"),
}
# Metrics of which it is known.
METRICS = (*_PAIRS, *_ANSWERS)


def values_by_prompt(folder: EvaluationFolder, metric: str) -> dict[str, float]:
    """By the prompt or the pair, those with a value; empty where nothing can be read, which is no reason to stop."""
    try:
        found = _of_pairs(folder, metric) if metric in _PAIRS else _of_answers(folder, metric)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # the last of lines that are no objects
        return {}
    return {prompt: value for prompt, value in found.items() if math.isfinite(value)}


def _of_answers(folder: EvaluationFolder, metric: str) -> dict[str, float]:
    rows = [json.loads(line) for line in folder.answers.read_text(encoding="utf-8").splitlines() if line.strip()]
    name = _ANSWERS[metric]
    return {str(row["prompt"]): float(row[name]) for row in rows if row.get(name) is not None}


def _of_pairs(folder: EvaluationFolder, metric: str) -> dict[str, float]:
    """1 where the chosen answer is ahead, a half where both are alike, as `trainers.evaluation.pairs` counts."""
    import pyarrow.parquet as pq  # ArrowInvalid is a ValueError

    chosen, rejected = _PAIRS[metric]
    table = pq.read_table(folder.pairs, columns=["pair", chosen, rejected], use_threads=False)
    columns = (table[name].to_pylist() for name in ("pair", chosen, rejected))
    return {
        pair: (math.copysign(1, a - b) * (a != b) + 1) / 2
        for pair, a, b in zip(*columns, strict=True)
        if a is not None and b is not None and not math.isnan(a - b)
    }
