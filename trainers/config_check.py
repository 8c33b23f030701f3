"""Checks a run's config, and tells every fault in it at once in the words of the command line.

check({"method": {"name": "dpo", "betta": 1}, ...}) -> InvalidInput, one fault for each thing that is wrong
"""

import copy
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from trainers.config import RunConfig
from trainers.conflicts import conflicts
from trainers.errors import InvalidInput

# Hydra's sign for what the user must give.
_MISSING = "???"


def check(config: Mapping[str, Any]) -> RunConfig:
    """The config with types, or InvalidInput with every fault in it."""
    missing = [f"{key}: must be given: {key}=..." for key in _missing(config)]
    try:
        checked = RunConfig.model_validate(config)
    except ValidationError as error:
        raise InvalidInput([*missing, *describe(error, config)]) from None
    if missing:
        raise InvalidInput(missing)
    faults = list(conflicts(checked))
    if faults:
        raise InvalidInput(faults)
    return checked


def _missing(config: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Keys that a config file left open."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _missing(value, f"{prefix}{key}.")
        elif value == _MISSING:
            yield f"{prefix}{key}"


def mended(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> RunConfig | None:
    """The config with each value at fault put back to its default, so that what else is wrong can be found too.

    None where that does not help: a value that must be given is missing.
    """
    if any(_missing(config)):
        return None
    trial = copy.deepcopy(dict(config))
    try:
        return RunConfig.model_validate(trial)
    except ValidationError as error:
        for item in error.errors():
            _put_back(trial, defaults, _path(item["loc"], config))
    try:
        return RunConfig.model_validate(trial)
    except ValidationError:
        return None


def _put_back(config: dict[str, Any], defaults: Mapping[str, Any], path: list[str]) -> None:
    node: Any = config
    default: Any = defaults
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
        default = default.get(part, {}) if isinstance(default, Mapping) else {}
    if isinstance(node, dict):
        node.pop(path[-1], None)
        if isinstance(default, Mapping) and path[-1] in default:
            node[path[-1]] = default[path[-1]]


def describe(error: ValidationError, config: Mapping[str, Any]) -> list[str]:
    """Each fault of a pydantic error in the words of the command line.

    {"method": {"betta": 1}} -> "method.betta: no such key; did you mean method.beta? (keys: beta, name)"
    """
    faults: dict[str, list[str]] = {}
    for item in error.errors():
        path = _path(item["loc"], config)
        key, given = ".".join(path), item["input"]
        if given == _MISSING:  # told of as such
            continue
        if item["type"] == "extra_forbidden":
            told = unknown_key(key, _siblings(config, path))
        elif item["type"] == "missing":
            told = f"{key}: must be given: {key}=..."
        elif item["type"].startswith("union_tag"):
            told = f"{key}: no such option; valid are {item.get('ctx', {}).get('expected_tags', '')}"
        else:
            told = f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, got {given!r}{_nearest_literal(item)}"
        faults.setdefault(key, []).append(told)
    # A value that may be of several types is at fault once for each of them.
    return [told[0] if len(told) == 1 else _either(key, told) for key, told in faults.items()]


def _path(location: Iterable[Any], config: Mapping[str, Any]) -> list[str]:
    """A key as the config has it: pydantic's locations also name the options of a union that it tried."""
    path: list[str] = []
    node: Any = config
    parts = [str(part) for part in location]
    for place, part in enumerate(parts):
        if isinstance(node, Mapping) and part in node:
            node = node[part]
            path.append(part)
        elif isinstance(node, Mapping) and place == len(parts) - 1:
            path.append(part)
    return path


def _either(key: str, told: list[str]) -> str:
    """ "a: input should be 'auto', got 0" and "a: input should be above 0, got 0" in one."""
    reasons = [reason.removeprefix(f"{key}: ") for reason in told]
    return f"{key}: " + ", or ".join(reason.rpartition(", got ")[0] for reason in reasons[:-1]) + f", or {reasons[-1]}"


def _nearest_literal(item: Mapping[str, Any]) -> str:
    """A hint to the valid word nearest to the one given, where only certain words are valid."""
    if item["type"] != "literal_error":
        return ""
    near = difflib.get_close_matches(str(item["input"]), re.findall(r"'([^']+)'", item["ctx"]["expected"]), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_key(key: str, valid: Iterable[str]) -> str:
    """The message for a key that is not there, naming the nearest one that is."""
    parent, _, leaf = key.rpartition(".")
    names = sorted(valid)
    near = difflib.get_close_matches(leaf, names, n=1, cutoff=0.5)
    where = f"{parent}." if parent else ""
    hint = f"did you mean {where}{near[0]}? " if near else ""
    return f"{key}: no such key; {hint}(keys{' of ' + parent if parent else ''}: {', '.join(names)})"


def _siblings(config: Mapping[str, Any], path: list[str]) -> set[str]:
    node: Any = config
    for part in path[:-1]:
        node = node.get(part, {})
    return set(node) - {path[-1]}
