"""Parameters told from config.json, against published counts and against small real models."""

import pytest

from trainers.parameters import from_config

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
