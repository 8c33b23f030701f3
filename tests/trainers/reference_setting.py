"""What the tests of references share: a policy, a few pairs, a store of their own, and other models to compare with."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from tests.fakes.tiny_runs import run_config, run_spec
from tests.fakes.untrained import untrained
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data import TokenisedPair, load_pairs, tokenise
from trainers.evaluation.scorer import Scores, score
from trainers.models import Policy, load_base, load_tokenizer, resolve_precision
from trainers.reference import reference_scores
from trainers.reference_models import Keeper, StandIn, Tally

FULL = {"kind": "none"}
NF4 = {"kind": "nf4", "double_quant": True}
THINGS = ["sea", "wood", "rain", "moon", "night", "wind", "river", "stone", "bird", "fire", "snow", "road"]


def write_pairs(path: Path, things: list[str], answer: str = " I like it.") -> Path:
    rows = [
        {"prompt": f"Describe the {thing}:", "chosen": f" The {thing} is calm.{answer}", "rejected": f" No {thing}."}
        for thing in things
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_chats(path: Path) -> Path:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Describe the {thing}"}],
            "chosen": [{"role": "assistant", "content": f"The {thing} is calm."}],
            "rejected": [{"role": "assistant", "content": "No."}],
        }
        for thing in THINGS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def jsonl(path: Path) -> dict[str, Any]:
    fields = {"prompt_field": "prompt", "chosen_field": "chosen", "rejected_field": "rejected"}
    split = {"eval_path": None, "eval_fraction": 0.25, "split_seed": 0}
    return {"kind": "jsonl", "path": str(path), "max_train_samples": None, "max_eval_samples": None, **split, **fields}


class Counting(Keeper):
    """Counts how often a model is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = 0

    def keep(self, name: str, load: Callable[[], Any]) -> Any:
        def counted() -> Any:
            self.loaded += 1
            return load()

        return super().keep(name, counted)


class Setting:
    """A policy of the built-in world's form, a few pairs, and a store of their own."""

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        self.folder, self.base = folder, untrained(cache_dir)
        self.cache = folder / "cache"
        self.pairs = write_pairs(folder / "pairs.jsonl", THINGS)
        self.keeper = Counting()
        self.tallies: dict[str, Tally] = {}

    def config(self, method: str = "dpo", **changes: Any) -> RunConfig:
        given = {"model__path": str(self.base), "data": jsonl(self.pairs), **changes}
        return check(run_config(method, **given))

    def stand_in(self, config: RunConfig) -> StandIn:
        tokenizer = load_tokenizer(config, self.cache)
        return StandIn(None, tokenizer, resolve_precision(config), keeper=self.keeper, tallies=self.tallies)

    def splits(self, config: RunConfig) -> dict[str, list[TokenisedPair]]:
        data, tokenizer = load_pairs(config.data, self.cache), load_tokenizer(config, self.cache)
        length = config.training.max_length
        return {
            "train": tokenise(data.train, tokenizer, length),
            "heldout": tokenise(data.heldout, tokenizer, length),
        }

    def scores(self, config: RunConfig, cache: Path | None = None) -> dict[str, Scores]:
        return reference_scores(config, self.stand_in(config), self.splits(config), cache or self.cache)

    def afresh(self, config: RunConfig) -> dict[str, Scores]:
        """What an empty store leads to."""
        empty = self.folder / "empty"
        shutil.rmtree(empty, ignore_errors=True)
        return self.scores(config, empty)

    @property
    def computed(self) -> int:
        return sum(tally.computed for tally in self.tallies.values())


def same(one: dict[str, Scores], other: dict[str, Scores]) -> bool:
    """Bit by bit."""
    return one.keys() == other.keys() and all(
        torch.equal(getattr(one[name], part), getattr(other[name], part))
        for name in one
        for part in ("chosen_logps", "rejected_logps", "chosen_tokens", "rejected_tokens")
    )


def near(one: dict[str, Scores], other: dict[str, Scores]) -> bool:
    return all(torch.allclose(one[name].chosen_logps, other[name].chosen_logps, atol=1e-3) for name in one)


def asked(policy: Policy) -> list[int]:
    """Grows with each forward pass of the policy."""
    passes: list[int] = []
    policy.model.register_forward_hook(lambda *_: passes.append(1))
    return passes


def changed_copy(model: Path, folder: Path) -> Path:
    """Another model of the same size and times."""
    shutil.copytree(model, folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.5
    save_file(weights, path, metadata={"format": "pt"})
    times = (model / "model.safetensors").stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return folder


def adapter_of(base: Path, config: RunConfig, folder: Path) -> Path:
    """An adapter that has learnt something."""
    model = load_base(config, str(base), None, folder)
    torch.manual_seed(5)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def alone(here: Setting, model: Any) -> dict[str, Scores]:
    config = here.config()
    return {name: score(model, pairs, 16, 0) for name, pairs in here.splits(config).items()}


def finished_run(here: Setting, what: str) -> Path:
    """The folder of a run, with what it has left."""
    run = here.folder / "run"
    spec = run_spec(run, here.cache, here.config().model_dump(by_alias=True))
    spec.write()
    if what == "adapter":
        adapter_of(here.base, here.config(), spec.folder.adapter)
    elif what == "model":
        changed_copy(here.base, spec.folder.model)
    elif what == "checkpoint":
        adapter_of(here.base, here.config(), spec.folder.checkpoints / "checkpoint-7")
        (spec.folder.checkpoints / "checkpoint-7" / "WHOLE").touch()
        (spec.folder.checkpoints / "checkpoint-9").mkdir()
    return run


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


def specs(here: Setting, *configs: RunConfig) -> list[Any]:
    made = [
        run_spec(here.folder / "runs" / str(number), here.cache, config.model_dump(by_alias=True))
        for number, config in enumerate(configs)
    ]
    for spec in made:
        spec.write()
    return made
