"""How far the memory that `plan` tells is from what a GPU measures, for models of known shapes with random weights.

    python -m benchmarks.memory [--only lora full] [--smoke]

Each case trains for three steps in a process of its own, through the product's own loading, scoring and training, on
pairs as long as training.max_length allows. Measured is the most that torch's allocator had given out, and what the
GPU's driver says is used beside it (the context). Writes benchmarks/results/memory.{json,md}; needs a GPU, and without
one measures nothing and writes nothing. The bar: within 20 %.
"""

import argparse
import gc
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import machine, markdown
from benchmarks.work import ROOT

RESULTS = Path(__file__).with_name("results")
BAR = 0.20
STEPS = 3
NEEDS_GPU = "benchmarks.memory compares the estimate with a GPU's own count: it needs a GPU, and torch finds none here"

LLAMA_1B = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True,
}  # fmt: skip
# A quarter of Mistral 7B: its layers, eight of them.
MISTRAL_2B = {
    "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 8,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "sliding_window": 4096,
}  # fmt: skip
OPT_1B = {
    "model_type": "opt", "hidden_size": 2048, "ffn_dim": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
    "vocab_size": 50272, "word_embed_proj_dim": 2048, "max_position_embeddings": 2048,
}  # fmt: skip
TINY = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": True,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A shape and how it is trained; `changes` are of sections of the config, `peft={"use_dora": True}`."""

    shape: Mapping[str, Any]
    peft: str = "lora"
    method: str = "dpo"
    max_length: int = 1024
    batch_size: int = 2
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def small(self) -> "Case":
        """The same on a tiny shape, to see that it runs at all."""
        return Case(TINY, self.peft, self.method, 64, self.batch_size, self.changes)


CHECKPOINTED = {"training": {"gradient_checkpointing": True}}
CASES: Mapping[str, Case] = {
    "lora": Case(LLAMA_1B),
    "lora, checkpointed": Case(LLAMA_1B, changes=CHECKPOINTED, batch_size=8),
    "lora, orpo": Case(LLAMA_1B, method="orpo"),
    "lora, eager attention": Case(LLAMA_1B, changes={"model": {"attention": "eager"}}),
    "dora": Case(LLAMA_1B, changes={"peft": {"use_dora": True}}),
    "full, adamw": Case(LLAMA_1B, peft="none", max_length=512),
    "full, adamw, accumulated": Case(
        LLAMA_1B, peft="none", max_length=512, changes={"training": {"gradient_accumulation": 2}}
    ),
    "full, checkpointed, 8-bit adamw": Case(
        LLAMA_1B, peft="none", changes={"training": {"gradient_checkpointing": True, "optimizer": "adamw_8bit"}}
    ),
    "full, sgd": Case(LLAMA_1B, peft="none", max_length=512, changes={"training": {"optimizer": "sgd"}}),
    "qlora": Case(MISTRAL_2B, peft="qlora"),
    "qlora, checkpointed, long": Case(MISTRAL_2B, peft="qlora", max_length=4096, changes=CHECKPOINTED),
    "qdora, checkpointed": Case(MISTRAL_2B, peft="qlora", changes={**CHECKPOINTED, "peft": {"use_dora": True}}),
    "opt, lora": Case(OPT_1B),
    "opt, full, rmsprop": Case(OPT_1B, peft="none", max_length=512, changes={"training": {"optimizer": "rmsprop"}}),
}


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), help="some cases")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, with or without a GPU: measures nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case is not None:
        case = CASES[given.case].small() if given.smoke else CASES[given.case]
        print(json.dumps(asdict(carry_out(case))))
        return
    if not given.smoke and not torch.cuda.is_available():
        raise SystemExit(NEEDS_GPU)
    found = {name: in_own_process(name, smoke=given.smoke) for name in given.only or CASES}
    if given.smoke:
        print(f"{len(found)} cases ran on tiny shapes; nothing was measured")
        return
    report(found, given.results)


@dataclass(frozen=True)
class Measured:
    """Bytes: the estimate, what the allocator gave out at most, and what the driver counts beside the allocator."""

    estimated: int
    allocated: int
    context: int
    parts: Mapping[str, int]
    peak: str

    @property
    def off(self) -> float:
        """By which share of what was measured the estimate is too high."""
        return self.estimated / (self.allocated + self.context) - 1


