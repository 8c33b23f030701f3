"""Moves beta, its aliases and epochs from the top of a config to where they belong.

{"beta": 0.5, "method": {"name": "ipo", "tau": 0.1}} -> {"method": {"name": "ipo", "tau": 0.5}}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from trainers.config_faults import sweep_hint
from trainers.methods import METHODS

# Names for the strength on the command line: beside beta, what papers call ORPO's and IPO's.
STRENGTHS = ("beta", "lambda", "tau")
_SHORTCUTS = (*STRENGTHS, "epochs")


def settle_shortcuts(config: dict[str, Any], given: Sequence[str]) -> list[str]:
    """Move beta (or lambda, tau) and epochs to where they belong, and take the shortcuts off the config.

    {"beta": 0.5, "method": {"name": "ipo", "tau": 0.1}} -> {"method": {"name": "ipo", "tau": 0.5}}
    What the command gives goes before what a file says. Returns what is wrong where two of them disagree.
    """
    shortcuts = {key: config.pop(key) for key in _SHORTCUTS if key in config}
    method, training = config.get("method"), config.get("training")
    if not isinstance(method, dict) or not isinstance(training, dict) or str(method.get("name")) not in METHODS:
        return []  # the schema will say what is wrong with it
    faults = _settle_strength(method, {key: shortcuts.get(key) for key in STRENGTHS}, given)
    epochs, own = shortcuts.get("epochs"), training.get("epochs")
    if isinstance(epochs, list):
        return [*faults, _one_asked("epochs", epochs)]
    if epochs is not None and "training.epochs" in given and own != epochs:
        faults.append(f"epochs={epochs} and training.epochs={own} disagree: give one of them")
    elif epochs is not None:
        training["epochs"] = epochs
    return faults


def _one_asked(key: str, given: list[Any]) -> str:
    return f"{key}={given}: one number is asked for{sweep_hint(key, given)}"


def _settle_strength(method: dict[str, Any], shortcuts: Mapping[str, Any], given: Sequence[str]) -> list[str]:
    name, strength = method["name"], METHODS[method["name"]].strength
    named = {key: value for key, value in shortcuts.items() if value is not None}
    # The command's own words go before those of a config file.
    named = {key: value for key, value in named.items() if key in given} or named
    foreign = [key for key in named if key not in ("beta", strength)]
    if foreign:
        own = f"its strength is {strength}" if strength else "it has no strength"
        return [f"{key}={named[key]}: method={name} has no {key}; {own}" for key in foreign]
    if strength is None:
        return []  # beta makes no difference to sft
    lists = [_one_asked(key, value) for key, value in named.items() if isinstance(value, list)]
    if lists:
        return lists
    if f"method.{strength}" in given:
        named[f"method.{strength}"] = method.get(strength)
    if len({repr(float(v) if isinstance(v, int | float) else v) for v in named.values()}) > 1:
        told = " and ".join(f"{key}={value}" for key, value in named.items())
        return [f"{told} disagree: they all mean the strength of method={name}; give one of them"]
    for value in named.values():
        method[strength] = value
    return []
