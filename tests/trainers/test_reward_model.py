"""Reward models: learnt, kept, found again with the same numbers, and anybody's."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from tests.fakes.tiny_runs import Recorder, bandit, run_config, run_spec
from tests.fakes.untrained import untrained
from trainers import world
from trainers.config_check import check
from trainers.data import TokenisedPair, load_pairs, tokenise
from trainers.distributed import ALONE
from trainers.errors import InvalidInput
from trainers.evaluation.pairs import HeldOut
from trainers.models import RATING, Policy, load_policy
from trainers.reward_model import Classifier, Gold, load_reward, rate
from trainers.reward_trainer import RewardEvaluation
from trainers.samples import Asked, Sample
from trainers.spec import RunResult
from trainers.train import train


@pytest.fixture(scope="module")
def policy(cache_dir: Path) -> Policy:
    return load_policy(check(run_config(model__path=str(untrained(cache_dir)))), cache_dir)


def sample(text: str) -> Sample:
    return Sample([*text.encode(), 257], text, 0.0, ended=True)


def asked(text: str) -> Asked:
    return Asked(list(text.encode()), text)


def separable(folder: Path) -> dict[str, Any]:
    """Good answers are made of x, bad ones of y."""
    rows = [
        {"prompt": f"Say {number}:", "chosen": " x" * (1 + number % 3), "rejected": " y" * (1 + number % 4)}
        for number in range(48)
    ]
    file = folder / "separable.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "kind": "jsonl",
        "path": str(file),
        "eval_path": None,
        "eval_fraction": 0.25,
        "split_seed": 0,
        "prompt_field": "prompt",
        "chosen_field": "chosen",
        "rejected_field": "rejected",
        "max_train_samples": None,
        "max_eval_samples": None,
    }


def learnt(folder: Path, cache_dir: Path, reporter: Recorder | None = None, **changes: Any) -> RunResult:
    folder.mkdir(exist_ok=True)
    settings = {"data": separable(folder.parent), "training__epochs": 3, "training__learning_rate": 5e-3, **changes}
    reporter = reporter or Recorder()
    result = train(run_spec(folder, cache_dir, run_config("reward", **settings)), reporter)
    reporter.do_what_is_left()
    return result


def numbers(reward: Any) -> list[float]:
    prompts = [asked("Say 7:"), asked("Say 11:"), asked("Say 7:")]
    found: list[float] = reward.rate(prompts, [sample(" x"), sample(" y y y"), sample(" y")], lambda: None)
    return found


def test_gold_is_the_worlds_reward() -> None:
    rewards = Gold().rate(
        [asked("Describe the river at noon:")] * 2, [sample(" The river is calm. I love it."), sample("")]
    )
    assert rewards == [4.0, -1.0]


def test_padding_and_batches_leave_a_rating_alone(cache_dir: Path) -> None:
    full = run_config("reward", model__path=str(untrained(cache_dir)), peft={"kind": "none"})
    model = load_policy(check(full), cache_dir, RATING).model
    model.config.pad_token_id = 256
    sequences = [[65, 66], [65], [65, 66, 67, 68, 257], [70, 257]]
    alone = torch.stack([model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in sequences])
    for batch_size in (1, 3, 4):
        assert rate(model, sequences, batch_size, 256).tolist() == pytest.approx(alone.tolist(), abs=1e-5)


class Fixed(torch.nn.Module):
    """A classifier that gives the number of a sequence's last token."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        last = attention_mask.sum(1) - 1
        logits = input_ids.gather(1, last[:, None]).float() * self.weight
        return type("Output", (), {"logits": logits})()


