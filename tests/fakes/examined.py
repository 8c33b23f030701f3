"""Policies to examine: the built-in world's after a push or a change, and what they are examined on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.fakes.small_configs import run_config
from tests.fakes.tiny_runs import bandit
from tests.fakes.untrained import untrained
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data import load_pairs, tokenise
from trainers.distributed import ALONE
from trainers.evaluation.examine import Subject
from trainers.evaluation.pairs import HeldOut
from trainers.models import Policy, load_policy
from trainers.world_build import EOS_ID

BOUNDS = {"repetition": 0.5, "ended": 0.1, "kl_per_token": 2.0, "empty": 0.5}


def evaluated(samples: int = 8, **changes: Any) -> dict[str, Any]:
    """The `evaluation` section of a small examination."""
    small = {"every": 0, "batch_size": 4, "samples": samples, "sampling_batch": 8, "max_new_tokens": 60}
    return {**small, "degenerate": BOUNDS, **changes}


def examined_config(**changes: Any) -> RunConfig:
    return check(run_config(**{"evaluation": evaluated(), **changes}))


def subject(
    config: RunConfig,
    cache_dir: Path,
    policy: Policy | None = None,
    heed: Callable[[], None] = lambda: None,
) -> Subject:
    """The policy, or that of the config before training, with the config's held-out pairs."""
    policy = policy or load_policy(config, cache_dir)
    texts = load_pairs(config.data, cache_dir).heldout  # type: ignore[arg-type]
    held = HeldOut(tokenise(texts, policy.tokenizer, config.training.max_length), texts)
    return Subject(config, policy, held, cache_dir, heed, ALONE)


def pushed(policy: Policy, by: float = 0.02) -> Policy:
    """A policy that training has moved, as it were: its adapter, or all of it."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(by)
            elif weight.requires_grad and weight.dim() == 2 and "lora" not in name:
                weight.add_(by * torch.randn_like(weight))
    return policy


def write_chats(path: Path, count: int = 40) -> Path:
    """Pairs of chat messages, each prompt twice."""
    with path.open("w") as file:
        for number in range(count):
            prompt = [{"role": "user", "content": f"Say {number // 2}"}]
            answers = (f"yes {number}", f"no {number}, I would not")
            chosen, rejected = ([{"role": "assistant", "content": text}] for text in answers)
            file.write(json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected}) + "\n")
    return path


def mute(folder: Path, cache_dir: Path) -> Path:
    """A model of the built-in world's tokens that ends every answer at once."""
    model = bandit([20.0 if token == EOS_ID else 0.0 for token in range(EOS_ID + 1)]).model
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(untrained(cache_dir)).save_pretrained(folder)
    return folder


def reversed_vocabulary(model: Path, folder: Path) -> Path:
    """The same model with its 256 bytes numbered the other way round: of texts it says the same."""
    shutil.copytree(model, folder)
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text())
    told["model"]["vocab"] = {letter: 255 - number for letter, number in told["model"]["vocab"].items()}
    path.write_text(json.dumps(told))
    weights = load_file(folder / "model.safetensors")
    order = torch.cat([torch.arange(255, -1, -1), torch.arange(256, 258)])
    name = "model.embed_tokens.weight"
    weights[name] = weights[name][order].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
