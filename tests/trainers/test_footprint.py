"""Whether a model fits: memory by hand, parameter counts against published ones, GPUs and limits of this machine."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.tiny_runs import method, run_config
from trainers.at_hand import missing
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.footprint import Machine, check_model, estimate
from trainers.machine import cgroup_limits
from trainers.parameters import from_config

LAPTOP = Machine(ram_bytes=16 * 10**9)
WORKSTATION = Machine(ram_bytes=64 * 10**9, gpu_bytes=(80 * 10**9, 80 * 10**9))
GB = 10**9


@pytest.fixture
def configured(repository, tmp_path):
    """A 7B model in a local folder, so that nothing is asked of the hub."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral"}))

    def build(**changes: Any) -> RunConfig:
        read = lambda path: yaml.safe_load((repository / "conf" / path).read_text())  # noqa: E731
        model = {**read("model/hf.yaml"), "name": "seven", "path": str(tmp_path), "parameters_b": 7.0}
        sections: dict[str, Any] = {
            "method": {"name": "hinge", "beta": 0.1}, "model": model, "reference": {"kind": "self"},
            "data": read("data/toy.yaml"), "quantization": {"kind": "none"}, "peft": read("peft/lora.yaml"),
            "training": read("training/default.yaml"), "evaluation": read("evaluation/default.yaml"),
            "tracking": {"mode": "disabled", "project": "p", "entity": None, "base_url": None}, "seed": 0,
        }  # fmt: skip
        sections["training"] = {**sections["training"], "batch_size": 2, "gradient_checkpointing": True}
        for name, values in changes.items():
            sections[name] = values if "kind" in values else {**sections[name], **values}
        return RunConfig.model_validate(sections)

    return build


def test_seven_billion_in_bf16_do_not_fit_a_laptop(configured):
    (told,) = check_model(configured(model={"dtype": "bfloat16"}), LAPTOP, Path())
    assert "weights 14 GB" in told
    assert "this machine has 16 GB of memory and no GPU" in told
    assert "peft=qlora would fit" in told


def test_the_same_in_four_bits_fit(configured):
    in_4_bits = configured(quantization={"kind": "nf4", "double_quant": True}, training={"max_length": 512})
    assert not check_model(in_4_bits, LAPTOP, Path())


def test_the_gpu_counts_where_there_is_one(configured):
    assert not check_model(configured(model={"dtype": "bfloat16"}), WORKSTATION, Path())


def test_the_smallest_gpu_counts_because_runs_go_to_all(configured):
    mixed = Machine(ram_bytes=64 * GB, gpu_bytes=(10 * GB, 80 * GB))
    (told,) = check_model(configured(model={"dtype": "bfloat16"}), mixed, Path())
    assert "the smallest GPU here has 10 GB (CUDA_VISIBLE_DEVICES hides it)" in told


def test_runs_share_a_gpu_and_its_memory(configured):
    config = configured(model={"dtype": "bfloat16"})
    assert not check_model(config, WORKSTATION.shared_by(3), Path())
    (told,) = check_model(config, WORKSTATION.shared_by(6), Path())
    assert "a GPU here has 80 GB for launcher.runs_per_gpu=6" in told


def test_full_fine_tuning_holds_weights_gradients_and_two_moments(configured):
    """7e9 parameters in fp32: 28 GB, 28 GB, and 56 GB of Adam; of 8-bit Adam a quarter, but for the embedding."""
    full = configured(peft={"kind": "none"})
    found = estimate(full, LAPTOP)
    assert (found.weights, found.gradients, found.optimizer) == (28 * GB, 28 * GB, 56 * GB)
    eight = configured(peft={"kind": "none"}, training={"optimizer": "paged_adamw_8bit"})
    assert 14 * GB < estimate(eight, LAPTOP).optimizer < 15.2 * GB


def test_only_another_model_as_reference_takes_room(configured, tmp_path):
    other = configured(reference={"kind": "model", "path": str(tmp_path / "other")}, model={"dtype": "bfloat16"})
    assert estimate(configured(), LAPTOP).reference == 0
    assert estimate(other, LAPTOP).reference == 14 * GB


