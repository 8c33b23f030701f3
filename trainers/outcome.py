"""What a run leaves behind: its weights, why it failed in a sentence, and the versions of what computed it."""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from trainers import distributed
from trainers.config import RunConfig
from trainers.distributed import World
from trainers.errors import InvalidInput
from trainers.files import write_json
from trainers.models import Policy
from trainers.spec import RunFolder
from trainers.weights_folders import BASE_QUANTIZATION


def save(policy: Policy, config: RunConfig, folder: RunFolder) -> None:
    """Keep the trained weights in the run's folder, adapter/ or model/. Raises OSError.

    An adapter that learnt over weights in 4 bits says so beside it: what it adds is meant for these.
    """
    if config.peft.kind == "none":
        policy.model.save_pretrained(folder.model)
        policy.tokenizer.save_pretrained(folder.model)
    else:
        # Embeddings are never trained; finding that out would ask the hub.
        policy.model.save_pretrained(folder.adapter, save_embedding_layers=False)
        if config.quantization.kind == "nf4" and not config.model.prequantized:
            packed = policy.model.config.quantization_config.to_dict()
            write_json(folder.adapter / BASE_QUANTIZATION, packed)
        if policy.task.self_contained:
            policy.tokenizer.save_pretrained(folder.adapter)


def sentence(problem: Exception, world: World) -> str:
    """The problem's type and what it says first."""
    name = type(problem).__name__
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        where = "GPU" if isinstance(problem, torch.OutOfMemoryError) else "machine"
        return f"{name}: the {where}'s memory is full: lower training.batch_size (and raise gradient_accumulation), " \
               "or training.max_length"  # fmt: skip
    if isinstance(problem, InvalidInput):
        return f"{name}: {'; '.join(problem.faults)}"
    lines = str(problem).strip().splitlines()
    if world.shared and distributed.lost_a_rank(problem):
        # What torch says of it is which of its lines noticed first.
        name = distributed.RankLost.__name__
    return f"{name}: {lines[0]}" if lines else name


def versions(config: Mapping[str, Any]) -> dict[str, str]:
    """Of what decides a run's numbers."""
    packages = ["torch", "transformers", "trl", "peft"]
    if "bitsandbytes" in sys.modules and _in_4_bits(config):
        packages.append("bitsandbytes")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in packages}


def _in_4_bits(config: Mapping[str, Any]) -> bool:
    # What failed its check may have any form.
    quantization, model = config.get("quantization"), config.get("model")
    nf4 = isinstance(quantization, Mapping) and quantization.get("kind") == "nf4"
    return nf4 or (isinstance(model, Mapping) and model.get("prequantized") is True)
