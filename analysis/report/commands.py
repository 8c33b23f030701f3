"""The command that carries out one run again: its study's command with the run's own values in place of the swept ones.

python -m orchestrator method=dpo,ipo model=tiny study=a -m beta=0.1,0.5 seed=0,1
-> python -m orchestrator method=ipo model=tiny -m beta=0.5 seed=1

A config says what a run is, but not by which options it came about; where the study's command is not at hand, all of
the config is given, key by key.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.report.untrusted import shell_word

_PROGRAM = ("python", "-m", "orchestrator")
_WITH_VALUE = ("-cn", "--config-name", "-cd", "--config-dir")
# A study of its own: under its study's name it would be refused.
_LEFT_OUT = ("study",)
_STRENGTHS = ("beta", "lambda", "tau")
# What a config says of a run; trackers keep more beside it.
_SECTIONS = (
    "method",
    "model",
    "reference",
    "data",
    "quantization",
    "peft",
    "training",
    "evaluation",
    "tracking",
    "seed",
)
# Text that Hydra's grammar reads as that very text.
_PLAIN = re.compile(r"[A-Za-z_./][\w./+-]*")
_READ_AS_OTHER = re.compile(r"(?i:true|false|null|nan|inf)$")


def run_command(study: str, params: Mapping[str, Any], config: Mapping[str, Any], seed: int | None) -> str:
    """What to type in a shell, "" where neither command nor config tell. `study`: the study's command, or ""."""
    words = _words(study)
    if words and _needs_others(config):
        chosen = words
    elif words:
        own = {**params, **({} if seed is None else {"seed": seed})}
        chosen = list(_with_values(words, own))
    elif isinstance(config.get("method"), Mapping) and isinstance(config.get("model"), Mapping):
        chosen = list(_of_config(config))
    else:
        return ""
    return " ".join(map(shell_word, (*_PROGRAM, *chosen)))


def study_command(text: str) -> str:
    """A study's command as one can type it again, "" where it is none."""
    words = _words(text)
    return " ".join(map(shell_word, (*_PROGRAM, *words))) if words else ""


def _words(text: str) -> list[str]:
    """The words after `python -m orchestrator`; none where the text is no such command."""
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    return words[3:] if tuple(words[:3]) == _PROGRAM else []


def _needs_others(config: Mapping[str, Any]) -> bool:
    """Whether another run of the study is the run's reference: only the whole study makes both."""
    reference = config.get("reference")
    return isinstance(reference, Mapping) and bool(reference.get("run"))


def _with_values(words: Sequence[str], own: Mapping[str, Any]) -> Iterator[str]:
    left = dict(own)
    takes_value = False
    for word in words:
        key, equals, _ = word.partition("=")
        if takes_value or not equals:
            takes_value = not takes_value and word in _WITH_VALUE
            yield word
            continue
        mark = "+" * (len(key) - len(key.lstrip("+")))
        name = _name(key[len(mark) :], left)
        if name in left:
            yield f"{mark}{key[len(mark) :]}={hydra_value(left.pop(name))}"
        elif key not in _LEFT_OUT:
            yield word
    for name, value in left.items():
        yield f"{name}={hydra_value(value)}"


def _name(key: str, own: Mapping[str, Any]) -> str:
    """The swept key that a word gives: strengths have several names."""
    if key in _STRENGTHS and key not in own:
        return next((name for name in _STRENGTHS if name in own), key)
    return key


def _of_config(config: Mapping[str, Any]) -> Iterator[str]:
    """Groups by what their sections say of themselves, then every value."""
    yield f"method={hydra_value(config['method'].get('name'))}"
    yield "model=hf"
    for section in ("reference", "data", "peft", "quantization"):
        kind = config[section].get("kind") if isinstance(config.get(section), Mapping) else None
        if kind is not None:
            yield f"{section}={hydra_value(kind)}"
    for key, value in _leaves("", {name: config[name] for name in _SECTIONS if name in config}):
        # A key of another kind of reference is there without a value, and cannot be given.
        foreign = value is None and key.startswith("reference.")
        if key not in ("method.name", "reference.kind", "data.kind", "peft.kind", "quantization.kind") and not foreign:
            yield f"{key}={hydra_value(value)}"


def _leaves(path: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), value)
    else:
        yield path, node


def hydra_value(value: Any) -> str:
    """A value in the grammar of Hydra's overrides: text is quoted where it would be read as something else."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and not _READ_AS_OTHER.match(value):
            return value
        escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
        return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_value(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)
