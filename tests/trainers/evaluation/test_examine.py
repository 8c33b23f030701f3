"""Policies of the built-in world examined: beside each kind of reference, on texts and on chats."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.examined import evaluated, examined_config, pushed, reversed_vocabulary, subject, write_chats
from trainers import world
from trainers.errors import Stopped
from trainers.evaluation.examine import NOTHING, Findings, examine
from trainers.evaluation.names import prompt_name
from trainers.models import load_policy

pytestmark = pytest.mark.slow

KLS = ("eval/kl", "eval/kl_k1", "eval/kl_k3")


def examined(cache_dir: Path, by: float = 0.02, **changes: Any) -> Findings:
    config = examined_config(**changes)
    return examine(subject(config, cache_dir, pushed(load_policy(config, cache_dir), by)))


def test_a_policy_that_has_not_moved(cache_dir: Path) -> None:
    found = examined(cache_dir, 0.0)
    assert [found.metrics[name] for name in KLS] == [0.0, 0.0, 0.0]
    assert found.metrics["eval/kl_per_token"] == 0.0
    assert found.degenerate is None
    assert found.metrics["eval/degenerate"] == 0.0
    assert found.metrics["eval/ended"] == 1.0
    assert found.tokens is not None
    assert found.tokens["lowered"] == found.tokens["raised"] == []


def test_a_policy_that_has_moved(cache_dir: Path) -> None:
    found = examined(cache_dir)
    measured = found.metrics
    assert all(measured[name] > 0 for name in ("eval/kl", "eval/kl_k3", "eval/kl_se", "eval/kl_per_token"))
    # Of the same thing, by three estimators.
    spread = 4 * math.hypot(measured["eval/kl_k1_se"], measured["eval/kl_se"])
    assert abs(measured["eval/kl"] - measured["eval/kl_k1"]) < spread
    assert -8 <= measured["eval/reward"] <= 8
    assert 0 <= measured["eval/win_rate"] <= 1
    assert measured["eval/answers"] == 8
    assert all(math.isfinite(value) for value in measured.values())


def test_a_row_for_each_prompt_says_what_the_measures_are_made_of(cache_dir: Path) -> None:
    config = examined_config()
    of = subject(config, cache_dir, pushed(load_policy(config, cache_dir)))
    found = examine(of)
    rows, measured = found.answers, found.metrics
    assert of.held.texts is not None
    assert [row["prompt"] for row in rows] == [prompt_name(pair.prompt) for pair in of.held.texts[:8]]
    assert [row["prompt_text"] for row in rows] == [pair.prompt for pair in of.held.texts[:8]]
    for name, key in (("kl", "kl"), ("kl_k1", "k1"), ("kl_k3", "k3"), ("length", "tokens"), ("reward", "reward"),
                      ("start_reward", "start_reward"), ("win_rate", "win"), ("repetition", "repetition"),
                      ("ended", "ended")):  # fmt: skip
        assert sum(row[key] for row in rows) / 8 == pytest.approx(measured[f"eval/{name}"]), name
    per_token = sum(row["kl"] for row in rows) / sum(row["tokens"] for row in rows)
    assert measured["eval/kl_per_token"] == pytest.approx(per_token)
    entropies = sum(row["entropy"] * row["tokens"] for row in rows) / sum(row["tokens"] for row in rows)
    assert measured["eval/entropy"] == pytest.approx(entropies)
    assert {row["opponent"] for row in rows} == {"start"}
    assert set(rows[0]) == {
        "prompt", "prompt_text", "text", "tokens", "ended", "kl", "k1", "k3", "entropy", "repetition", "reward",
        "start_text", "start_tokens", "start_reward", "win", "judge_win", "opponent",
    }  # fmt: skip
    json.dumps(rows, allow_nan=False)


def test_the_study_is_of_the_pairs_of_the_prompts_and_of_the_samples(cache_dir: Path) -> None:
    config = examined_config()
    of = subject(config, cache_dir, pushed(load_policy(config, cache_dir)))
    found = examine(of)
    assert found.tokens is not None
    pairs = of.held.pairs[:8]
    assert found.tokens["tokens"] == sum(len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs)
    assert found.tokens["eos"]["id"] == 257
    assert found.tokens["eos"]["count"] == 16
    assert found.tokens["samples"]["tokens"] == sum(row["tokens"] for row in found.answers)
    assert sum(part["tokens"] for part in found.tokens["by_length"].values()) == found.tokens["tokens"]
    json.dumps(found.tokens, allow_nan=False)


def test_the_same_each_time_and_random_numbers_and_mode_are_left_alone(cache_dir: Path) -> None:
    config = examined_config()
    of = subject(config, cache_dir, pushed(load_policy(config, cache_dir)))
    of.policy.model.train()
    state = torch.random.get_rng_state()
    assert examine(of) == examine(of)
    assert of.policy.model.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_all_weights_trained_are_beside_their_start(cache_dir: Path) -> None:
    full = {"kind": "none"}
    still, moved = (examined(cache_dir, by, peft=full) for by in (0.0, 0.02))
    assert still.metrics["eval/kl"] == 0.0
    assert moved.metrics["eval/kl"] > 0.01


@pytest.mark.parametrize("peft", ["lora", "none"])
def test_in_16_bits_an_unmoved_policy_is_where_it_was(cache_dir: Path, peft: str) -> None:
    section = examined_config().peft.model_dump() if peft == "lora" else {"kind": "none"}
    found = examined(cache_dir, 0.0, peft=section, training__precision="bf16", model__dtype="auto")
    assert found.metrics["eval/kl"] == 0.0
    assert found.metrics["eval/answers"] == 8


def test_weights_in_4_bits(cache_dir: Path) -> None:
    config = {"quantization": {"kind": "nf4", "double_quant": True}, "model__path": str(world.policy(cache_dir))}
    still, moved = (examined(cache_dir, by, **config) for by in (0.0, 0.05))
    assert still.metrics["eval/kl"] == 0.0
    assert moved.metrics["eval/kl"] > 0.001


@pytest.mark.parametrize("kind", ["none", "moving"])
def test_without_a_reference_and_with_one_that_moves_it_is_beside_its_start(cache_dir: Path, kind: str) -> None:
    section = {"kind": "moving", "mixup": 0.5, "sync_steps": 2} if kind == "moving" else {"kind": kind}
    method = "trdpo" if kind == "moving" else "orpo"
    assert examined(cache_dir, name=method, reference=section).metrics == examined(cache_dir).metrics


def other_model(cache_dir: Path) -> dict[str, Any]:
    return {"kind": "model", "path": str(world.policy(cache_dir, seed=1))}


def test_another_model_of_the_same_tokens_is_loaded(cache_dir: Path) -> None:
    found = examined(cache_dir, 0.0, reference=other_model(cache_dir))
    assert found.metrics["eval/kl"] > 0.1
    assert found.metrics["eval/kl_per_token"] > 0


def test_a_mixture_lies_between_its_models(cache_dir: Path) -> None:
    def far(weight: float) -> float:
        first, second = str(world.policy(cache_dir)), other_model(cache_dir)["path"]
        mixed = {"kind": "mixture", "first": first, "second": second, "weight": weight}
        return examined(cache_dir, 0.0, reference=mixed).metrics["eval/kl"]

    assert 0 < far(0.9) < far(0.5) < examined(cache_dir, 0.0, reference=other_model(cache_dir)).metrics["eval/kl"]


def test_of_a_reference_with_another_tokenizer_whole_answers_are_compared(
    cache_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The other one says of texts what the start does, so that k1 is the same, but for rounding."""
    strange = reversed_vocabulary(world.policy(cache_dir), tmp_path / "other")
    own = examined(cache_dir)
    found = examined(cache_dir, reference={"kind": "model", "path": str(strange)})
    assert "other has another tokenizer than the policy: eval/kl is not known" in capfd.readouterr().err
    assert found.metrics["eval/kl_k1"] == pytest.approx(own.metrics["eval/kl_k1"], abs=1e-3)
    assert math.isnan(found.metrics["eval/kl"])
    assert found.metrics["eval/entropy"] == pytest.approx(own.metrics["eval/entropy"])
    assert found.metrics["eval/win_rate"] == own.metrics["eval/win_rate"]
    assert [row["kl"] for row in found.answers] == [None] * 8
    assert found.tokens is None
    assert found.degenerate is None


