"""LoRA, DoRA and rsLoRA, over weights in full and in 4 bits, and full fine-tuning: on a Mistral, from disk to disk."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.fakes.checkpoints import mistral
from tests.fakes.tiny_runs import Recorder, pair, run_config, run_spec, training_of
from trainers import data, trl_engine
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.evaluation.pairs import metrics
from trainers.evaluation.scorer import score
from trainers.models import load_base, load_policy, load_tokenizer
from trainers.reference import reference_scores
from trainers.spec import RunResult
from trainers.train import train

pytestmark = pytest.mark.slow

LORA = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
DORA, RSLORA = {**LORA, "use_dora": True}, {**LORA, "use_rslora": True}
FULL, NF4 = {"kind": "none"}, {"kind": "nf4", "double_quant": True}
WAYS = {
    "lora": {"peft": LORA},
    "dora": {"peft": DORA},
    "rslora": {"peft": RSLORA},
    "attention-only": {"peft": {**LORA, "target_modules": ["q_proj", "v_proj"]}},
    "qlora": {"peft": LORA, "quantization": NF4},
    "qdora": {"peft": DORA, "quantization": NF4},
    "prequantised": {"peft": LORA, "model__prequantized": True},
    "full": {"peft": FULL},
}
PAIRS = [pair(list(range(60, 90)), list(range(90, 70, -1)), prompt=list(range(40, 60))), pair([90], [91, 92])]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The model in full, and the same in 4 bits."""
    root = tmp_path_factory.mktemp("mistral")
    return {packed: mistral(root / str(packed), in_4_bits=packed) for packed in (False, True)}


def config(checkpoints: dict[bool, Path], way: str, **changes: Any) -> RunConfig:
    settings = {**WAYS[way], **changes}
    path = checkpoints[bool(settings.get("model__prequantized"))]
    return check(run_config(model__path=str(path), training__max_steps=3, **settings))


def run(folder: Path, cache_dir: Path, asked: RunConfig, reporter: Recorder | None = None) -> RunResult:
    result = train(run_spec(folder, cache_dir, asked.model_dump(by_alias=True)), reporter or Recorder())
    assert result.error is None
    return result


def reloaded(folder: Path, asked: RunConfig, cache_dir: Path) -> Any:
    """What a run left behind, as someone else would load it."""
    if asked.peft.kind == "none":
        return AutoModelForCausalLM.from_pretrained(folder / "model")
    return PeftModel.from_pretrained(load_base(asked, asked.model.path, None, cache_dir), folder / "adapter")


@pytest.mark.parametrize("way", WAYS)
def test_what_a_run_saves_gives_the_numbers_that_it_reported(
    way: str, checkpoints: dict[bool, Path], tmp_path: Path, cache_dir: Path
) -> None:
    asked = config(checkpoints, way)
    result = run(tmp_path, cache_dir, asked)
    assert (result.status, result.steps) == ("completed", 3)
    tokenizer = load_tokenizer(asked, cache_dir)
    pairs = data.tokenise(data.load_pairs(asked.data, cache_dir).heldout, tokenizer, asked.training.max_length)
    start = score(load_base(asked, asked.model.path, None, cache_dir), pairs, 16, tokenizer.pad_token_id)
    end = score(reloaded(tmp_path, asked, cache_dir), pairs, 16, tokenizer.pad_token_id)
    found = metrics(end, start)
    assert abs(found["eval/chosen_logratio"]) > 1e-3
    for name, value in found.items():
        assert result.metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize(("way", "recorded"), [("dora", (True, False)), ("rslora", (False, True))])
def test_a_saved_adapter_says_of_what_kind_it_is(
    way: str, recorded: tuple[bool, bool], checkpoints: dict[bool, Path], tmp_path: Path, cache_dir: Path
) -> None:
    run(tmp_path, cache_dir, config(checkpoints, way))
    known = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (known["use_dora"], known["use_rslora"], known["r"]) == (*recorded, 4)


@pytest.mark.parametrize("way", ["dora", "rslora", "qdora", "prequantised"])
def test_a_run_that_was_stopped_goes_on_to_where_it_would_have_come(
    way: str, checkpoints: dict[bool, Path], tmp_path: Path, cache_dir: Path
) -> None:
    asked = config(checkpoints, way)
    whole = run(tmp_path / "whole", cache_dir, asked)
    stopped = run(tmp_path / "halves", cache_dir, asked, Recorder(stop_at=2))
    assert stopped.status == "cancelled"
    rest = run(tmp_path / "halves", cache_dir, asked)
    for name in ("eval/margin_nats", "eval/chosen_logratio"):
        assert rest.metrics[name] == pytest.approx(whole.metrics[name], rel=1e-4), name


def gradients(model: Any) -> torch.Tensor:
    model.train()
    model.zero_grad()
    ids = torch.arange(40, 90)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


@pytest.mark.parametrize("way", ["qlora", "qdora", "prequantised"])
def test_in_4_bits_gradients_are_the_same_after_an_evaluation(
    way: str, checkpoints: dict[bool, Path], cache_dir: Path
) -> None:
    """bitsandbytes repacks weights for AVX512-BF16 at the first evaluation; gradients were wrong from then on."""
    model = load_policy(config(checkpoints, way), cache_dir).model
    before = gradients(model)
    score(model, PAIRS, 2, 0)
    assert before.abs().sum() > 0
    assert torch.equal(gradients(model), before)


