"""What forward passes without gradients take: by hand, and beside what torch's allocator gives out for small models."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, set_seed

from benchmarks.meters import peak_of
from trainers.activations import Step, copied_weights
from trainers.evaluation.scorer import score_answers
from trainers.generate import Draw, Sampling, sample
from trainers.models import Policy
from trainers.parameters import Shape, shape
from trainers.passes import cached, rating, sampling, scoring
from trainers.reward_model import rate
from trainers.world_build import _new_tokenizer

BF16, FP32 = torch.bfloat16, torch.float32
SIZES = {
    "mistral": {"hidden_size": 256, "intermediate_size": 704, "num_attention_heads": 8, "num_key_value_heads": 4},
    "opt": {"hidden_size": 256, "ffn_dim": 1024, "num_attention_heads": 8, "word_embed_proj_dim": 256, "dropout": 0.0},
}
# How weights are kept, what matrices are multiplied in, and whether there is an adapter.
WAYS: dict[str, tuple[torch.dtype, torch.dtype | None, bool]] = {
    "full in fp32": (FP32, None, False),
    "full in bf16": (FP32, BF16, False),
    "lora in fp32": (FP32, None, True),
    "lora in bf16": (BF16, BF16, True),
}


def step(**changes: Any) -> Step:
    plain: dict[str, Any] = {
        "sequences": 8, "tokens": 1024, "compute": 2, "stream": 2, "gpu": True, "attention": "sdpa",
        "adapted": frozenset(), "mixed": True,
    }  # fmt: skip
    return Step(**{**plain, **changes})


def of_7b() -> Shape:
    found = shape({
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
    })  # fmt: skip
    assert found is not None
    return found


def test_keys_and_values_are_of_all_layers_and_shared_heads() -> None:
    """8 sequences of 1024 tokens, 32 layers, 8 heads of 128: a key and a value of 2 bytes each make 1 GiB."""
    assert cached(of_7b(), step(), 1024) == 2**30


def test_keys_and_values_stay_in_the_wider_dtype_of_the_weights() -> None:
    """Among weights in fp32 keys are turned by fp32 angles, and values kept beside them."""
    assert cached(of_7b(), step(stream=4), 1024) == 2**31


def test_the_last_token_is_drawn_beside_a_whole_cache_and_from_scores_in_double_precision() -> None:
    """Of the cache of 1 GiB one layer's keys are copied; 24 bytes a word and answer are drawn from."""
    cache, besides = sampling(of_7b(), step(), prompt=24)
    assert cache == 2**30
    assert besides == 2**30 // 64 + 8 * 32000 * 24


def test_long_prompts_take_most_when_they_go_through() -> None:
    """8 x 1014 tokens: four times 4096 and three times 14336 numbers, a mask of 1024 as it is and in 16 bits."""
    cache, besides = sampling(of_7b(), step(), prompt=1014)
    tokens = 8 * 1014
    assert cache == cached(of_7b(), step(), 1014)
    assert besides == tokens * (4 * 4096 * 2 + 3 * 14336 * 2 + 1024 * 3)


def model_of(kind: str, way: str, task: Any = AutoModelForCausalLM, **changes: Any) -> tuple[Any, Shape]:
    set_seed(0)
    dtype, _, adapter = WAYS[way]
    config = AutoConfig.for_model(
        kind, **{**SIZES[kind], "num_hidden_layers": 4, "vocab_size": 512, "max_position_embeddings": 512, **changes},
        pad_token_id=0,
    )  # fmt: skip
    model = task.from_config(config, dtype=dtype, attn_implementation="sdpa")
    found = shape(config.to_dict())
    assert found is not None
    if adapter:
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    return model.eval(), found


def on_the_cpu(found: Shape, way: str, sequences: int, tokens: int) -> Step:
    dtype, cast, adapter = WAYS[way]
    names = frozenset(linear.name for linear in found.linears) if adapter else frozenset()
    return step(
        sequences=sequences, tokens=tokens, compute=(cast or dtype).itemsize, stream=dtype.itemsize, gpu=False,
        adapted=names, rank=4 if adapter else 0, mixed=cast is not None,
    )  # fmt: skip


def texts(count: int, longest: int) -> list[list[int]]:
    """Of lengths that need padding."""
    return [[97] * (longest - number % 2) for number in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SIZES)
def test_scoring_takes_what_it_is_said_to(kind: str, way: str) -> None:
    model, found = model_of(kind, way)
    answers = [(ids[:64], ids[64:]) for ids in texts(16, 128)]
    cast = WAYS[way][1]
    measured = peak_of(lambda: score_answers(model, answers, 16, 0, autocast=cast))
    step = on_the_cpu(found, way, 16, 128)
    assert scoring(found, step) + copied_weights(found, step, head=True) == pytest.approx(measured, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, 8])
def test_rating_keeps_keys_and_values_of_all_layers(layers: int) -> None:
    way = "full in fp32"
    model, found = model_of("mistral", way, AutoModelForSequenceClassification, num_labels=1, num_hidden_layers=layers)
    model.requires_grad_(False)
    measured = peak_of(lambda: rate(model, texts(16, 128), 16, 0))
    assert sum(rating(found, on_the_cpu(found, way, 16, 128))) == pytest.approx(measured, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("prompt", "new"), [(64, 8), (8, 96)], ids=["long prompts", "long answers"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SIZES)
def test_sampling_takes_what_it_is_said_to(kind: str, way: str, prompt: int, new: int) -> None:
    model, found = model_of(kind, way)
    policy = Policy(model, _new_tokenizer(), "fp32" if WAYS[way][1] is None else "bf16")
    draws = [Draw(ids, (0, 0, number, 0), 400) for number, ids in enumerate(texts(32, prompt))]
    measured = peak_of(lambda: sample(policy, draws, Sampling(new, 1.0, 32)))
    step = on_the_cpu(found, way, 32, prompt + new)
    estimated = sum(sampling(found, step, prompt)) + copied_weights(found, step, head=True)
    assert estimated == pytest.approx(measured, rel=0.15)
