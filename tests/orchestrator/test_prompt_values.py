"""What runs have come to prompt by prompt."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.prompt_values import values_by_prompt
from trainers.spec import EvaluationFolder


def test_of_answers_it_is_what_was_scored(tmp_path: Path):
    rows = [{"prompt": "a", "reward": 1.5, "win": 1.0}, {"prompt": "b", "reward": None, "win": 0.5}]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert values_by_prompt(EvaluationFolder(tmp_path), "eval/reward") == {"a": 1.5}
    assert values_by_prompt(EvaluationFolder(tmp_path), "eval/win_rate") == {"a": 1.0, "b": 0.5}


@pytest.mark.parametrize(("metric", "values"), [
    ("eval/reward_accuracy", {"a": 1.0, "b": 0.0, "c": 0.5}),
    ("eval/policy_accuracy", {"a": 0.0, "b": 1.0, "c": 1.0}),
])  # fmt: skip
def test_of_pairs_it_is_whether_the_chosen_one_is_ahead(tmp_path: Path, metric: str, values: dict[str, float]):
    table = {
        "pair": ["a", "b", "c", "nan"],
        "chosen_logratio": [0.2, -0.2, 0.1, float("nan")], "rejected_logratio": [0.1, 0.0, 0.1, 0.0],
        "chosen_logp": [-3.0, -1.0, -1.0, float("nan")], "rejected_logp": [-2.0, -2.0, -2.0, -1.0],
    }  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "pairs.parquet")
    assert values_by_prompt(EvaluationFolder(tmp_path), metric) == values


@pytest.mark.parametrize("content", [None, b"nonsense", b'{"reward": 1}\n', b"[1]\n"])
def test_what_cannot_be_read_has_no_values(tmp_path: Path, content: bytes | None):
    for name in ("answers.jsonl", "pairs.parquet"):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    assert values_by_prompt(EvaluationFolder(tmp_path), "eval/reward") == {}
    assert values_by_prompt(EvaluationFolder(tmp_path), "eval/reward_accuracy") == {}
