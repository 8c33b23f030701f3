"""Toy models whose every number can be worked out by hand: a bandit's softmax policy, and a small random Llama.

`builtin:bandit/0/0/-1.5` -> a folder with a Llama of no layers that says action c with probability softmax(0, 0, -1.5),
whatever came before; `builtin:random-llama/3` -> a folder with a Llama of 32 tokens, its weights drawn with seed 3.
"""

import math
from functools import partial
from importlib.metadata import version
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from trainers.errors import InvalidInput
from trainers.world_build import quiet
from trainers.world_cache import built_once

BANDIT, RANDOM_LLAMA = "builtin:bandit", "builtin:random-llama"
FORMS = f"{BANDIT}/LOGIT/LOGIT/... (the starting logit of each action), {RANDOM_LLAMA} or {RANDOM_LLAMA}/SEED"
RANDOM_LLAMA_TOKENS = 32
# Ten times what is usual, for so narrow a model: its layers matter from the first step.
RANDOM_LLAMA_STD = 0.2


def is_toy(path: str) -> bool:
    """Whether the path asks for a model of this file; what follows the name may still be wrong."""
    return path.split("/")[0] in (BANDIT, RANDOM_LLAMA)


def actions(path: str) -> int:
    """How many tokens the model knows. Raises InvalidInput where the path is malformed."""
    if path.startswith(BANDIT):
        return len(_logits(path))
    _seed(path)
    return RANDOM_LLAMA_TOKENS


def folder(path: str, cache_dir: Path) -> Path:
    """Folder of the model for AutoModelForCausalLM and AutoTokenizer, made at the first call.

    Raises InvalidInput where the path is malformed, or cache_dir cannot be written.
    """
    # Floats as Python writes them, so that 0 and 0.0 are one model.
    if path.startswith(BANDIT):
        logits = _logits(path)
        name, build = "bandit_" + "_".join(map(repr, logits)), partial(_build_bandit, logits=logits)
    else:
        seed = _seed(path)
        name, build = f"random-llama_{seed}_{RANDOM_LLAMA_STD}", partial(_build_random_llama, seed=seed)
    made_by = f"{version('torch')}_{version('transformers')}"
    return built_once(cache_dir / "toys", f"{name}_{made_by}", build)


def _logits(path: str) -> tuple[float, ...]:
    try:
        logits = tuple(map(float, path.split("/")[1:]))
    except ValueError:
        logits = ()
    if not 2 <= len(logits) <= len(ascii_lowercase) or not all(map(math.isfinite, logits)):
        raise InvalidInput([
            f"model.path={path}: a bandit has 2 to {len(ascii_lowercase)} actions, each with a finite logit: "
            f"{BANDIT}/0/0/0 has three that are alike"
        ])  # fmt: skip
    return logits


def _seed(path: str) -> int:
    _, *rest = path.split("/")
    if len(rest) > 1 or not all(text.isascii() and text.isdigit() for text in rest):
        raise InvalidInput(
            [f"model.path={path}: valid are {RANDOM_LLAMA}, and {RANDOM_LLAMA}/SEED with a whole number"]
        )
    return int(rest[0]) if rest else 0


def _build_bandit(folder: Path, logits: tuple[float, ...]) -> None:
    """Embeddings of ones leave the normalisation as ones, so that logit i is the sum of the head's row i."""
    import torch

    model = _llama(vocab_size=len(logits), hidden_size=2, intermediate_size=2, num_hidden_layers=0,
                   num_attention_heads=1, rms_norm_eps=0.0)  # fmt: skip
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(1.0)
        model.lm_head.weight[:] = torch.tensor(logits)[:, None] / 2
    _save(model, list(ascii_lowercase[: len(logits)]), folder)


def _build_random_llama(folder: Path, seed: int) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = _llama(vocab_size=RANDOM_LLAMA_TOKENS, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                       num_attention_heads=2, initializer_range=RANDOM_LLAMA_STD)  # fmt: skip
    _save(model, [f"t{token}" for token in range(RANDOM_LLAMA_TOKENS)], folder)


def _llama(**sizes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    # Padding is token 0, which is an answer too: masks tell them apart.
    fixed = {"tie_word_embeddings": False, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(**sizes, **fixed))


def _save(model: Any, words: list[str], folder: Path) -> None:
    """With a tokenizer that only names the tokens: the pairs for these models are token ids."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(WordLevel({word: token for token, word in enumerate(words)}, unk_token=words[0]))
    with quiet():
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=core, pad_token=words[0], eos_token=words[0]).save_pretrained(folder)