def test_a_mixture_with_another_tokenizer_is_compared_as_a_whole_too(cache_dir: Path, tmp_path: Path) -> None:
    strange = reversed_vocabulary(world.policy(cache_dir), tmp_path / "other")
    mixed = {"kind": "mixture", "first": "self", "second": str(strange), "weight": 0.5}
    found, own = examined(cache_dir, reference=mixed), examined(cache_dir)
    assert found.metrics["eval/kl_k1"] == pytest.approx(own.metrics["eval/kl_k1"], abs=1e-3)


def test_chats_have_no_known_reward_and_all_else(cache_dir: Path, tmp_path: Path) -> None:
    path = str(write_chats(tmp_path / "chats.jsonl"))
    data = {
        "kind": "jsonl", "path": path, "eval_path": path, "prompt_field": "prompt", "chosen_field": "chosen",
        "rejected_field": "rejected", "eval_fraction": 0.1, "split_seed": 0, "max_train_samples": None,
        "max_eval_samples": None,
    }  # fmt: skip
    found = examined(cache_dir, data=data)
    assert [row["prompt_text"] for row in found.answers] == [f"Say {number}" for number in range(8)]
    assert found.metrics["eval/kl"] > 0
    assert not {"eval/reward", "eval/win_rate"} & set(found.metrics)
    assert [(row["reward"], row["win"]) for row in found.answers] == [(None, None)] * 8


def test_one_answer_has_no_standard_error_which_is_told(cache_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = examined(cache_dir, evaluation=evaluated(1))
    assert math.isnan(found.metrics["eval/kl_se"])
    assert "no finite value of eval/kl_se" in capfd.readouterr().err


def test_a_policy_that_only_babbles_is_degenerate(cache_dir: Path) -> None:
    found = examined(cache_dir, 1.0, evaluation=evaluated(max_new_tokens=96))
    assert found.degenerate is not None
    assert "kl" in found.degenerate
    assert found.metrics["eval/degenerate"] == 1.0


def test_nothing_is_examined_where_no_prompts_are_asked(cache_dir: Path) -> None:
    assert examine(subject(examined_config(evaluation=evaluated(0)), cache_dir)) == NOTHING


@pytest.mark.parametrize("patience", [0, 1, 2, 3, 4])
def test_a_stop_is_heeded_wherever_it_comes(cache_dir: Path, patience: int) -> None:
    left = [patience]

    def heed() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped

    of = subject(examined_config(), cache_dir)
    with pytest.raises(Stopped):
        examine(replace(of, heed=heed))
