"""The cases of `benchmarks.memory`: models of real shapes for a GPU, of some ten million parameters for a CPU."""

from collections.abc import Mapping
from typing import Any

from benchmarks.memory_case import TINY, Case

LLAMA_1B: Mapping[str, Any] = {
    **TINY, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip
MISTRAL_7B: Mapping[str, Any] = {
    "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "sliding_window": 4096,
    "max_position_embeddings": 4096,
}  # fmt: skip
# A quarter of it: eight of its layers.
MISTRAL_2B = {**MISTRAL_7B, "num_hidden_layers": 8}
OPT_1B: Mapping[str, Any] = {
    "model_type": "opt", "hidden_size": 2048, "ffn_dim": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
    "vocab_size": 50272, "word_embed_proj_dim": 2048, "max_position_embeddings": 2048,
}  # fmt: skip
# 28 million parameters, and 56 with Llama 2's vocabulary.
LLAMA_28M: Mapping[str, Any] = {
    **TINY, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 4, "vocab_size": 4096, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_56M = {**LLAMA_28M, "vocab_size": 32000}
# 57 million parameters, and few tokens: weights and what becomes of them are what counts.
LLAMA_57M = {**LLAMA_28M, "hidden_size": 768, "intermediate_size": 2048}
OPT_34M: Mapping[str, Any] = {
    **OPT_1B, "hidden_size": 512, "ffn_dim": 2048, "num_hidden_layers": 8, "num_attention_heads": 8,
    "vocab_size": 16000, "word_embed_proj_dim": 512,
}  # fmt: skip

CHECKPOINTED = {"gradient_checkpointing": True}
ROUNDS = {"rounds": 2, "prompts_per_round": 8}


def changed(**sections: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return dict(sections)


GPU_CASES: Mapping[str, Case] = {
    "lora": Case(LLAMA_1B),
    "lora, short": Case(LLAMA_1B, max_length=256),
    "lora, long": Case(LLAMA_1B, max_length=4096, batch_size=1),
    "lora, checkpointed": Case(LLAMA_1B, changes=changed(training=CHECKPOINTED), batch_size=8),
    "lora, orpo": Case(LLAMA_1B, method="orpo"),
    "lora, kto": Case(LLAMA_1B, method="kto"),
    "lora, sft": Case(LLAMA_1B, method="sft"),
    "lora, reward": Case(LLAMA_1B, method="reward"),
    "lora, eager attention": Case(LLAMA_1B, changes=changed(model={"attention": "eager"})),
    "lora, larger reference": Case(LLAMA_1B, max_length=256, reference={"num_hidden_layers": 48}),
    "dora": Case(LLAMA_1B, changes=changed(peft={"use_dora": True})),
    "full, adamw": Case(LLAMA_1B, peft="none", max_length=512),
    "full, adamw, accumulated": Case(
        LLAMA_1B, peft="none", max_length=512, changes=changed(training={"gradient_accumulation": 2})
    ),
    "full, checkpointed, 8-bit adamw": Case(
        LLAMA_1B, peft="none", changes=changed(training={**CHECKPOINTED, "optimizer": "adamw_8bit"})
    ),
    "full, checkpointed, accumulated, 8-bit adamw": Case(
        LLAMA_1B, peft="none", max_length=256,
        changes=changed(training={**CHECKPOINTED, "optimizer": "adamw_8bit", "gradient_accumulation": 2}),
    ),
    "full, sgd": Case(LLAMA_1B, peft="none", max_length=512, changes=changed(training={"optimizer": "sgd"})),
    "full, trdpo": Case(
        LLAMA_1B, peft="none", method="trdpo", max_length=256,
        changes=changed(reference={"kind": "moving", "mixup": 0.6, "sync_steps": 16}),
    ),
    "qlora": Case(MISTRAL_2B, peft="qlora"),
    "qlora, checkpointed, long": Case(
        MISTRAL_2B, peft="qlora", max_length=4096, changes=changed(training=CHECKPOINTED)
    ),
    "qdora, checkpointed": Case(
        MISTRAL_2B, peft="qlora", changes=changed(training=CHECKPOINTED, peft={"use_dora": True})
    ),
    "qlora, 7b, checkpointed": Case(MISTRAL_7B, peft="qlora", changes=changed(training=CHECKPOINTED)),
    "opt, lora": Case(OPT_1B),
    "opt, full, rmsprop": Case(OPT_1B, peft="none", max_length=512, changes=changed(training={"optimizer": "rmsprop"})),
    "lora, rso": Case(LLAMA_1B, method="rso", reward_model={}),
    "full, rso": Case(LLAMA_1B, peft="none", method="rso", max_length=512, reward_model={}),
    "qlora, rso": Case(MISTRAL_2B, peft="qlora", method="rso", reward_model={}),
    "lora, rloo": Case(LLAMA_1B, method="rloo", reward_model={}, changes=changed(method=ROUNDS)),
    "full, online_dpo": Case(
        LLAMA_1B, peft="none", method="online_dpo", max_length=512, reward_model={}, changes=changed(method=ROUNDS)
    ),
}  # fmt: skip

_BF16 = {"precision": "bf16"}
_FEW = {"sampling_batch": 32, "max_new_tokens": 112}
CPU_CASES: Mapping[str, Case] = {
    "lora": Case(LLAMA_28M, max_length=256, batch_size=4),
    "lora, longer": Case(LLAMA_28M, max_length=1024, batch_size=1),
    "lora, checkpointed": Case(LLAMA_28M, max_length=256, batch_size=4, changes=changed(training=CHECKPOINTED)),
    "lora, vocabulary of 32000": Case(LLAMA_56M, max_length=256),
    "lora, bf16": Case(LLAMA_28M, max_length=256, batch_size=4, changes=changed(training=_BF16)),
    "lora, eager attention": Case(LLAMA_28M, max_length=256, changes=changed(model={"attention": "eager"})),
    "lora, orpo": Case(LLAMA_28M, method="orpo", max_length=256),
    "lora, kto": Case(LLAMA_28M, method="kto", max_length=256),
    "lora, sft": Case(LLAMA_28M, method="sft", max_length=256, batch_size=4),
    "lora, reward": Case(LLAMA_28M, method="reward", max_length=256),
    "lora, larger reference": Case(LLAMA_28M, max_length=64, reference={"num_hidden_layers": 32}),
    "dora": Case(LLAMA_28M, max_length=256, changes=changed(peft={"use_dora": True})),
    "qlora": Case(LLAMA_28M, peft="qlora", max_length=256),
    "opt, lora": Case(OPT_34M, max_length=256),
    "full, adamw": Case(LLAMA_57M, peft="none", max_length=128),
    "full, adamw, accumulated": Case(
        LLAMA_57M, peft="none", max_length=128, changes=changed(training={"gradient_accumulation": 2})
    ),
    "full, bf16": Case(LLAMA_28M, peft="none", max_length=256, batch_size=4, changes=changed(training=_BF16)),
    "full, bf16, checkpointed, accumulated, sgd": Case(
        LLAMA_57M, peft="none", max_length=64, batch_size=1,
        changes=changed(training={**_BF16, **CHECKPOINTED, "gradient_accumulation": 2, "optimizer": "sgd"}),
    ),
    "full, trdpo": Case(
        LLAMA_57M, peft="none", method="trdpo", max_length=64,
        changes=changed(reference={"kind": "moving", "mixup": 0.6, "sync_steps": 16}),
    ),
    "full, sdpo": Case(LLAMA_57M, peft="none", method="sdpo", max_length=64, steps=4,
                       changes=changed(method={"stages": 2})),
    "lora, rso": Case(
        LLAMA_28M, method="rso", max_length=128, reward_model={},
        changes=changed(method={**_FEW, "candidates": 8}),
    ),
    "full, rso": Case(
        LLAMA_57M, peft="none", method="rso", max_length=128, reward_model={"num_hidden_layers": 12},
        changes=changed(method={**_FEW, "candidates": 8}),
    ),
    "lora, rloo": Case(
        LLAMA_28M, method="rloo", max_length=128, reward_model={}, changes=changed(method={**_FEW, **ROUNDS})
    ),
    "full, online_dpo": Case(
        LLAMA_57M, peft="none", method="online_dpo", max_length=128, reward_model={},
        changes=changed(method={**_FEW, **ROUNDS}),
    ),
    "full, backtranslation": Case(
        LLAMA_57M, peft="none", method="backtranslation", max_length=128, reward_model={},
        changes=changed(method={"score": "reward_model", "seed_share": 0.5, "sampling_batch": 8}),
    ),
}  # fmt: skip
