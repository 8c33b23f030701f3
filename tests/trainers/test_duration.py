"""GPU-hours worked out by hand, and the GPUs that the driver's names stand for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_runs import run_config
from trainers.config_check import check
from trainers.data_pairs import Pair
from trainers.data_report import DataReport, Lengths, describe
from trainers.duration import UTILISATION, Work, work
from trainers.gpus import GPUS, named

# 1000 weights that are multiplied: 2 layers of 4 x 8 x 8 + 3 x 8 x 8, and a head of 13 x 8.
SHAPE = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2,
         "num_attention_heads": 1, "vocab_size": 13, "tie_word_embeddings": False}  # fmt: skip
FORWARD = 2 * (2 * 7 * 64 + 13 * 8) + 2 * 2 * 8 * 50
FULL = {"kind": "none"}


@pytest.fixture
def report() -> DataReport:
    """10 train pairs and 5 held-out ones of 50 tokens a sequence."""
    found = describe([Pair(f"p{n}", "a", "b") for n in range(10)], [Pair(f"q{n}", "a", "b") for n in range(5)])
    return found.with_lengths(Lengths(0, 0, 0, 60, 50.0))


def operations(folder: Path, report: DataReport | None, method: str = "sft", **changes: Any) -> float:
    (folder / "config.json").write_text(json.dumps(SHAPE))
    config = run_config(method, model__path=str(folder), training__batch_size=1, training__max_length=512, **changes)
    found = work(check(config), report)
    assert found is not None
    return found.operations


# The reference and the last evaluation: both answers of the held-out pairs, twice.
SCORED = 2 * 5 * 2 * 50 * FORWARD


def test_full_fine_tuning_goes_three_times_through_each_token(tmp_path: Path, report: DataReport) -> None:
    assert operations(tmp_path, report, peft=FULL) == 10 * 50 * 3 * FORWARD + SCORED


def test_frozen_weights_spare_a_third(tmp_path: Path, report: DataReport) -> None:
    assert operations(tmp_path, report) == 10 * 50 * 2 * FORWARD + SCORED


def test_checkpointing_goes_forward_once_more(tmp_path: Path, report: DataReport) -> None:
    assert operations(tmp_path, report, training__gradient_checkpointing=True) == 10 * 50 * 3 * FORWARD + SCORED


def test_a_reference_scores_the_training_pairs_and_a_pair_has_two_answers(tmp_path: Path, report: DataReport) -> None:
    expected = 2 * 10 * 50 * (2 + 1) * FORWARD + SCORED
    assert operations(tmp_path, report, method="dpo") == expected
    assert operations(tmp_path, report, method="orpo") == expected - 2 * 10 * 50 * FORWARD


def test_each_evaluation_on_the_way_counts(tmp_path: Path, report: DataReport) -> None:
    more = operations(tmp_path, report, evaluation__every=3) - operations(tmp_path, report)
    assert more == 3 * 2 * 5 * 50 * FORWARD


def test_steps_count_where_they_are_given(tmp_path: Path, report: DataReport) -> None:
    assert operations(tmp_path, report, training__max_steps=4) == 4 * 50 * 2 * FORWARD + SCORED


def test_tokens_that_nobody_counted_are_taken_for_the_most_there_may_be(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    found = work(check(run_config(model__path=str(tmp_path))), None)
    assert found is not None
    assert found.bound


def test_hours_are_operations_over_a_share_of_the_peak() -> None:
    assert Work(312e12 * UTILISATION * 3600, bits16=True, bound=False).hours("a100-80") == pytest.approx(1.0)
    assert Work(19.5e12 * UTILISATION * 3600, bits16=False, bound=False).hours("a100-80") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100-80"), ("NVIDIA A100-PCIE-40GB", "a100-40"), ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100-80"), ("NVIDIA GeForce RTX 3090", "rtx3090"), ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"), ("Tesla V100-SXM2-32GB", "v100-32"), ("NVIDIA GeForce GTX 1080", None),
        ("NVIDIA RTX A6000", "a6000"), ("NVIDIA A10", "a10"),
    ],
)  # fmt: skip
def test_what_the_driver_calls_a_gpu_is_found(product: str, name: str | None) -> None:
    assert named(product) == name


def test_every_gpu_has_some_memory_and_is_faster_in_16_bits() -> None:
    assert all(gpu.bytes > 10e9 and gpu.tflops_16 > gpu.tflops_32 for gpu in GPUS.values())
