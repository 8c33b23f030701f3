"""Configs of small runs on the built-in world, for tests with and without training."""

from pathlib import Path
from typing import Any

import yaml

from trainers.methods import METHODS

MOVING = {"kind": "moving", "mixup": 0.6, "sync_steps": 2}
CONF = Path(__file__).resolve().parents[2] / "conf"


def method(name: str, **changes: Any) -> dict[str, Any]:
    """The method's settings as its file in conf/ has them, but for changes."""
    known = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text())
    return {**known.get("method", known), **changes}


def run_config(name: str = "dpo", **changes: Any) -> dict[str, Any]:
    """A config of a run on the built-in world, without tracking; `training__epochs=2` changes `training.epochs`."""
    config: dict[str, Any] = {
        "method": method(name),
        "model": {
            "name": "tiny",
            "path": "builtin:tiny",
            "revision": None,
            "tokenizer": None,
            "dtype": "float32",
            "attention": "sdpa",
            "chat_template": None,
            "parameters_b": None,
            "prequantized": False,
        },
        "reference": MOVING if METHODS[name].reference == "moving" else {"kind": "self"},
        "data": {"kind": "toy", "seed": 0, "max_train_samples": 32, "max_eval_samples": 16},
        "quantization": {"kind": "none"},
        "peft": {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"},
        "training": {
            "epochs": 1,
            "max_steps": -1,
            "batch_size": 4,
            "gradient_accumulation": 1,
            "learning_rate": 1e-3,
            "lr_scheduler": "linear",
            "warmup": 0.0,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "optimizer": "adamw_torch",
            "precision": "fp32",
            "gradient_checkpointing": False,
            "max_length": 512,
            "logging_steps": 2,
            "save_steps": 0,
            "keep_checkpoints": 2,
            "save_final": True,
        },
        "evaluation": {"every": 0, "batch_size": 16},
        "tracking": {"mode": "disabled", "project": "tests", "entity": None, "base_url": None},
        "seed": 0,
    }
    for key, value in changes.items():
        *parents, leaf = key.split("__")
        section = config
        for parent in parents:
            section = section[parent]
        section[leaf] = value
    return config
