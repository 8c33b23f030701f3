"""The built-in world: a starting policy, preference pairs and their true reward, all made here in seconds on one core.

`policy(cache_dir)` -> a folder for AutoModelForCausalLM and AutoTokenizer; `toy_pairs(data, cache_dir)` -> train and
held-out pairs such as Pair("Describe the sea today:", " The sea is calm.", " I fear it."); `gold_reward` is what their
labels were drawn from. See `trainers/world_text.py` for the language.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from trainers import world_text
from trainers.data_config import Toy
from trainers.data_pairs import Pair
from trainers.errors import InvalidInput
from trainers.world_build import PAIRS, RECIPE, build_pairs, build_policy
from trainers.world_cache import built_once, fingerprint
from trainers.world_text import all_prompts, gold_reward

__all__ = ["DEFAULT_EVAL", "DEFAULT_TRAIN", "gold_reward", "policy", "toy_pairs"]

# Raise it when what is built changes and nothing in the recipe's key says so.
VERSION = 2
DEFAULT_TRAIN, DEFAULT_EVAL = 512, 256
# Pairs made at a time: asking for more later leaves the first ones as they were.
BLOCK = 128


def policy(cache_dir: Path, seed: int = 0) -> Path:
    """Folder of the starting policy of that seed: a byte-level Llama that writes `world_text`'s language.

    Built in some seconds at the first call, found after that. Raises InvalidInput where cache_dir cannot be written.
    """
    return built_once(cache_dir / "world", f"policy-{_key(seed=seed)}", lambda folder: build_policy(folder, seed))


def toy_pairs(data: Toy, cache_dir: Path) -> tuple[list[Pair], list[Pair]]:
    """Train and held-out pairs of different prompts: as many as max_train_samples (null: 512), max_eval_samples (256).

    Answers are sampled from `policy(cache_dir)` at temperature 1; which one is chosen is drawn by Bradley-Terry on
    `gold_reward`. Raises InvalidInput where more pairs are asked for than the language has prompts (4320).
    """
    train = data.max_train_samples or DEFAULT_TRAIN
    heldout = data.max_eval_samples or DEFAULT_EVAL
    prompts = all_prompts()
    if train + heldout > len(prompts):
        raise InvalidInput([
            f"data.max_train_samples + data.max_eval_samples = {train} + {heldout}: "
            f"the built-in world has {len(prompts)} prompts, and each stands in one pair"
        ])  # fmt: skip
    Random(data.seed).shuffle(prompts)  # noqa: S311
    # Held-out prompts come from the end of the list, so that asking for more of one half leaves the other alone.
    return (
        list(islice(_blocks(data.seed, "train", prompts, cache_dir), train)),
        list(islice(_blocks(data.seed, "eval", prompts[::-1], cache_dir), heldout)),
    )


def _blocks(seed: int, half: str, prompts: list[str], cache_dir: Path) -> Iterator[Pair]:
    source = policy(cache_dir)
    for start in range(0, len(prompts), BLOCK):
        name = f"pairs-{_key(seed=seed, half=half, start=start, policy=fingerprint(source))}"
        build = partial(build_pairs, policy=source, prompts=prompts[start : start + BLOCK], seed=name)
        folder = built_once(cache_dir / "world", name, build)
        for line in (folder / PAIRS).read_text(encoding="utf-8").splitlines():
            yield Pair(**json.loads(line))


def _key(**what: Any) -> str:
    """Changes with everything that changes what is built."""
    recipe = {
        "version": VERSION,
        "recipe": asdict(RECIPE),
        "language": hashlib.sha256(Path(world_text.__file__).read_bytes()).hexdigest(),
        "block": BLOCK,
        **{name: version(name) for name in ("torch", "transformers", "tokenizers")},
        **what,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
