"""Writes what an evaluation found into its folder: each file whole or not at all, metrics.json last.

RUN/evaluation/ -> pairs.parquet, answers.jsonl, tokens.json, lm_eval.json, alpaca_eval/..., metrics.json

Answers are untrusted text, and so are the spellings of tokens: all of it is escaped to ASCII.
"""

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainers.config import RunConfig
from trainers.evaluation.of_policy import Final
from trainers.files import write_whole
from trainers.spec import EvaluationFolder

# Files of other harnesses.
OF_OTHERS = ("lm_eval.json", *(f"alpaca_eval/{name}.json" for name in ("outputs", "reference", "annotations")))


def write(
    folder: EvaluationFolder,
    config: RunConfig,
    final: Final,
    versions: Mapping[str, str],
    policy: str = "final",
) -> None:
    """`policy` says which of the run's policies this is of. Raises OSError.

    What an earlier evaluation has left there goes, as far as this one has nothing of the kind.
    """
    folder.root.mkdir(parents=True, exist_ok=True)
    # Without it the folder does not count, whatever else is in it by now.
    folder.metrics.unlink(missing_ok=True)
    parts = {
        folder.pairs: None if final.pairs is None else _parquet(final.pairs),
        folder.answers: "".join(_json(row) + "\n" for row in final.findings.answers) or None,
        folder.tokens: None if final.findings.tokens is None else _json(final.findings.tokens) + "\n",
    }
    parts |= {folder.root / name: final.others.files.get(name) for name in OF_OTHERS}
    for path, content in parts.items():
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, content)
    told = {
        "metrics": {name: value if math.isfinite(value) else None for name, value in final.metrics.items()},
        # Why a measure is null, where somebody could not be asked.
        "missing": {**final.findings.missing, **final.others.missing},
        "degenerate": final.findings.degenerate,
        "settings": config.evaluation.model_dump(),
        "policy": policy,
        "versions": {**versions, **final.others.versions},
    }
    write_whole(folder.metrics, json.dumps(told, indent=1, ensure_ascii=True, allow_nan=False) + "\n")


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)
