"""Small checkpoints of real architectures on disk, with random weights and a byte-level tokenizer beside them."""

from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig, MistralConfig, MistralForCausalLM, set_seed

from trainers.world_build import EOS_ID, PAD_ID, _new_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": EOS_ID + 1, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "sliding_window": 16,
    "pad_token_id": PAD_ID, "bos_token_id": EOS_ID, "eos_token_id": EOS_ID, "initializer_range": 0.1,
}  # fmt: skip


def mistral(folder: Path, *, in_4_bits: bool = False, **changes: Any) -> Path:
    """A Mistral of two layers; its window of 16 tokens is shorter than the built-in world's texts.

    In 4 bits it is stored by bitsandbytes, with a quantization_config of its own.
    """
    set_seed(0)
    MistralForCausalLM(MistralConfig(**{**SIZES, **changes})).save_pretrained(folder)
    if in_4_bits:
        nf4 = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32,
            bnb_4bit_use_double_quant=True,
        )  # fmt: skip
        packed = MistralForCausalLM.from_pretrained(folder, quantization_config=nf4, device_map={"": "cpu"})
        packed.save_pretrained(folder)
    _new_tokenizer().save_pretrained(folder)
    return folder
