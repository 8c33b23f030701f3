"""Checks a run's config, and tells every fault in it at once in the words of the command line.

check({"method": {"name": "dpo", "betta": 1}, ...}) -> InvalidInput, one fault for each thing that is wrong
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trainers.config import RunConfig
from trainers.config_faults import describe, must_be_given, path_of
from trainers.conflicts import conflicts
from trainers.errors import InvalidInput

# Hydra's sign for what a config file leaves to the user.
OPEN = "???"


@dataclass(frozen=True)
class Examined:
    """A config with every fault in it; with types, mended where it is at fault, for what else may be wrong with it."""

    # None where it could not be mended.
    config: RunConfig | None
    faults: Sequence[str] = ()
    # Keys that must be given and are not; what is said of their values is said of a stand-in.
    open: Sequence[str] = ()

    def beside(self, faults: Iterable[str]) -> list[str]:
        """Of faults that were found in the config with types, those that are not about a stand-in."""
        stand_ins = tuple(f"{key}{sign}" for key in self.open for sign in (":", "="))
        return [fault for fault in faults if not fault.startswith(stand_ins)]


def check(config: Mapping[str, Any]) -> RunConfig:
    """The config with types, or InvalidInput with every fault in it."""
    examined = examine(config, {})
    if examined.faults or examined.config is None:
        raise InvalidInput(examined.faults)
    return examined.config


def examine(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> Examined:
    """Every fault in the config, and the config with each value at fault put back to its default."""
    left_open = tuple(_open(config))
    faults = [must_be_given(key, config) for key in left_open]
    try:
        checked: RunConfig | None = RunConfig.model_validate(config)
    except ValidationError as error:
        faults += describe(error, config, but=left_open)
        checked = _mended(config, defaults, left_open)
    found = Examined(checked, faults, left_open)
    if checked is None:
        return found
    return Examined(checked, [*faults, *found.beside(conflicts(checked))], left_open)


def _open(config: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Keys that a config file left open."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _open(value, f"{prefix}{key}.")
        elif value == OPEN:
            yield f"{prefix}{key}"


def _mended(config: Mapping[str, Any], defaults: Mapping[str, Any], left_open: Sequence[str]) -> RunConfig | None:
    """The config with values at fault put back, None where that does not help."""
    trial = copy.deepcopy(dict(config))
    # A section that is put back may show what is wrong within it.
    for _ in range(3):
        try:
            return RunConfig.model_validate(trial)
        except ValidationError as error:
            for item in error.errors():
                path = path_of(item["loc"], trial)
                stand_in = {OPEN: OPEN} if ".".join(path) in left_open and item["type"] == "dict_type" else None
                _put_back(trial, defaults, path, stand_in)
    return None


def _put_back(config: dict[str, Any], defaults: Mapping[str, Any], path: list[str], stand_in: Any) -> None:
    node: Any = config
    default: Any = defaults
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
        default = default.get(part, {}) if isinstance(default, Mapping) else {}
    if isinstance(node, dict) and path:
        node.pop(path[-1], None)
        if stand_in is not None:
            node[path[-1]] = stand_in
        elif isinstance(default, Mapping) and path[-1] in default:
            node[path[-1]] = copy.deepcopy(default[path[-1]])