def test_a_tie_counts_one_half_and_the_margin_is_in_the_models_own_units(cache_dir: Path) -> None:
    """Pairs 5 > 2, 1 < 3 and 4 = 4: (1 + 0 + 1/2) / 3, and (3 - 2 + 0) / 3."""
    pairs = [TokenisedPair([9], [one], [two], False) for one, two in [(5, 2), (1, 3), (4, 4)]]
    judged = Policy(Fixed(), bandit([0.0, 0.0]).tokenizer, "fp32")
    found = RewardEvaluation(check(run_config("reward")), judged, HeldOut(pairs, None), lambda: None, ALONE).measure()
    assert found == pytest.approx({"eval/reward_accuracy": 0.5, "eval/rm_margin": 1 / 3, "eval/pairs": 3.0})


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "none", "qlora"])
def test_what_is_learnt_is_kept_and_gives_the_same_numbers_again(
    tmp_path: Path, cache_dir: Path, policy: Policy, peft: str
) -> None:
    """On data that one letter decides every held-out pair is told right."""
    changes: dict[str, Any] = {
        "lora": {},
        "none": {"peft": {"kind": "none"}, "training__learning_rate": 1e-3},
        "qlora": {"quantization": {"kind": "nf4", "double_quant": True}},
    }[peft]
    result = learnt(tmp_path / "run", cache_dir, **changes)
    assert (result.status, result.error) == ("completed", None)
    assert result.metrics["eval/reward_accuracy"] == 1.0
    assert set(result.metrics) >= {"train/loss", "train/accuracy", "eval/rm_margin", "eval/pairs"}
    assert not {"eval/margin_nats", "eval/policy_accuracy"} & set(result.metrics)

    folder = tmp_path / "run" / ("model" if peft == "none" else "adapter")
    assert (folder / "base_quantization.json").exists() == (peft == "qlora")
    assert not [path for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pkl"}]
    reward = load_reward(str(folder), policy, cache_dir, 2)
    first, *others = numbers(reward)
    assert first > max(others)
    # The very numbers that the run reported, from the files alone.
    assert isinstance(reward, Classifier)
    config = check(run_config("reward", data=separable(tmp_path)))
    texts = load_pairs(config.data, cache_dir).heldout
    heldout = HeldOut(tokenise(texts, policy.tokenizer, 512), texts)
    again = RewardEvaluation(
        config, Policy(reward.model, reward.tokenizer, "fp32"), heldout, lambda: None, ALONE
    ).measure()
    assert again["eval/rm_margin"] == pytest.approx(result.metrics["eval/rm_margin"], abs=1e-4)
    if peft == "qlora":  # over weights that were not packed it would be another one
        (folder / "base_quantization.json").unlink()
        assert numbers(load_reward(str(folder), policy, cache_dir, 2)) != pytest.approx(numbers(reward), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "none"])
def test_a_stopped_run_goes_on_to_the_same_end(tmp_path: Path, cache_dir: Path, peft: str) -> None:
    changes: dict[str, Any] = {} if peft == "lora" else {"peft": {"kind": "none"}}
    whole = learnt(tmp_path / "whole", cache_dir, **changes)
    assert learnt(tmp_path / "parts", cache_dir, Recorder(stop_at=10), **changes).status == "cancelled"
    parts = learnt(tmp_path / "parts", cache_dir, **changes)
    assert parts.metrics["eval/rm_margin"] == pytest.approx(whole.metrics["eval/rm_margin"], abs=1e-5)


@pytest.mark.slow
def test_a_run_says_nothing_in_its_log(tmp_path: Path, cache_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world.policy(cache_dir)
    capfd.readouterr()
    learnt(tmp_path / "run", cache_dir, training__epochs=1)
    assert capfd.readouterr() == ("", "")


def somebodys(folder: Path, source: Path, labels: int = 1, vocabulary: Sequence[str] = ()) -> Path:
    """A sequence-classification model as the hub has them, with a tokenizer beside it."""
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=64,
        num_labels=labels,
        pad_token_id=256,
    )
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(str(source))
    tokenizer.add_tokens(list(vocabulary))
    tokenizer.save_pretrained(folder)
    return folder


def test_anybodys_model_of_one_label_serves(tmp_path: Path, cache_dir: Path, policy: Policy) -> None:
    reward = load_reward(str(somebodys(tmp_path / "rm", untrained(cache_dir))), policy, cache_dir, 2)
    assert isinstance(reward, Classifier)
    assert reward.same_tokens
    assert len(set(numbers(reward))) == 3


def test_a_model_of_other_tokens_reads_text(tmp_path: Path, cache_dir: Path, policy: Policy) -> None:
    folder = somebodys(tmp_path / "rm", untrained(cache_dir), vocabulary=["Say"])
    reward = load_reward(str(folder), policy, cache_dir, 2)
    assert isinstance(reward, Classifier)
    assert not reward.same_tokens
    ids = reward.tokenizer("Say 7: x")["input_ids"]
    assert ids[0] == 258
    assert numbers(reward)[0] == pytest.approx(rate(reward.model, [ids], 1, 256).item(), abs=1e-5)
    # Chat messages go through its template, and what is too long loses its beginning.
    chat = Asked([1], ({"role": "user", "content": "word " * 100},))
    assert len(reward.rate([chat], [sample(" x")], lambda: None)) == 1


def test_a_model_of_two_labels_is_refused(tmp_path: Path, cache_dir: Path, policy: Policy) -> None:
    folder = somebodys(tmp_path / "rm", untrained(cache_dir), labels=2)
    with pytest.raises(InvalidInput, match=r"method\.reward_model=.*gives 2 numbers .* one label"):
        load_reward(str(folder), policy, cache_dir, 2)


def test_an_adapter_whose_base_is_gone_says_which(tmp_path: Path, cache_dir: Path, policy: Policy) -> None:
    folder = somebodys(tmp_path / "rm", untrained(cache_dir))
    shutil.move(folder / "config.json", folder / "other.json")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(InvalidInput, match="gone"):
        load_reward(str(folder), policy, cache_dir, 2)
