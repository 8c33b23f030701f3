"""Files of answers one by one with held-out pairs, and the section of a run's config that reads them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HELD = {"prompt": "3+3?", "chosen": "6", "rejected": "7"}


def write(path: Path, rows: Sequence[Mapping[str, Any]] | bytes) -> Path:
    path.write_bytes(rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode())
    return path


def section(
    folder: Path, answers: Sequence[Mapping[str, Any]] | bytes, pairs: Sequence[Mapping[str, Any]] = (HELD,)
) -> dict[str, Any]:
    """data=unpaired on these rows."""
    return {
        "kind": "unpaired",
        "path": str(write(folder / "answers.jsonl", answers)),
        "prompt_field": "prompt",
        "completion_field": "completion",
        "label_field": "label",
        "eval_path": str(write(folder / "held.jsonl", pairs)),
        "eval_prompt_field": "prompt",
        "eval_chosen_field": "chosen",
        "eval_rejected_field": "rejected",
        "max_train_samples": None,
        "max_eval_samples": None,
    }