def test_the_built_in_model_fits_everywhere(configured):
    tiny = configured(model={"path": "builtin:tiny", "parameters_b": None})
    assert not check_model(tiny, Machine(ram_bytes=2 * GB), Path())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": "builtin:huge"}, "not built in; there is builtin:tiny"),
        ({"path": "/no/such/folder"}, "there is no such folder"),
        ({"path": "nobody/such-model"}, "HF_HUB_OFFLINE is set"),
        ({"path": "/"}, "no folder with a config.json"),
        ({"chat_template": "none.jinja"}, "model.chat_template=none.jinja: there is no such file"),
    ],
)
def test_a_model_that_cannot_be_had_is_told(configured, changes, told):
    faults = check_model(configured(model={"parameters_b": 0.1, **changes}), LAPTOP, Path())
    assert [told in fault for fault in faults] == [True]


LLAMA2_7B = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
             "num_attention_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False}  # fmt: skip
MISTRAL_7B = {**LLAMA2_7B, "model_type": "mistral", "intermediate_size": 14336, "num_key_value_heads": 8}
OPT_125M = {"model_type": "opt", "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "vocab_size": 50272, "max_position_embeddings": 2048}  # fmt: skip
PYTHIA_160M = {"model_type": "gpt_neox", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
               "num_attention_heads": 12, "vocab_size": 50304, "tie_word_embeddings": False}  # fmt: skip
PHI_2 = {"model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32,
         "num_attention_heads": 32, "vocab_size": 51200, "tie_word_embeddings": False}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "millions"),
    [(LLAMA2_7B, 6738), (MISTRAL_7B, 7242), (OPT_125M, 125.2), (PYTHIA_160M, 162.3), (PHI_2, 2780)],
    ids=["llama2-7b", "mistral-7b", "opt-125m", "pythia-160m", "phi-2"],
)
def test_parameters_are_within_one_in_a_hundred_of_the_published(config, millions):
    assert from_config(config) == pytest.approx(millions * 1e6, rel=0.01)


def test_kinds_of_model_that_are_not_known_have_no_count():
    assert from_config({"model_type": "mamba"}) is None


def test_limits_of_a_container_count(tmp_path):
    (tmp_path / "memory.max").write_text("4096\n")
    assert set(cgroup_limits(tmp_path)) == {4096}
    (tmp_path / "memory.max").write_text("max\n")
    assert cgroup_limits(tmp_path) == []


def test_this_machine_has_memory_and_cores():
    here = Machine.here()
    assert here.ram_bytes > GB
    assert here.cores >= 1


SMALL = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
LLAMA_LIKE = {**SMALL, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
              "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8}  # fmt: skip
OPT = {**SMALL, "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
       "max_position_embeddings": 64}  # fmt: skip
REAL = [
    *((kind, LLAMA_LIKE) for kind in ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "stablelm",
                                      "olmo", "olmo2", "smollm3")),
    ("phi", {key: value for key, value in LLAMA_LIKE.items() if key != "head_dim"}),
    ("opt", {**OPT, "word_embed_proj_dim": 32}), ("opt", {**OPT, "word_embed_proj_dim": 16}),
    ("gpt_neox", {**SMALL, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
                  "num_attention_heads": 4}),
    ("gpt2", {**SMALL, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "sizes"), REAL, ids=[kind for kind, _ in REAL])
def test_parameters_of_small_real_models_are_exact(kind, sizes):
    import transformers

    config = transformers.AutoConfig.for_model(kind, **sizes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert from_config(config.to_dict()) == sum(weight.numel() for weight in model.parameters())


def test_the_folder_of_a_reward_run_is_told_with_what_it_trained(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "spec.json").write_text("{}")
    (told,) = missing(rated_by(tmp_path), tmp_path)
    assert told.endswith(f"that is a run's folder: give what it trained, {tmp_path / 'adapter'}")


def test_an_adapter_of_a_model_that_writes_is_no_reward_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"task_type": "CAUSAL_LM"}')
    (told,) = missing(rated_by(tmp_path), tmp_path)
    assert "not of one that rates" in told


def rated_by(folder: Path) -> RunConfig:
    return check(run_config("rso", method=method("rso", reward_model=str(folder))))
