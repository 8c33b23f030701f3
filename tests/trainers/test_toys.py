"""The toy problems: their models, their pairs, and what they measure."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from trainers import toys
from trainers.config_check import check
from trainers.data import inspect, toy_pairs
from trainers.data_config import Bandit, OnePair
from trainers.data_toys import comparisons
from trainers.errors import InvalidInput
from trainers.models import load_policy
from trainers.toy_metrics import toy_metrics
from trainers.train import train

ONE_PAIR = {"kind": "one_pair", "prompt": [5, 8], "chosen": [16, 29], "rejected": [26, 0]}


def bandit(pairs: str, draws: int | None = None) -> Bandit:
    return Bandit(kind="bandit", pairs=pairs, draws=draws)


def config(path: str, data: dict[str, Any]) -> dict[str, Any]:
    return run_config(model__path=path, model__name="toy", data=data, peft={"kind": "none"}, training__max_steps=3)


def test_a_bandit_says_each_action_as_its_path_has_it(cache_dir: Path) -> None:
    """softmax(log 2, 0, 0) = 1/2, 1/4, 1/4."""
    path = f"builtin:bandit/{math.log(2)}/0/0"
    policy = load_policy(check(config(path, bandit("ab").model_dump())), cache_dir)
    with torch.no_grad():
        said = policy.model(input_ids=torch.tensor([[2, 1, 0]])).logits.softmax(-1)
    assert said.flatten().tolist() == pytest.approx([0.5, 0.25, 0.25] * 3)


def test_a_random_llama_is_the_same_each_time_and_another_with_another_seed(cache_dir: Path, tmp_path: Path) -> None:
    def weights(folder: Path) -> bytes:
        return (folder / "model.safetensors").read_bytes()

    first = weights(toys.folder("builtin:random-llama", cache_dir))
    assert weights(toys.folder("builtin:random-llama/0", tmp_path)) == first
    assert weights(toys.folder("builtin:random-llama/1", tmp_path)) != first


@pytest.mark.parametrize("path", ["builtin:bandit", "builtin:bandit/1", "builtin:bandit/1/x", "builtin:bandit/0/inf",
                                  "builtin:random-llama/x", "builtin:random-llama/1/2"])  # fmt: skip
def test_a_malformed_toy_says_what_is_valid(path: str) -> None:
    assert toys.is_toy(path)
    with pytest.raises(InvalidInput, match=r"bandit/0/0/0|random-llama/SEED"):
        toys.actions(path)


def test_comparisons_may_be_counted() -> None:
    assert comparisons(bandit("ab*2 ca")) == [(0, 1), (0, 1), (2, 0)]


def test_the_pairs_are_trained_on_and_measured_on_alike() -> None:
    pairs = toy_pairs(bandit("ab bc"), seed=0)
    assert pairs["train"] == pairs["heldout"]
    assert [(pair.chosen_ids, pair.rejected_ids) for pair in pairs["train"]] == [([0], [1]), ([1], [2])]


def test_draws_are_the_seeds() -> None:
    first, again, other = (toy_pairs(bandit("ab ba", 50), seed)["train"] for seed in (0, 0, 1))
    assert len(first) == 50
    assert first == again != other


@pytest.mark.parametrize(
    ("path", "data", "told"),
    [
        ("builtin:bandit/0/0", {"kind": "bandit", "pairs": "ab bc", "draws": None}, "the model has 2 actions, a to b"),
        ("builtin:bandit/0/0", {"kind": "bandit", "pairs": "aa", "draws": None}, "cannot be chosen over itself"),
        ("builtin:random-llama", {**ONE_PAIR, "chosen": [32]}, r"tokens 0 to 31, got \[32\]"),
        ("builtin:random-llama", {**ONE_PAIR, "chosen": [26, 0]}, "are equal"),
        ("builtin:tiny", ONE_PAIR, "has token ids for a toy model"),
        ("builtin:random-llama", run_config()["data"], "knows no text"),
    ],
)
def test_data_that_do_not_go_with_the_model_are_told_before_a_run(path: str, data: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        inspect(check(config(path, data)))


@pytest.mark.parametrize("pairs", ["", "abc", "ab*0", "a b", "AB"])
def test_comparisons_of_another_form_are_refused(pairs: str) -> None:
    with pytest.raises(InvalidInput, match=r"data\.pairs"):
        check(config("builtin:bandit/0/0", {"kind": "bandit", "pairs": pairs, "draws": None}))


def test_two_actions_have_a_logit(cache_dir: Path) -> None:
    data = bandit("ab")
    policy = load_policy(check(config("builtin:bandit/0/1.5", data.model_dump())), cache_dir)
    found = toy_metrics(policy.model, data, scores=None)  # type: ignore[arg-type]
    assert found["eval/logit"] == pytest.approx(-1.5)
    assert found["eval/p_a"] + found["eval/p_b"] == pytest.approx(1)


def test_a_run_on_one_pair_tells_its_answers_probabilities(tmp_path: Path, cache_dir: Path) -> None:
    data = OnePair.model_validate(ONE_PAIR).model_dump()
    result = train(run_spec(tmp_path / "run", cache_dir, config("builtin:random-llama", data)), Recorder())
    assert result.status == "completed", result.error
    assert 0 < (result.metrics["eval/p_rejected"] or 0.0) < (result.metrics["eval/p_chosen"] or 0.0) < 1
