"""Loading policies: dtypes, 4 bits, adapters, tokenizers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CodeGenConfig, LlamaConfig, T5Config

from tests.fakes.tiny_runs import pair, run_config
from tests.fakes.untrained import untrained
from trainers.at_hand import missing
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.errors import InvalidInput
from trainers.evaluation.scorer import score
from trainers.models import best_attention, best_precision, load_base, load_policy, load_tokenizer, weights_dtype
from trainers.reference import reference_scores

FULL = {"kind": "none"}
PAIRS = [pair([70, 71, 72], [80], prompt=[60, 61]), pair([90], [91, 92])]


def config(**changes: Any) -> RunConfig:
    return check(run_config(**changes))


def tiny(cache_dir: Path, **changes: Any) -> RunConfig:
    return config(**{"model__path": str(untrained(cache_dir)), **changes})


def test_lora_trains_its_adapter_alone_and_starts_as_the_base(cache_dir: Path) -> None:
    policy = load_policy(tiny(cache_dir), cache_dir)
    trained = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert not any("lm_head" in name for name in trained)
    base = load_policy(tiny(cache_dir, peft=FULL), cache_dir)
    ours, theirs = (score(model.model, PAIRS, 2, model.pad_id) for model in (policy, base))
    assert torch.equal(ours.chosen_logps, theirs.chosen_logps)


def test_the_seed_alone_decides_the_adapters_start(cache_dir: Path) -> None:
    def start(seed: int) -> torch.Tensor:
        torch.rand(1)
        model = load_policy(tiny(cache_dir, seed=seed), cache_dir).model
        return torch.cat([weight.flatten() for weight in model.parameters() if weight.requires_grad])

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))


def test_dropout_is_off_in_the_base_and_kept_in_the_adapter(cache_dir: Path) -> None:
    lora = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.25, "target_modules": "all-linear"}
    model = load_policy(tiny(cache_dir, peft=lora), cache_dir).model
    rates = {(module.p, "lora_dropout" in name) for name, module in model.named_modules() if hasattr(module, "p")}
    assert rates == {(0.25, True)}


def test_trained_weights_are_fp32_and_frozen_ones_follow_the_precision() -> None:
    assert weights_dtype(config(model__dtype="auto", peft=FULL, training__precision="bf16")) == torch.float32
    assert weights_dtype(config(model__dtype="auto", training__precision="bf16")) == torch.bfloat16
    assert weights_dtype(config(model__dtype="float16")) == torch.float16


@pytest.mark.parametrize(
    ("capability", "precision"),
    [(None, "fp32"), ((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")],
    ids=["no GPU", "P40", "V100", "T4", "A100", "H100"],
)
def test_the_precision_is_what_the_gpu_is_fast_in(capability: tuple[int, int] | None, precision: str) -> None:
    assert best_precision(capability) == precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_fp16_without_a_gpu_is_refused(cache_dir: Path) -> None:
    with pytest.raises(InvalidInput, match=r"training\.precision: fp16 needs a GPU"):
        load_policy(config(training__precision="fp16"), cache_dir)


def test_an_unknown_builtin_model_is_refused(cache_dir: Path) -> None:
    with pytest.raises(InvalidInput, match="builtin:huge is not built in"):
        load_policy(config(model__path="builtin:huge"), cache_dir)


def edited_tokenizer(cache_dir: Path, folder: Path, **changes: Any) -> Path:
    """A policy with a tokenizer_config.json changed so."""
    shutil.copytree(untrained(cache_dir), folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_padding_is_the_end_of_text_where_there_is_none(cache_dir: Path, tmp_path: Path) -> None:
    folder = edited_tokenizer(cache_dir, tmp_path / "model", pad_token=None)
    tokenizer = load_tokenizer(config(model__path=str(folder)), cache_dir)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_a_tokenizer_without_an_end_is_refused(cache_dir: Path, tmp_path: Path) -> None:
    folder = edited_tokenizer(cache_dir, tmp_path / "model", eos_token=None)
    with pytest.raises(InvalidInput, match=r"no end-of-text token: give another one, model.tokenizer="):
        load_tokenizer(config(model__path=str(folder)), cache_dir)


def test_the_chat_template_is_that_of_the_file(cache_dir: Path, tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    tokenizer = load_tokenizer(tiny(cache_dir, model__chat_template=str(template)), cache_dir)
    found = tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False)
    assert found == "ab"


def test_a_chat_template_that_is_not_there_is_named(cache_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"model\.chat_template: no such file"):
        load_tokenizer(tiny(cache_dir, model__chat_template=str(tmp_path / "none.jinja")), cache_dir)


def test_the_home_folder_may_be_a_tilde(cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every path of a model's: what looks for it before a run takes it so, too."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(untrained(cache_dir), tmp_path / "tiny")
    (tmp_path / "chat.jinja").write_text("at home")
    asked = config(
        model__path="~/tiny",
        model__tokenizer="~/tiny",
        model__chat_template="~/chat.jinja",
        reference={"kind": "model", "path": "~/tiny", "revision": None},
    )
    assert missing(asked) == []
    policy = load_policy(asked, cache_dir)
    assert policy.tokenizer.chat_template == "at home"
    found = reference_scores(asked, policy, {"heldout": PAIRS}, cache_dir)["heldout"]
    assert torch.equal(found.chosen_logps, score(policy.model, PAIRS, 2, policy.pad_id).chosen_logps)


@pytest.mark.parametrize(
    ("model", "dtype", "capability", "attention"),
    [
        (LlamaConfig(), torch.bfloat16, (9, 0), "flash_attention_2"),
        (LlamaConfig(), torch.float16, (8, 0), "flash_attention_2"),
        (LlamaConfig(), torch.float16, (7, 5), "sdpa"),
        (LlamaConfig(), torch.float32, (9, 0), "sdpa"),
        (CodeGenConfig(), torch.bfloat16, (9, 0), "sdpa"),
        (T5Config(), torch.bfloat16, (9, 0), "sdpa"),
    ],
)
def test_flash_attention_is_for_models_and_gpus_that_have_it(
    model: Any, dtype: torch.dtype, capability: tuple[int, int], attention: str
) -> None:
    assert best_attention(model, dtype, capability) == attention


def nf4(cache_dir: Path) -> RunConfig:
    return tiny(cache_dir, quantization={"kind": "nf4", "double_quant": True})


def test_in_4_bits_an_evaluation_leaves_gradients_as_they_are(cache_dir: Path) -> None:
    """bitsandbytes repacks weights for AVX512 at the first evaluation, and gradients are wrong from then on."""
    policy = load_policy(nf4(cache_dir), cache_dir)

    def gradients() -> torch.Tensor:
        policy.model.train()
        policy.model.zero_grad()
        ids = torch.arange(40, 90)[None]
        policy.model(input_ids=ids, labels=ids).loss.backward()
        return torch.cat([weight.grad.flatten() for weight in policy.model.parameters() if weight.grad is not None])

    before = gradients()
    score(policy.model, PAIRS, 2, policy.pad_id)
    assert before.abs().sum() > 0
    assert torch.equal(gradients(), before)
    flags = [getattr(module, "support_avx512bf16_for_cpu", False) for module in policy.model.modules()]
    assert not any(flags)


def test_in_4_bits_embeddings_and_head_are_not_blown_up(cache_dir: Path) -> None:
    dtypes = {name: weight.dtype for name, weight in load_policy(nf4(cache_dir), cache_dir).model.named_parameters()}
    assert {dtype for name, dtype in dtypes.items() if "proj.base_layer" in name} == {torch.uint8}
    assert {dtype for name, dtype in dtypes.items() if "lora_" in name} == {torch.float32}


def test_a_checkpoint_stored_in_4_bits_is_loaded_as_it_is(cache_dir: Path, tmp_path: Path) -> None:
    base = load_base(nf4(cache_dir), str(untrained(cache_dir)), None, cache_dir)
    base.save_pretrained(tmp_path)
    load_tokenizer(nf4(cache_dir), cache_dir).save_pretrained(tmp_path)
    quantization = {"kind": "nf4", "double_quant": True}
    asked = config(model__path=str(tmp_path), model__prequantized=True, quantization=quantization)
    policy = load_policy(asked, cache_dir)
    types = {type(module).__name__ for name, module in policy.model.named_modules() if name.endswith("base_layer")}
    assert types == {"Linear4bit"}
    ours, theirs = (score(model, PAIRS, 2, policy.pad_id) for model in (policy.model, base))
    assert torch.equal(ours.chosen_logps, theirs.chosen_logps)


def test_the_reference_is_the_start_whatever_the_adapter_has_become(cache_dir: Path) -> None:
    policy = load_policy(tiny(cache_dir), cache_dir)
    start = score(policy.model, PAIRS, 2, policy.pad_id)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.fill_(0.1)
    found = reference_scores(tiny(cache_dir), policy, {"heldout": PAIRS}, cache_dir)["heldout"]
    assert torch.equal(found.chosen_logps, start.chosen_logps)
    assert not torch.equal(score(policy.model, PAIRS, 2, policy.pad_id).chosen_logps, start.chosen_logps)


def test_another_model_is_scored_with_its_own_weights(cache_dir: Path) -> None:
    other = untrained(cache_dir, seed=1)
    asked = tiny(cache_dir, reference={"kind": "model", "path": str(other), "revision": None})
    found = reference_scores(asked, load_policy(asked, cache_dir), {"train": PAIRS}, cache_dir)["train"]
    itself = load_policy(tiny(cache_dir, peft=FULL, model__path=str(other)), cache_dir)
    expected = score(itself.model, PAIRS, 2, itself.pad_id)
    assert torch.equal(found.chosen_logps, expected.chosen_logps)
    assert torch.equal(found.rejected_logps, expected.rejected_logps)
