"""One run whose memory is measured: a model of known shape and random weights, made pairs, and the product's own run.

carry_out(Case(shape, method="rso")) -> Measured(estimated={"training": ...}, peaks={"training": ...}, ...)
"""

import gc
import json
import random
import string
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.meters import new_meter
from benchmarks.work import ROOT

# Which of the estimate's phases lie in which of a run's, as it reports them.
PHASES: Mapping[str, tuple[str, ...]] = {
    "scoring": ("the reference",),
    "sampling": ("sampling", "rating"),
    "training": ("the forward pass", "the backward pass", "the optimiser's step"),
    "evaluating": ("scoring", "examining"),
}
# Where the reward model is asked after the sampling.
RATED_LATER: Mapping[str, tuple[str, ...]] = {
    **PHASES,
    "scoring": ("the reference", "rating"),
    "sampling": ("sampling",),
}
# The scorer's batches are full, and so are all of a study's.
HELDOUT, EVALUATED = 4, 4

TINY = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A shape and how it is trained; `changes` are of sections of the config, `peft={"use_dora": True}`.

    `reference` and `reward_model` are what another model's shape has otherwise: {"num_hidden_layers": 10}.
    """

    shape: Mapping[str, Any]
    peft: str = "lora"
    method: str = "dpo"
    max_length: int = 1024
    batch_size: int = 2
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: Mapping[str, Any] | None = None
    reward_model: Mapping[str, Any] | None = None
    steps: int = 2
    # Prompts that methods sample answers to.
    prompts: int = 8

    def small(self) -> "Case":
        """The same on a tiny shape, to see that it runs at all."""
        return replace(self, shape=TINY, max_length=64)


@dataclass(frozen=True)
class Measured:
    """Bytes by the run's phases: the estimate without what an allocator loses, and the peak of what was given out.

    `other` is what the estimate counts for libraries and context in every phase, `lost` for the allocator at its peak;
    `beside` is what the meter tells besides.
    """

    estimated: Mapping[str, int]
    peaks: Mapping[str, int]
    other: int
    lost: int
    peak: str
    beside: Mapping[str, int]

    @property
    def off(self) -> float:
        """By which share of what was measured at the run's peak the estimate is too high."""
        return max(self.estimated.values()) / max(self.peaks[phase] for phase in self.estimated) - 1


def estimate_of(case: Case) -> int:
    """Bytes that the run is estimated to take here, without making its model."""
    from trainers.config_check import check
    from trainers.footprint import estimate

    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        for part, shape in _shapes(case).items():
            (folder / part).mkdir()
            (folder / part / "config.json").write_text(json.dumps(shape))
        found = estimate(check(sections(case, folder)), longest=case.max_length)
    assert found is not None
    return found.total


def carry_out(case: Case) -> Measured:
    """The run from its spec to its result, as a worker carries it out. Raises RuntimeError where it fails."""
    from trainers.config_check import check
    from trainers.footprint import estimate
    from trainers.spec import RunSpec
    from trainers.train import train

    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        write_pairs(case, folder)
        config = sections(case, folder)
        for part, shape in _shapes(case).items():
            save(shape, folder / part, rates=part == "reward", dtype=_dtype(config))
        needed = estimate(check(config), longest=case.max_length)
        assert needed is not None
        (folder / "run").mkdir()
        method = str(config["method"]["name"])
        spec = RunSpec("memory", 0, 0, method, {}, config, "0" * 64, folder / "run", folder / "cache")
        meter = new_meter()
        result = train(spec, Marks(meter.begin))
        meter.end()
    if result.status != "completed":
        raise RuntimeError(result.error or result.status)
    taken = {phase.name: phase.total - phase.of("lost") - phase.of("other") for phase in needed.phases}
    for phase in needed.phases:  # of several of one name the largest
        taken[phase.name] = max(taken[phase.name], phase.total - phase.of("lost") - phase.of("other"))
    estimated = {
        name: max(taken[own] for own in parts if own in taken)
        for name, parts in (RATED_LATER if case.method == "backtranslation" else PHASES).items()
        if any(own in taken for own in parts) and name in meter.peaks
    }
    return Measured(
        estimated, meter.peaks, needed.peak.of("other"), needed.peak.of("lost"), needed.peak.name, meter.beside()
    )


