"""Plain TRL scripts, tracked at W&B: what is read of them means what our own scorer says of the same policy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.sources import read
from benchmarks.work import prepare
from tests.fakes.wandb_server import ENTITY, WandbServer
from tests.fakes.wandb_study import wandb_here
from trainers.data import TokenisedPair
from trainers.evaluation.pairs import metrics
from trainers.evaluation.scorer import Scores, score

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trl_scripts")]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, pairs to train on and pairs held out."""
    folder = tmp_path_factory.mktemp("work")
    prepare(folder, train_pairs=16, heldout_pairs=8)
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    monkeypatch.setenv("WANDB_PROJECT", "scripts")
    with wandb_here(monkeypatch, tmp_path) as server:
        monkeypatch.setenv("WANDB_PROJECT", "scripts")
        yield server


def script(kind: str, work: Path, out: Path, **settings: Any) -> Any:
    """What a person writes with TRL: train, then evaluate."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    config, trainer = {
        "dpo": (DPOConfig, DPOTrainer),
        "cpo": (CPOConfig, CPOTrainer),
        "orpo": (ORPOConfig, ORPOTrainer),
    }[kind]
    data = load_dataset("json", data_files={"train": str(work / "train.jsonl"), "heldout": str(work / "heldout.jsonl")})
    arguments = config(
        output_dir=str(out), num_train_epochs=2, per_device_train_batch_size=4, per_device_eval_batch_size=8,
        learning_rate=1e-3, max_length=512, bf16=False, use_cpu=True, logging_steps=1, save_strategy="no",
        report_to="wandb", seed=5, disable_tqdm=True, **settings,
    )  # fmt: skip
    made = trainer(
        model=AutoModelForCausalLM.from_pretrained(work / "model"),
        processing_class=AutoTokenizer.from_pretrained(work / "model"),
        train_dataset=data["train"],
        eval_dataset=data["heldout"],
        args=arguments,
    )
    made.train()
    made.evaluate()
    import wandb

    wandb.finish()
    return made


def pairs_of(made: Any) -> list[TokenisedPair]:
    """The held-out pairs as TRL has tokenised them, under the names that its trainers give them."""
    rows = list(made.eval_dataset)
    if "chosen_ids" in rows[0]:
        return [TokenisedPair(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"], False) for row in rows]
    answers = [
        [[token for token, label in zip(row[f"{side}_input_ids"], row[f"{side}_labels"], strict=True) if label != -100]
         for row in rows]
        for side in ("chosen", "rejected")
    ]  # fmt: skip
    prompts = [row["prompt_input_ids"] for row in rows]
    return [TokenisedPair(*parts, False) for parts in zip(prompts, *answers, strict=True)]


def measured(made: Any, work: Path) -> dict[str, float]:
    """What our scorer says of the trained model, beside the one that it was before."""
    from transformers import AutoModelForCausalLM

    pairs = pairs_of(made)
    policy: Scores = score(made.model, pairs, 8, 0)
    with torch.no_grad():
        start = score(AutoModelForCausalLM.from_pretrained(work / "model"), pairs, 8, 0)
    return metrics(policy, start)


def test_what_dpo_logs_is_our_margin_times_beta(work: Path, tmp_path: Path, server: WandbServer):
    made = script("dpo", work, tmp_path / "out", beta=0.3)
    row = read([f"wandb:{ENTITY}/scripts"], ["history"]).frame.iloc[0]
    expected = measured(made, work)
    assert (row["method"], row["beta"], row["model"], row["seed"]) == ("dpo", 0.3, "model", 5)
    for name in ("eval/margin_nats", "eval/chosen_logratio", "eval/rejected_logratio", "eval/reward_accuracy"):
        assert row[name] == pytest.approx(expected[name], abs=2e-3), name
    assert list(row["history.step"]) == list(range(1, 9))


@pytest.mark.parametrize(
    ("kind", "settings", "method", "metric"),
    [
        ("orpo", {"beta": 0.2}, "orpo", "eval/policy_accuracy_norm"),
        ("cpo", {"beta": 0.2, "loss_type": "simpo", "cpo_alpha": 0.0}, "simpo", "eval/policy_accuracy_norm"),
        ("cpo", {"beta": 0.2}, "cpo", "eval/policy_accuracy"),
    ],
)
def test_what_methods_without_a_reference_log_is_the_policys_accuracy(
    kind: str, settings: dict[str, Any], method: str, metric: str, work: Path, tmp_path: Path, server: WandbServer
):
    made = script(kind, work, tmp_path / "out", **settings)
    row = read([f"wandb:{ENTITY}/scripts"]).frame.iloc[0]
    assert (row["method"], row["beta"], row["reference"]) == (method, 0.2, "none")
    assert row[metric] == pytest.approx(measured(made, work)[metric])
    assert "eval/reward_accuracy" not in row
    assert "eval/margin_nats" not in row
