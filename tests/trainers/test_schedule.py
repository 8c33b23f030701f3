"""How many steps a run is told to take, and what it is too short for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.answers import section
from tests.fakes.tiny_runs import run_config
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data import inspect
from trainers.schedule import planned_steps, warnings
from trainers.world import DEFAULT_TRAIN

MOVING = {"kind": "moving", "mixup": 0.6, "sync_steps": 8}


def config(method: str = "trdpo", **changes: Any) -> RunConfig:
    return check(run_config(method, **{"reference": MOVING, **changes}))


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"training__max_steps": 5}, 5),
        # 32 pairs in batches of 4.
        ({}, 8),
        ({"training__epochs": 1.5}, 12),
        ({"training__gradient_accumulation": 3}, 3),
        ({"data": {"kind": "toy", "seed": 0, "max_train_samples": None, "max_eval_samples": None}}, DEFAULT_TRAIN // 4),
    ],
)
def test_steps_are_counted_from_the_config(changes: dict[str, Any], steps: int):
    assert planned_steps(config(**changes), None) == steps


def test_steps_on_a_file_are_counted_once_it_was_read(tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Question {n}?", "chosen": "yes", "rejected": "no"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"kind": "jsonl", "path": str(path), "eval_path": None, "eval_fraction": 0.1, "split_seed": 0,
            "prompt_field": "prompt", "chosen_field": "chosen", "rejected_field": "rejected",
            "max_train_samples": None, "max_eval_samples": None}  # fmt: skip
    made = config(data=data)
    assert planned_steps(made, None) is None
    assert planned_steps(made, inspect(made)) == 9


@pytest.mark.parametrize(("method", "steps"), [("kto", 3), ("sft", 5)])
def test_answers_one_by_one_are_counted_as_the_method_takes_them(tmp_path: Path, method: str, steps: int):
    """20 good ones and 4 bad ones: eight a step, or the good ones four a step."""
    rows = [{"prompt": f"Q{n}?", "completion": "yes", "label": n < 20} for n in range(24)]
    made = config(method, reference={"kind": "self"}, data=section(tmp_path, rows))
    assert planned_steps(made, inspect(made)) == steps


@pytest.mark.parametrize(("steps", "warned"), [(1, True), (8, True), (9, False)])
def test_a_reference_is_warned_of_that_moves_no_earlier_than_after_the_last_step(steps: int, warned: bool):
    found = warnings(config(training__max_steps=steps), None)
    assert bool(found) == warned


def test_a_reference_that_stays_is_not_warned_of():
    assert not warnings(config("dpo", reference={"kind": "self"}, training__max_steps=1), None)
