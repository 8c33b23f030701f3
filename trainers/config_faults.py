"""Says what is wrong with a config in the words of the command line: the key, what is valid, what was given.

{"method": {"name": "dpo", "betta": 1}} -> "method.betta: no such key; did you mean method.beta? (keys: beta, name)"
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainers.config import RunConfig
from trainers.nearest import did_you_mean, listed


def describe(error: ValidationError, config: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """Each fault of a pydantic error, of keys that are not among `but`."""
    faults: dict[str, list[str]] = {}
    for item in error.errors():
        path = path_of(item["loc"], config)
        key, given = ".".join(path), item["input"]
        if key in but:
            continue
        if item["type"] == "extra_forbidden":
            told = unknown_key(key, _siblings(config, path))
        elif item["type"] == "missing":
            told = must_be_given(key, config)
        elif item["type"].startswith("union_tag"):
            told = f"{key}: no such option; valid are {item.get('ctx', {}).get('expected_tags', '')}"
        else:
            hint = _nearest_literal(item) or (sweep_hint(key, given) if item["type"] not in _OF_LISTS else "")
            told = f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, got {given!r}{hint}"
        faults.setdefault(key, []).append(told)
    # A value that may be of several types is at fault once for each of them.
    return [told[0] if len(told) == 1 else _either(key, told) for key, told in faults.items()]


# Options that a message names.
FEW = 6
# Faults of lists where lists are asked for.
_OF_LISTS = ("too_short", "too_long", "value_error")


def sweep_hint(key: str, given: object) -> str:
    """How several values of a key are swept, where one is asked for and a list was given; else ""."""
    if not isinstance(given, list) or len(given) < 2 or not all(isinstance(v, str | int | float) for v in given):
        return ""
    values = ",".join(str(value).lower() if isinstance(value, bool) else str(value) for value in given)
    return f"; to sweep over several values: {key}={values} -m"


def must_be_given(key: str, config: Mapping[str, Any]) -> str:
    """For a key that the user must give: what the schema says of it, and its example.

    "data.path: must be given: the file of pairs, one JSON object a line, as data.path=pairs.jsonl"
    """
    field = _field(config, key.split("."))
    if field is None or field.description is None or not field.examples:
        return f"{key}: must be given: {key}=..."
    return f"{key}: must be given: {field.description}, as {_override(key, field.examples[0])}"


def _override(key: str, value: object) -> str:
    """The value as one would type it."""
    if isinstance(value, Mapping):
        return f"'{key}={{{','.join(f'{name}:{inner}' for name, inner in value.items())}}}'"
    return f"{key}={value}"


def _field(config: Mapping[str, Any], path: list[str]) -> FieldInfo | None:
    """The schema of a key, in the option of each section that the config chose."""
    section: type[BaseModel] = RunConfig
    values: Any = config
    for place, part in enumerate(path):
        field = section.model_fields.get(part)
        if field is None or place == len(path) - 1:
            return field
        values = values.get(part) if isinstance(values, Mapping) else None
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_section(kind)]
        chosen = next((kind for kind in kinds if _is_chosen(kind, values)), None)
        if chosen is None:
            return None
        section = chosen
    return None


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_chosen(kind: type[BaseModel], values: Any) -> bool:
    """Whether a section's name or kind, where that is one of certain words, is this schema's."""
    if not isinstance(values, Mapping):
        return False
    words = {tag: get_args(kind.model_fields[tag].annotation) for tag in ("name", "kind") if tag in kind.model_fields}
    return all(values.get(tag) in valid for tag, valid in words.items() if valid)


def path_of(location: Iterable[Any], config: Mapping[str, Any]) -> list[str]:
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
    """A hint to the valid words nearest to the one given, where only certain words are valid."""
    if item["type"] != "literal_error":
        return ""
    hint = did_you_mean(str(item["input"]), re.findall(r"'([^']+)'", item["ctx"]["expected"]))
    return hint and f"; {hint.rstrip()}"


def unknown_key(key: str, valid: Iterable[str], elsewhere: Sequence[str] = ()) -> str:
    """The message for a key that is not there, naming the options that have it, if few, or the nearest that are."""
    parent, _, leaf = key.rpartition(".")
    names = sorted(valid)
    if 0 < len(elsewhere) <= FEW:
        hint = f"there is one with {listed(elsewhere)} "
    else:
        hint = did_you_mean(leaf, names, cutoff=0.5, prefix=f"{parent}." if parent else "")
    return f"{key}: no such key; {hint}(keys{' of ' + parent if parent else ''}: {', '.join(names)})"


def _siblings(config: Mapping[str, Any], path: list[str]) -> set[str]:
    node: Any = config
    for part in path[:-1]:
        node = node.get(part, {})
    return set(node) - {path[-1]}
