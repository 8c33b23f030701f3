"""An adapter in training on top of a frozen one: what it starts as, what is trained, and that both are kept as one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from tests.fakes.checkpoints import mistral
from tests.fakes.tiny_runs import pair, run_config
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.errors import InvalidInput
from trainers.evaluation.scorer import score
from trainers.models import load_base, load_policy
from trainers.stacked import StackedPolicy

pytestmark = pytest.mark.slow

PAIRS = [pair(list(range(60, 90)), list(range(90, 70, -1)), prompt=list(range(40, 60))), pair([90], [91, 92])]
NF4 = {"kind": "nf4", "double_quant": True}
LORA = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
# Of the frozen adapter, and of the one on top of it.
PAIRINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alike": ({}, {}),
    "other ranks and scales": ({"r": 3, "lora_alpha": 5}, {"r": 8, "alpha": 2}),
    "rslora above": ({}, {"r": 8, "use_rslora": True}),
    "rslora below": ({"r": 6, "use_rslora": True}, {}),
    "fewer layers above": ({}, {"target_modules": ["q_proj", "v_proj"]}),
    "fewer layers below": ({"target_modules": ["v_proj", "down_proj"]}, {}),
    "none in common": ({"target_modules": ["q_proj"]}, {"target_modules": ["v_proj"]}),
    "one layer below": ({"target_modules": ["model.layers.1.mlp.up_proj"]}, {}),
    "ranks of its own": ({"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 1}}, {}),
    "dropout below": ({"lora_dropout": 0.5}, {}),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mistral(tmp_path_factory.mktemp("mistral"))


def adapter_on(model: Path, folder: Path, seed: int = 1, **changes: Any) -> Path:
    """A trained adapter, which moves what the model says."""
    config = check(run_config(model__path=str(model)))
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **changes}
    policy = get_peft_model(load_base(config, str(model), None, folder), LoraConfig(**settings))
    moved(policy)
    policy.save_pretrained(folder, save_embedding_layers=False)
    return folder


def moved(policy: Any) -> None:
    """As training leaves it: what is trained is zero no more."""
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)


def config(model: Path, adapter: Path | None, **changes: Any) -> RunConfig:
    start = {"kind": "base"} if adapter is None else {"kind": "adapter", "path": str(adapter)}
    return check(run_config(model__path=str(model), start=start, **changes))


def logits(policy: Any) -> torch.Tensor:
    policy.eval()
    with torch.no_grad():
        found: torch.Tensor = policy(input_ids=torch.arange(40, 90)[None]).logits
    return found


def reloaded(asked: RunConfig, folder: Path) -> Any:
    """As anybody would: the adapter on the model that it is said to be of."""
    return PeftModel.from_pretrained(load_base(asked, asked.model.path, None, folder), folder)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_what_is_saved_is_the_policy_on_the_model_alone(
    pairing: str, quantization: str, model: Path, tmp_path: Path
) -> None:
    below, above = PAIRINGS[pairing]
    bits = NF4 if quantization == "nf4" else {"kind": "none"}
    asked = config(model, adapter_on(model, tmp_path / "a", **below), peft={**LORA, **above}, quantization=bits)
    policy = load_policy(asked, tmp_path).model
    start = logits(policy)
    moved(policy)
    policy.save_pretrained(tmp_path / "b")
    assert torch.allclose(logits(reloaded(asked, tmp_path / "b")), logits(policy), atol=1e-5)
    assert not torch.allclose(logits(policy), start, atol=1e-2)
    known = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert known["base_model_name_or_path"] == str(model)


@pytest.mark.parametrize("peft", ["lora", "none"])
def test_it_starts_as_the_model_with_the_adapter(peft: str, model: Path, tmp_path: Path) -> None:
    adapter = adapter_on(model, tmp_path / "a")
    asked = config(model, adapter, peft=LORA if peft == "lora" else {"kind": "none"})
    policy = load_policy(asked, tmp_path).model
    assert torch.allclose(logits(policy), logits(reloaded(asked, adapter)), atol=1e-5)
    base = load_base(asked, str(model), None, tmp_path)
    assert not torch.allclose(logits(policy), logits(base), atol=1e-2)


@pytest.mark.parametrize("peft", ["lora", "none"])
def test_all_that_is_to_be_trained_is_and_nothing_else(peft: str, model: Path, tmp_path: Path) -> None:
    adapter = adapter_on(model, tmp_path / "a")
    kind = LORA if peft == "lora" else {"kind": "none"}
    stacked, plain = (load_policy(config(model, at, peft=kind), tmp_path).model for at in (adapter, None))
    trained = [{n for n, w in policy.named_parameters() if w.requires_grad} for policy in (stacked, plain)]
    assert trained[0] == trained[1] != set()


def test_its_adapter_begins_as_that_of_a_run_from_the_model(model: Path, tmp_path: Path) -> None:
    adapter = adapter_on(model, tmp_path / "a")
    stacked, plain = (load_policy(config(model, at), tmp_path).model for at in (adapter, None))
    weights = dict(stacked.named_parameters())
    assert all(torch.equal(weight, weights[name]) for name, weight in plain.named_parameters() if weight.requires_grad)


def test_without_the_adapter_in_training_it_is_its_start(model: Path, tmp_path: Path) -> None:
    policy = load_policy(config(model, adapter_on(model, tmp_path / "a")), tmp_path).model
    start = logits(policy)
    moved(policy)
    after = logits(policy)
    with policy.disable_adapter():
        assert torch.equal(logits(policy), start)
    assert torch.equal(logits(policy), after)
    assert not torch.allclose(after, start, atol=1e-2)
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert trained
    assert all(".default." in name for name in trained)


def test_dropout_of_the_frozen_adapter_is_off_while_it_trains(model: Path, tmp_path: Path) -> None:
    policy = load_policy(config(model, adapter_on(model, tmp_path / "a", lora_dropout=0.5)), tmp_path).model
    quiet = logits(policy)
    policy.train()
    assert torch.equal(policy(input_ids=torch.arange(40, 90)[None]).logits, quiet)


def test_where_both_are_of_the_same_layers_their_names_end_as_usual(model: Path, tmp_path: Path) -> None:
    policy = load_policy(config(model, adapter_on(model, tmp_path / "a")), tmp_path).model
    policy.save_pretrained(tmp_path / "b")
    known = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert (known["r"], known["lora_alpha"], known["rank_pattern"]) == (8, 8, {})
    assert set(known["target_modules"]) == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip


def test_a_policy_that_began_at_such_a_one_is_kept_as_one_too(model: Path, tmp_path: Path) -> None:
    first = config(model, adapter_on(model, tmp_path / "a"), peft={**LORA, "target_modules": ["q_proj"]})
    policy = load_policy(first, tmp_path).model
    moved(policy)
    policy.save_pretrained(tmp_path / "b")
    second = config(model, tmp_path / "b", peft={**LORA, "r": 2})
    policy = load_policy(second, tmp_path).model
    moved(policy)
    policy.save_pretrained(tmp_path / "c")
    assert torch.allclose(logits(reloaded(second, tmp_path / "c")), logits(policy), atol=1e-5)


def test_a_checkpoint_brings_back_what_was_in_training_bit_by_bit(model: Path, tmp_path: Path) -> None:
    asked = config(model, adapter_on(model, tmp_path / "a"), peft={**LORA, "r": 8, "use_rslora": True})
    policy, other = (load_policy(asked, tmp_path).model for _ in range(2))
    moved(policy)
    policy.save_trained(tmp_path)
    other.load_trained(tmp_path)
    assert torch.equal(logits(other), logits(policy))


def test_over_weights_in_16_bits_both_are_kept_in_32(model: Path, tmp_path: Path) -> None:
    asked = config(model, adapter_on(model, tmp_path / "a"), model__dtype="bfloat16")
    policy = load_policy(asked, tmp_path).model
    moved(policy)
    policy.save_pretrained(tmp_path / "b")
    tensors = load_file(tmp_path / "b" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    ours, theirs = (score(model, PAIRS, 2, 0).chosen_logps for model in (policy, reloaded(asked, tmp_path / "b")))
    assert torch.allclose(ours, theirs, rtol=1e-2)


def test_an_adapter_of_another_model_is_told_to_fit_not(model: Path, tmp_path: Path) -> None:
    wider = mistral(tmp_path / "wider", intermediate_size=256)
    with pytest.raises(InvalidInput, match=r"start: .*/a does not fit the model"):
        load_policy(config(model, adapter_on(wider, tmp_path / "a")), tmp_path)
    deeper = mistral(tmp_path / "deeper", num_hidden_layers=3)
    with pytest.raises(InvalidInput, match=r"start: .*/d does not fit the model, which has no place for"):
        load_policy(config(model, adapter_on(deeper, tmp_path / "d")), tmp_path)


def test_it_is_a_policy_of_pefts(model: Path, tmp_path: Path) -> None:
    policy = load_policy(config(model, adapter_on(model, tmp_path / "a")), tmp_path).model
    assert isinstance(policy, StackedPolicy)
    assert isinstance(policy, PeftModel)
