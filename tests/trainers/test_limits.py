"""What training.max_length asks of a model beyond its positions or its window, from config.json alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_runs import run_config
from trainers.config_check import check
from trainers.limits import warnings

MISTRAL = {"model_type": "mistral", "max_position_embeddings": 32768, "sliding_window": 4096}


def told(folder: Path, known: dict[str, Any], length: int) -> list[str]:
    (folder / "config.json").write_text(json.dumps(known))
    return warnings(check(run_config(model__path=str(folder), model__name="mine", training__max_length=length)))


def test_a_length_within_window_and_positions_is_not_told(tmp_path: Path) -> None:
    assert told(tmp_path, MISTRAL, 4096) == []


def test_a_length_beyond_the_window_is_told(tmp_path: Path) -> None:
    (found,) = told(tmp_path, MISTRAL, 8192)
    assert "training.max_length=8192, but each layer of model=mine attends to the last 4096 tokens alone" in found


def test_a_length_beyond_the_positions_is_told(tmp_path: Path) -> None:
    (found,) = told(tmp_path, {"model_type": "llama", "max_position_embeddings": 2048}, 4096)
    assert "knows 2048 positions" in found
    assert "not to be relied on" in found


@pytest.mark.parametrize("known", [{"model_type": "opt", "max_position_embeddings": 64},
                                   {"model_type": "gpt2", "n_positions": 64}], ids=["opt", "gpt2"])  # fmt: skip
def test_learnt_positions_end_a_run(tmp_path: Path, known: dict[str, Any]) -> None:
    (found,) = told(tmp_path, known, 65)
    assert "a longer pair ends the run with an error; lower it to 64" in found


@pytest.mark.parametrize(
    "known",
    [
        {"model_type": "mistral", "sliding_window": None},
        {"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False},
        {"model_type": "qwen2", "sliding_window": 4096},
        {"model_type": "gemma2", "sliding_window": 4096, "layer_types": ["sliding_attention", "full_attention"]},
    ],
    ids=["null", "off", "off by default", "every other layer sees all"],
)
def test_a_window_that_hides_nothing_is_not_told(tmp_path: Path, known: dict[str, Any]) -> None:
    assert told(tmp_path, known, 8192) == []


def test_a_model_that_is_not_here_is_not_told_of(tmp_path: Path) -> None:
    assert warnings(check(run_config(model__path="nobody/such-model", training__max_length=8192))) == []


def test_the_built_in_model_has_positions_too() -> None:
    (found,) = warnings(check(run_config(training__max_length=1024)))
    assert "knows 512 positions" in found
