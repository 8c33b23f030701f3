"""Makes the built-in world: trains the starting policy on the language, samples answers from it, and labels them.

`build_policy(folder, seed=0)` fills `folder` with config.json, model.safetensors, tokenizer.json and their like;
`build_pairs(folder, ...)` with pairs.jsonl: {"prompt": "Recall the sea:", "chosen": " I love it.", "rejected": ...}.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from trainers.chat_templates import TEMPLATES
from trainers.world_text import all_prompts, gold_reward, write_answer

if TYPE_CHECKING:
    import torch

# Ids 0 to 255 are the bytes themselves.
PAD_ID, EOS_ID = 256, 257
PAD, EOS = "<|pad|>", "<|eos|>"
PAIRS = "pairs.jsonl"


@dataclass(frozen=True)
class Recipe:
    """Sizes of the starting policy, of its training and of the pairs."""

    hidden: int = 64
    inner: int = 192
    layers: int = 2
    heads: int = 4
    context: int = 512
    # Ten times what is usual, for so narrow a model: it learns the language in a quarter of the steps.
    initial_std: float = 0.1
    steps: int = 450
    batch: int = 8
    learning_rate: float = 5e-3
    # Bytes after which sampling an answer stops.
    longest_answer: int = 96
    # Label noise: P(a preferred) = sigmoid(scale * (reward of a - reward of b)).
    label_scale: float = 0.7


RECIPE = Recipe()


def build_policy(folder: Path, seed: int, steps: int = RECIPE.steps) -> None:
    """Train the starting policy, and save it with its tokenizer. The caller's random numbers stay as they were.

    `steps=0` leaves it as it is drawn: of the same form, and without its language.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = _new_model()
    _train(model, Random(seed), steps)  # noqa: S311
    with quiet():
        model.save_pretrained(folder)
        _new_tokenizer().save_pretrained(folder)


def build_pairs(folder: Path, *, policy: Path, prompts: Sequence[str], seed: str) -> None:
    """Two different answers of the policy to each prompt, labelled with the noise of Bradley and Terry's model."""
    random = Random(seed)  # noqa: S311
    with (folder / PAIRS).open("w", encoding="utf-8") as file:
        for prompt, (first, second) in zip(prompts, _two_answers(policy, prompts, random), strict=True):
            margin = gold_reward(prompt, first) - gold_reward(prompt, second)
            wins = random.random() < 1 / (1 + math.exp(-RECIPE.label_scale * margin))
            chosen, rejected = (first, second) if wins else (second, first)
            file.write(json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected}) + "\n")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars, which a folder of half a megabyte does not need."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _new_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=EOS_ID + 1,
        hidden_size=RECIPE.hidden,
        intermediate_size=RECIPE.inner,
        num_hidden_layers=RECIPE.layers,
        num_attention_heads=RECIPE.heads,
        num_key_value_heads=RECIPE.heads,
        max_position_embeddings=RECIPE.context,
        initializer_range=RECIPE.initial_std,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        bos_token_id=EOS_ID,
        eos_token_id=EOS_ID,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def _new_tokenizer() -> Any:
    """Byte b has id b: GPT-2's byte-level alphabet in byte order, and no merges."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(BPE(vocab={_letter(byte): byte for byte in range(256)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([PAD, EOS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=EOS,
        eos_token=EOS,
        model_max_length=RECIPE.context,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        # Plain roles, so that chat data too work with the built-in model.
        chat_template=TEMPLATES["builtin:plain"],
    )


def _letter(byte: int) -> str:
    """The printable character by which byte-level tokenizers write a byte (openai/gpt-2, `bytes_to_unicode`)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    return chr(256 + [other for other in range(256) if other not in printable].index(byte))


def _train(model: Any, random: Random, steps: int) -> None:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=RECIPE.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _learning_rate)
    prompts = all_prompts()
    for _ in range(steps):
        ids, labels = _batch(prompts, random)
        model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def _learning_rate(step: int) -> float:
    """Up for 20 steps, then level, then down to 0 over the last four fifths of training."""
    return min(1.0, (step + 1) / 20, (RECIPE.steps - step) / (0.8 * RECIPE.steps))


def _batch(prompts: Sequence[str], random: Random) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Token ids and labels, each (batch, longest): padded at the right, the loss on answers only."""
    import torch

    rows: list[tuple[bytes, list[int]]] = []
    for _ in range(RECIPE.batch):
        prompt = random.choice(prompts)
        rows.append((prompt.encode(), [*write_answer(random, prompt).encode(), EOS_ID]))
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((RECIPE.batch, longest), PAD_ID)
    labels = torch.full((RECIPE.batch, longest), -100)
    for row, (asked, answer) in enumerate(rows):
        end = len(asked) + len(answer)
        ids[row, :end] = torch.tensor([*asked, *answer])
        labels[row, len(asked) : end] = torch.tensor(answer)
    return ids, labels


def _two_answers(policy: Path, prompts: Sequence[str], random: Random) -> list[tuple[str, str]]:
    from transformers import AutoModelForCausalLM

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(policy, local_files_only=True).eval()
    answers: list[list[str]] = [[] for _ in prompts]
    while short := [index for index, found in enumerate(answers) if len(found) < 2]:
        wanted = [index for index in short for _ in range(2 - len(answers[index]))]
        sampled = sample(model, [prompts[index].encode() for index in wanted], random.getrandbits(63))
        for index, answer in zip(wanted, map(text, sampled), strict=True):
            if answer.strip() and answer not in answers[index]:
                answers[index].append(answer)
    return [(first, second) for first, second in answers]


def sample(model: Any, rows: Sequence[Sequence[int]], seed: int) -> list[list[int]]:
    """Token ids of one answer to each prompt (ids, or bytes) at temperature 1; what ended has its end of text."""
    import torch

    device = next(model.parameters()).device
    longest = max(map(len, rows))
    ids = torch.tensor([[PAD_ID] * (longest - len(row)) + list(row) for row in rows])
    generator = torch.Generator().manual_seed(seed)
    written: list[torch.Tensor] = []
    step, mask, cache = ids, (ids != PAD_ID).long(), None
    running = torch.ones(len(rows), dtype=torch.bool)
    # Not inference_mode: what a model caches there cannot be trained with.
    with torch.no_grad():
        while running.any() and len(written) < RECIPE.longest_answer:
            out = model(
                input_ids=step.to(device),
                attention_mask=mask.to(device),
                position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, -step.shape[1] :].to(device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            logits = out.logits[:, -1].cpu()
            logits[:, PAD_ID] = -math.inf
            step = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            running &= step[:, 0] != EOS_ID
            written.append(step)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
    return [_ended(row) for row in torch.cat(written, dim=1).tolist()]


def _ended(ids: list[int]) -> list[int]:
    return ids[: ids.index(EOS_ID) + 1] if EOS_ID in ids else ids


def text(ids: Sequence[int]) -> str:
    """What an answer says, up to its end."""
    end = ids.index(EOS_ID) if EOS_ID in ids else len(ids)
    # A policy may write bytes that are no UTF-8.
    return bytes(ids[:end]).decode("utf-8", "replace")