class Marks:
    """Takes a run's reports for the beginnings of its phases, and says nothing."""

    def __init__(self, begin: Callable[[str], None]) -> None:
        self._begin = begin

    def begin(self, phase: str, _steps: int | None = None) -> None:
        self._begin(phase)

    def report(self, *_told: object) -> bool:
        return False

    def stop_asked(self) -> bool:
        return False

    def afterwards(self, _work: object) -> None:
        pass


def sections(case: Case, folder: Path) -> dict[str, Any]:
    """The config of the run, from the presets of conf/."""
    found = {
        "method": preset(f"method/{case.method}"),
        "model": {**preset("model/hf"), "name": "random", "path": str(folder / "policy")},
        "reference": {"kind": "self"},
        "data": {**preset("data/jsonl"), "path": str(folder / "train"), "eval_path": str(folder / "heldout")},
        "quantization": preset("quantization/nf4" if case.peft == "qlora" else "quantization/none"),
        "peft": preset("peft/none" if case.peft == "none" else "peft/lora"),
        "training": {**preset("training/default"), "max_steps": case.steps, "batch_size": case.batch_size,
                     "max_length": case.max_length, "save_steps": 0, "save_final": False},
        "evaluation": {**preset("evaluation/default"), "batch_size": EVALUATED, "samples": HELDOUT},
        "tracking": {"mode": "disabled", "project": "p", "entity": None, "base_url": None},
        "seed": 0,
    }  # fmt: skip
    if case.reference is not None:
        found["reference"] = {"kind": "model", "path": str(folder / "reference")}
    if case.reward_model is not None:
        found["method"] = {**found["method"], "reward_model": str(folder / "reward")}
    for section, values in case.changes.items():
        found[section] = {**found[section], **values}
    return found


def preset(name: str) -> dict[str, Any]:
    values = yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text())
    values.pop("defaults", None)
    # A file that sets other sections too has its own by name.
    return dict(values.get(name.partition("/")[0], values))


def _shapes(case: Case) -> dict[str, Mapping[str, Any]]:
    """The models of a case by the name of their folder."""
    beside = {"reference": case.reference, "reward": case.reward_model}
    return {"policy": case.shape} | {
        name: {**case.shape, **changes} for name, changes in beside.items() if changes is not None
    }


def _dtype(config: Mapping[str, Any]) -> Any:
    """What the run loads weights in: a checkpoint in another dtype would be turned, which takes memory of its own."""
    import torch

    from trainers.config_check import check
    from trainers.holdings import stream_bytes

    gpu = torch.cuda.is_available()
    # As models are published, where a GPU turns what it loads.
    return torch.bfloat16 if gpu or stream_bytes(check(config), gpu=False) == 2 else torch.float32


def save(shape: Mapping[str, Any], folder: Path, *, rates: bool, dtype: Any) -> None:
    """A checkpoint of random weights, and a tokenizer of bytes."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    from trainers.world_build import _new_tokenizer

    sizes = {name: value for name, value in shape.items() if name != "model_type"}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, **({"num_labels": 1} if rates else {})}
    kind = AutoModelForSequenceClassification if rates else AutoModelForCausalLM
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = kind.from_config(AutoConfig.for_model(shape["model_type"], **sizes, **ids), dtype=dtype)
    model.to("cpu").save_pretrained(folder)
    _new_tokenizer().save_pretrained(folder)
    del model
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def write_pairs(case: Case, folder: Path) -> None:
    """Pairs of letters, one token each: a short prompt, one answer as long as there is room for, one shorter."""
    draw = random.Random(0)
    prompt = case.max_length // 8
    room = case.max_length - prompt

    def letters(count: int) -> str:
        return "".join(draw.choices(string.ascii_lowercase, k=count))

    accumulated = case.changes.get("training", {}).get("gradient_accumulation", 1)
    enough = max(case.batch_size * accumulated * case.steps, case.prompts)
    for name, count in (("train", enough), ("heldout", HELDOUT)):
        pairs = [
            {"prompt": letters(prompt), "chosen": letters(room), "rejected": letters(draw.randint(room // 2, room - 1))}
            for _ in range(count)
        ]
        (folder / name).write_text("\n".join(map(json.dumps, pairs)) + "\n")
