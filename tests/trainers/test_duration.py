"""GPU-hours worked out by hand, and the GPUs that the driver's names stand for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_runs import method, run_config
from trainers.config_check import check
from trainers.data_pairs import Pair
from trainers.data_report import DataReport, Lengths, describe
from trainers.duration import UTILISATION, Work, step_work, work
from trainers.gpus import GPUS, named
from trainers.holdings import NF4_DOUBLE_BYTES

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


def made(folder: Path, report: DataReport | None, name: str = "sft", **changes: Any) -> Work:
    (folder / "config.json").write_text(json.dumps(SHAPE))
    config = run_config(name, model__path=str(folder), training__batch_size=1, training__max_length=512, **changes)
    found = work(check(config), report)
    assert found is not None
    return found


def operations(folder: Path, report: DataReport | None, name: str = "sft", **changes: Any) -> float:
    return made(folder, report, name, **changes).operations


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
    assert operations(tmp_path, report, "dpo") == expected
    assert operations(tmp_path, report, "orpo") == expected - 2 * 10 * 50 * FORWARD


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


FILE = {"kind": "jsonl", "path": "p", "eval_path": None, "eval_fraction": 0.1, "split_seed": 0,
        "prompt_field": "prompt", "chosen_field": "chosen", "rejected_field": "rejected", "max_train_samples": None,
        "max_eval_samples": None}  # fmt: skip
# Multiplied for each token: two layers and the head.
MULTIPLIED = 2 * 7 * 64 + 13 * 8


def forward(tokens: int, layers: int = 2) -> int:
    """Operations of a sequence of so many tokens."""
    return tokens * (2 * (layers * 7 * 64 + 13 * 8) + 2 * layers * 8 * tokens)


def test_answers_are_sampled_rated_scored_and_trained_on(tmp_path: Path, report: DataReport) -> None:
    """10 prompts of at most 50 tokens, 4 answers of 30 to each in passes of 8 answers: 5 passes of 30 tokens."""
    rater = tmp_path / "rater"
    rater.mkdir()
    (rater / "config.json").write_text(json.dumps({**SHAPE, "num_hidden_layers": 3}))
    settings = method("rso", reward_model=str(rater), candidates=4, accepted=2, sampling_batch=8, max_new_tokens=30)
    found = made(tmp_path, report, "rso", method=settings, data=FILE)
    sampled, rated = 40 * forward(80), 40 * forward(80, layers=3)
    scored = 2 * (10 + 5 + 5) * forward(80)
    assert found.operations == sampled + rated + scored + 2 * 10 * 2 * forward(80)
    # All weights for each token of a pass, in fp32, and what has been said by then: 50 to 80 tokens, 65 on average, of
    # 8 answers, 8 keys and 8 values in each of two layers, read twice and written once.
    assert found.moved == 5 * 30 * (MULTIPLIED * 4 + 3 * 65 * 8 * 2 * (8 + 8) * 4)
    assert found.bound


def test_weights_in_4_bits_are_read_unpacked_and_read_again(tmp_path: Path, report: DataReport) -> None:
    settings = method("rso", reward_model="builtin:gold", max_new_tokens=1, candidates=2, accepted=2, sampling_batch=2)
    changes = {"method": settings, "training__precision": "bf16", "model__dtype": "auto"}
    plain = made(tmp_path, report, "rso", **changes)
    packed = made(tmp_path, report, "rso", quantization={"kind": "nf4", "double_quant": True}, **changes)
    assert plain.moved < packed.moved
    own = 2 * 7 * 64 * NF4_DOUBLE_BYTES + (1144 - 2 * 7 * 64) * 2
    each = (packed.moved - plain.moved) / (own + MULTIPLIED * 2)
    # One token of each of ten passes.
    assert each == pytest.approx(10)


def test_a_larger_reference_scores_at_its_own_price(tmp_path: Path, report: DataReport) -> None:
    larger = tmp_path / "larger"
    larger.mkdir()
    (larger / "config.json").write_text(json.dumps({**SHAPE, "num_hidden_layers": 5}))
    reference = {"kind": "model", "path": str(larger), "revision": None}
    own, other = (operations(tmp_path, report, "dpo", **changes) for changes in ({}, {"reference": reference}))
    assert other - own == 2 * (10 + 5) * (forward(50, layers=5) - forward(50))


def test_what_a_step_has_scored_is_its_work_and_not_the_runs(tmp_path: Path, report: DataReport) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    asked = check(run_config("dpo", model__path=str(tmp_path), training__batch_size=1))
    alone, after, step = work(asked, report), work(asked, report, scored_before=True), step_work(asked, report)
    assert alone is not None
    assert after is not None
    assert step is not None
    assert step.operations == 2 * (10 + 5) * forward(50)
    assert after.operations == alone.operations - step.operations


def test_hours_are_bytes_over_a_share_of_the_bandwidth_too() -> None:
    """An A100 reads 2039 GB/s."""
    found = Work(312e12 * UTILISATION * 3600, bits16=True, bound=False, moved=2039e9 * UTILISATION * 3600)
    assert found.hours("a100-80") == pytest.approx(2.0)


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
