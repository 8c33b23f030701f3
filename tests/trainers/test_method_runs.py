"""Whole runs of the methods that tests/trainers/test_train.py does not run, on the built-in world."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from trainers.methods import METHODS
from trainers.spec import RunResult
from trainers.train import train

pytestmark = pytest.mark.slow

OTHERS = [
    name
    for name, known in METHODS.items()
    if known.data_format in ("pairs", "unpaired") and name not in ("dpo", "ipo", "orpo", "sdpo", "trdpo")
]


def run(folder: Path, cache_dir: Path, name: str, reporter: Recorder | None = None, **changes: Any) -> RunResult:
    reporter = reporter or Recorder()
    result = train(run_spec(folder, cache_dir, run_config(name, **changes)), reporter)
    reporter.do_what_is_left()
    return result


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_ends_with_finite_measures(tmp_path: Path, cache_dir: Path, name: str) -> None:
    result = run(tmp_path, cache_dir, name)
    assert (result.status, result.error, result.steps) == ("completed", None, 8)
    assert all(value is not None and math.isfinite(value) for value in result.metrics.values())
    assert {"eval/reward_accuracy", "train/loss", "train/rewards/margins"} <= set(result.metrics)
    json.dumps(dict(result.metrics), allow_nan=False)


@pytest.mark.parametrize("name", ["kto", "likelihood"])
def test_a_run_that_goes_on_ends_as_if_it_had_never_stopped(tmp_path: Path, cache_dir: Path, name: str) -> None:
    """With the same answers to other prompts, and the same probabilities without them."""
    whole = run(tmp_path / "whole", cache_dir, name, training__learning_rate=5e-3)
    assert run(tmp_path / "parts", cache_dir, name, Recorder(stop_at=5), training__learning_rate=5e-3).steps == 5
    parts = run(tmp_path / "parts", cache_dir, name, training__learning_rate=5e-3)
    assert parts.metrics["train/loss"] == pytest.approx(whole.metrics["train/loss"], abs=1e-6)
    assert parts.metrics["eval/margin_nats"] == pytest.approx(whole.metrics["eval/margin_nats"], abs=1e-5)
