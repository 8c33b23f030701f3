"""The work that every tool is given: a small Llama, its byte-level tokenizer, pairs to train on and pairs held out.

    prepare(folder, train_pairs=256, heldout_pairs=64)  ->  folder/{model/, train.jsonl, heldout.jsonl}

The model has random weights: what is timed is orchestration around a real, small DPO run, not what it learns.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTRUCTIONS = ROOT.parent / "shared" / "data" / "instructions.jsonl"
FIELDS = ("prompt", "chosen", "rejected")
MAX_CHARACTERS = 400
# training.max_length of conf/training/default.yaml.
MAX_LENGTH = 512
Pair = dict[str, str]
BETAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def prepare(folder: Path, train_pairs: int, heldout_pairs: int) -> str:
    """Write model and data; returns where the pairs come from, for the report."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model" / "config.json").exists():
        save_model(folder / "model")
    source = INSTRUCTIONS if INSTRUCTIONS.exists() else None
    pairs = short_pairs(source) if source else made_pairs()
    for name, count in (("train", train_pairs), ("heldout", heldout_pairs)):
        lines = [json.dumps(pair) for pair, _ in zip(pairs, range(count), strict=False)]
        if len(lines) < count:
            raise SystemExit(f"benchmarks: asked for {count} pairs for {name}, {source} has {len(lines)} left")
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return source.name if source else "made pairs"


def short_pairs(path: Path) -> Iterator[Pair]:
    with path.open() as lines:
        for line in lines:
            row = json.loads(line)
            pair = {field: row[field] for field in FIELDS}
            if is_short(pair):
                yield pair


def is_short(pair: Pair) -> bool:
    """Each text is, and none needs cutting, which tools do differently; a token is a byte, and one more ends a text."""
    longest = max(len((pair["prompt"] + pair[side]).encode()) for side in ("chosen", "rejected"))
    return max(map(len, pair.values())) < MAX_CHARACTERS and longest + 1 <= MAX_LENGTH


def made_pairs() -> Iterator[Pair]:
    """Endless pairs of about the same lengths as the instructions', for where their file is missing."""
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(500)]

    def text(low: int, high: int) -> str:
        length = draw.randint(low, high)
        return " ".join(draw.choices(words, k=length))[:length]

    while True:
        pair = {"prompt": text(100, 399), "chosen": text(20, 399), "rejected": text(20, 399)}
        if is_short(pair):
            yield pair


def save_model(folder: Path) -> None:
    """A Llama of two layers of width 64, with a token a byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.save_pretrained(folder)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=1024,
        pad_token_id=fast.pad_token_id,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