@pytest.mark.parametrize("way", ["qlora", "qdora", "prequantised"])
def test_every_layer_in_4_bits_is_kept_from_repacking(way: str, checkpoints: dict[bool, Path], cache_dir: Path) -> None:
    model = load_policy(config(checkpoints, way), cache_dir).model
    layers = [module for module in model.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
    assert len(layers) == 2 * 7
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


def test_a_reference_in_4_bits_is_kept_from_repacking(checkpoints: dict[bool, Path], cache_dir: Path) -> None:
    """What is loaded as another model goes through the same door."""
    base = load_base(config(checkpoints, "qlora"), str(checkpoints[True]), None, cache_dir)
    flags = {getattr(module, "support_avx512bf16_for_cpu", False) for module in base.modules()}
    assert flags == {False}


def test_the_reference_of_a_prequantised_model_is_its_base_in_4_bits(
    checkpoints: dict[bool, Path], cache_dir: Path
) -> None:
    asked = config(checkpoints, "prequantised")
    policy = load_policy(asked, cache_dir)
    found = reference_scores(asked, policy, {"heldout": PAIRS}, cache_dir)["heldout"]
    packed, full = (load_base(asked, str(checkpoints[kind]), None, cache_dir) for kind in (True, False))
    assert torch.equal(found.chosen_logps, score(packed, PAIRS, 2, policy.pad_id).chosen_logps)
    assert not torch.allclose(found.chosen_logps, score(full, PAIRS, 2, policy.pad_id).chosen_logps, atol=1e-3)


@pytest.mark.parametrize("way", ["lora", "dora", "rslora", "qlora", "qdora"])
def test_every_kind_of_adapter_starts_as_its_base(way: str, checkpoints: dict[bool, Path], cache_dir: Path) -> None:
    asked = config(checkpoints, way)
    policy = load_policy(asked, cache_dir)
    base = load_base(asked, asked.model.path, None, cache_dir)
    ours, theirs = (score(model, PAIRS, 2, policy.pad_id) for model in (policy.model, base))
    assert torch.allclose(ours.chosen_logps, theirs.chosen_logps, atol=1e-3)


@pytest.mark.parametrize(("way", "scale"), [("lora", 8 / 4), ("rslora", 8 / math.sqrt(4))])
def test_rslora_divides_alpha_by_the_root_of_the_rank(
    way: str, scale: float, checkpoints: dict[bool, Path], cache_dir: Path
) -> None:
    model = load_policy(config(checkpoints, way), cache_dir).model
    scales = {module.scaling["default"] for module in model.modules() if hasattr(module, "lora_A")}
    assert scales == {scale}


def test_a_token_beyond_the_sliding_window_is_not_seen(checkpoints: dict[bool, Path], cache_dir: Path) -> None:
    """Two layers of 16 tokens see 31 back: what stands further back does not move an answer's log-probability."""
    policy = load_policy(config(checkpoints, "lora"), cache_dir)
    prompts = ([65, *range(40, 80)], [66, *range(40, 80)], [*range(40, 80), 67])
    far, other_far, near = score(
        policy.model, [pair([80], [81], prompt=prompt) for prompt in prompts], 3, policy.pad_id
    ).chosen_logps
    assert far == pytest.approx(float(other_far), abs=1e-5)
    assert abs(far - near) > 1e-3


@pytest.mark.parametrize("way", ["lora", "dora", "qlora", "full"])
@pytest.mark.parametrize("method", [{"name": "dpo", "beta": 0.1}, {"name": "orpo", "lambda": 0.1}], ids=["dpo", "orpo"])
def test_gradient_checkpointing_changes_no_gradient(
    way: str, method: dict[str, Any], checkpoints: dict[bool, Path], tmp_path: Path, cache_dir: Path
) -> None:
    def trained(*, checkpointing: bool) -> torch.Tensor:
        asked = config(checkpoints, way)
        policy = load_policy(asked, cache_dir)
        training = training_of(
            policy, PAIRS, tmp_path, method, gradient_checkpointing=checkpointing, max_steps=2, learning_rate=1e-2
        )
        trl_engine.train(training)
        return score(policy.model, PAIRS, 2, policy.pad_id).chosen_logps

    assert torch.allclose(trained(checkpointing=True), trained(checkpointing=False), atol=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw_torch", "paged_adamw_8bit", "adamw_8bit", "sgd", "rmsprop", "adafactor"])
def test_each_optimiser_takes_a_step(
    optimizer: str, checkpoints: dict[bool, Path], tmp_path: Path, cache_dir: Path
) -> None:
    policy = load_policy(config(checkpoints, "lora"), cache_dir)
    before = score(policy.model, PAIRS, 2, policy.pad_id).chosen_logps
    method = {"name": "dpo", "beta": 0.1}
    trl_engine.train(training_of(policy, PAIRS, tmp_path, method, optimizer=optimizer, max_steps=2, learning_rate=0.1))
    after = score(policy.model, PAIRS, 2, policy.pad_id).chosen_logps
    assert after.isfinite().all()
    assert not torch.equal(after, before)
