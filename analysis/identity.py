"""What a run is, told from its config in a few words: the columns that runs are grouped and compared by."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.frame import Row
from orchestrator.published import setting

# Options of a group that say nothing of which model or data they are: the path does.
_ANY_MODEL = "hf"
_ANY_DATA = ("jsonl", "unpaired")


def identity(config: Mapping[str, Any], params: Mapping[str, Any]) -> Row:
    """Columns of a run that prefsweep has trained. Raises KeyError or AttributeError where the config is no such."""
    return {
        "seed": config["seed"],
        "method": config["method"]["name"],
        "model": _model(config["model"]),
        "reference": reference_label(config),
        "data": _data(config["data"]),
        "beta": setting(config, "beta"),
        "config": as_text(config),
        "params": as_text(params),
    }


def as_text(settings: Mapping[str, Any]) -> str:
    """Settings as JSON, the same whether they come from a folder or from W&B, which gives 1.0 back as 1."""
    return json.dumps(_plain(settings), sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case float() if math.isfinite(value):
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case float():
            return None
    return value


def _model(section: Mapping[str, Any]) -> str:
    return Path(section["path"]).name if section["name"] == _ANY_MODEL else str(section["name"])


def _data(section: Mapping[str, Any]) -> str:
    kind = str(section["kind"])
    return Path(section["path"]).name if kind in _ANY_DATA else kind


def reference_label(config: Mapping[str, Any]) -> str:
    """A reference in a few words: self, none, moving, model:NAME, run:method=sft, mixture:self+NAME@0.5."""
    reference = config.get("reference", {})
    kind = str(reference.get("kind", "self"))
    match kind:
        case "model" | "adapter" | "checkpoint":
            return f"{kind}:{Path(str(reference.get('path', ''))).name}"
        case "run":
            return "run:" + ",".join(f"{key}={value}" for key, value in (reference.get("run") or {}).items())
        case "mixture":
            first, second = (Path(str(reference.get(side))).name for side in ("first", "second"))
            return f"mixture:{first}+{second}@{reference.get('weight')}"
        case _:
            return kind
