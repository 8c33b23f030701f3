"""What config.json says of the models that conf/model/ names, so that a plan of them needs no download.

Sizes are those of the hub's files; `tests/trainers/test_known_models.py` holds them against the presets' parameters.
"""

from collections.abc import Mapping
from typing import Any

_LLAMA2_7B: Mapping[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}  # fmt: skip
_MISTRAL_7B: Mapping[str, Any] = {
    "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768,
    "sliding_window": 4096, "tie_word_embeddings": False,
}  # fmt: skip
_LLAMA3_8B: Mapping[str, Any] = {
    **_LLAMA2_7B, "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192,
}  # fmt: skip
_LLAMA3_70B: Mapping[str, Any] = {
    **_LLAMA3_8B, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
}  # fmt: skip
_QWEN2_1B5: Mapping[str, Any] = {
    "model_type": "qwen2", "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936, "max_position_embeddings": 131072,
    "use_sliding_window": False, "tie_word_embeddings": True,
}  # fmt: skip
_PHI_2: Mapping[str, Any] = {
    "model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32,
    "num_attention_heads": 32, "vocab_size": 51200, "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip
_OPT_1B3: Mapping[str, Any] = {
    "model_type": "opt", "hidden_size": 2048, "ffn_dim": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
    "vocab_size": 50272, "word_embed_proj_dim": 2048, "max_position_embeddings": 2048,
}  # fmt: skip
_OPT_350M: Mapping[str, Any] = {
    **_OPT_1B3, "hidden_size": 1024, "ffn_dim": 4096, "num_attention_heads": 16, "word_embed_proj_dim": 512,
    "do_layer_norm_before": False,
}  # fmt: skip
_OPT_125M: Mapping[str, Any] = {
    **_OPT_1B3, "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "word_embed_proj_dim": 768,
}  # fmt: skip
_IN_4_BITS = {"quantization_config": {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}}

# By hub id.
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "HuggingFaceH4/mistral-7b-sft-beta": _MISTRAL_7B,
    "Qwen/Qwen2-1.5B": _QWEN2_1B5,
    "allenai/tulu-2-7b": {**_LLAMA2_7B, "max_position_embeddings": 8192},
    "facebook/opt-1.3b": _OPT_1B3,
    "facebook/opt-125m": _OPT_125M,
    "facebook/opt-350m": _OPT_350M,
    "microsoft/phi-2": _PHI_2,
    "mistralai/Mistral-7B-v0.1": _MISTRAL_7B,
    "unsloth/llama-3-70b-Instruct-bnb-4bit": {**_LLAMA3_70B, **_IN_4_BITS},
    "unsloth/llama-3-8b-Instruct-bnb-4bit": {**_LLAMA3_8B, **_IN_4_BITS},
    "unsloth/llama-3-8b-bnb-4bit": {**_LLAMA3_8B, **_IN_4_BITS},
    "unsloth/mistral-7b-instruct-v0.3-bnb-4bit": {
        **_MISTRAL_7B, "vocab_size": 32768, "sliding_window": None, **_IN_4_BITS,
    },
}  # fmt: skip