def in_own_process(name: str, *, smoke: bool) -> Measured:
    """Raises SystemExit with the end of what the case printed where it fails."""
    command = [sys.executable, "-m", "benchmarks.memory", "--case", name, *(["--smoke"] if smoke else [])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{name}:\n{done.stderr[-3000:]}")
    measured = Measured(**json.loads(done.stdout.splitlines()[-1]))
    print(f"{name}: estimated {measured.estimated / 1e9:.1f} GB", file=sys.stderr)
    return measured


def carry_out(case: Case) -> Measured:
    """Load, score, train and score again, as a run does; then ask torch and the driver."""
    import torch

    from trainers import trl_engine
    from trainers.config_check import check
    from trainers.footprint import estimate
    from trainers.models import load_policy
    from trainers.quiet import be_quiet
    from trainers.reference import reference_scores

    be_quiet()
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        save(case.shape, folder / "model")
        config = check(sections(case, folder / "model"))
        needed = estimate(config)
        assert needed is not None
        policy = load_policy(config, folder)
        pairs = made_pairs(case)
        reference = reference_scores(config, policy, {"train": pairs}, folder)["train"]
        training = trl_engine.Training(config, policy, pairs, reference, folder / "checkpoints", Silent())
        trl_engine.train(training)
        reference_scores(config, policy, {"train": pairs}, folder)
    if not torch.cuda.is_available():
        return Measured(needed.total, 0, 0, {}, needed.peak)
    free, total = torch.cuda.mem_get_info()
    return Measured(
        estimated=needed.total,
        allocated=torch.cuda.max_memory_allocated(),
        context=total - free - torch.cuda.memory_reserved(),
        parts={name: value for name, value in vars(needed).items() if isinstance(value, int) and value > 1},
        peak=needed.peak,
    )


class Silent:
    """Watches a training and says nothing."""

    def step(self, *_told: object) -> bool:
        return False

    def logged(self, *_told: object) -> bool:
        return False


def save(shape: Mapping[str, Any], folder: Path) -> None:
    """A checkpoint of random weights in bf16, and a tokenizer that is never asked."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from trainers.world_build import _new_tokenizer

    sizes = {name: value for name, value in shape.items() if name != "model_type"}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(shape["model_type"], **sizes, **ids), dtype=torch.bfloat16
        )
    model.to("cpu").save_pretrained(folder)
    _new_tokenizer().save_pretrained(folder)
    del model
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def sections(case: Case, model: Path) -> dict[str, Any]:
    """The config of a run, from the presets of conf/."""
    found = {
        "method": preset(f"method/{case.method}"),
        "model": {**preset("model/hf"), "name": "random", "path": str(model)},
        "reference": {"kind": "self"},
        "data": preset("data/toy"),
        "quantization": preset("quantization/nf4" if case.peft == "qlora" else "quantization/none"),
        "peft": preset("peft/none" if case.peft == "none" else "peft/lora"),
        "training": {**preset("training/default"), "max_steps": STEPS, "batch_size": case.batch_size,
                     "max_length": case.max_length, "save_steps": 0},
        "evaluation": preset("evaluation/default"),
        "tracking": {"mode": "disabled", "project": "p", "entity": None, "base_url": None},
        "seed": 0,
    }  # fmt: skip
    for section, values in case.changes.items():
        found[section] = {**found[section], **values}
    return found


def preset(name: str) -> dict[str, Any]:
    values = yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text())
    values.pop("defaults", None)
    return dict(values)


def made_pairs(case: Case) -> "Sequence[Any]":
    """Pairs of random tokens for all steps: a short prompt, one answer as long as there is room for, one shorter."""
    from trainers.data import TokenisedPair

    draw = random.Random(0)
    prompt = case.max_length // 8
    room = case.max_length - prompt

    def tokens(count: int) -> list[int]:
        return [draw.randrange(2, 250) for _ in range(count)]

    accumulated = case.changes.get("training", {}).get("gradient_accumulation", 1)
    return [
        TokenisedPair(tokens(prompt), tokens(room), tokens(draw.randint(room // 2, room)), truncated=False)
        for _ in range(case.batch_size * accumulated * STEPS)
    ]


def report(found: Mapping[str, Measured], results: Path) -> None:
    import torch

    gb = 1e9
    rows = [
        [
            name, f"{one.estimated / gb:.2f}", f"{(one.allocated + one.context) / gb:.2f}", f"{one.context / gb:.2f}",
            f"{one.off:+.0%}", "yes" if abs(one.off) <= BAR else "NO", one.peak,
        ]
        for name, one in found.items()
    ]  # fmt: skip
    title = ["case", "estimated GB", "measured GB", "of it context", "off", f"within {BAR:.0%}", "estimated peak in"]
    told = f"{markdown(title, rows)}\n{torch.cuda.get_device_name()}, torch {torch.__version__}\n"
    results.mkdir(parents=True, exist_ok=True)
    (results / "memory.md").write_text(told)
    numbers = {name: {**asdict(one), "off": one.off} for name, one in found.items()}
    (results / "memory.json").write_text(json.dumps({"machine": machine(), "cases": numbers}, indent=2) + "\n")
    print(told)
    if any(abs(one.off) > BAR for one in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
