"""Writes docs/methods.md from the table of methods, their losses' docstrings, their schemas and their files in conf/.

python -m trainers.method_docs > docs/methods.md
"""

import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from trainers import losses, stages, trl_engine
from trainers.method_config import MethodSection
from trainers.methods import METHODS, STILL, Method
from trainers.reward_trainer import RewardPreparedTrainer

CONF = Path(__file__).resolve().parent.parent / "conf" / "method"
_REFERENCES = {
    "fixed": "any",
    "moving": "`reference=moving`",
    "unconditional": "the policy's start, without prompts",
    "none": "none",
}
_LEARNS_FROM = {
    "pairs": "pairs",
    "unpaired": "good and bad answers, of pairs or one by one",
    "demonstrations": "good answers, of pairs or one by one",
    "comparisons": "pairs",
    "prompts": "what the policy writes, from pairs",
}
_HEAD = """\
# Methods

Made by `python -m trainers.method_docs` from the table of methods: what stands here is what runs.

`method=NAME` chooses one; `beta=` on the command line sets its strength, whatever it is called. The log-ratio of an
answer is `h(y) = log π(y|x) - log π_ref(y|x)`, summed over its tokens; `w` is the chosen answer, `l` the rejected one,
`σ` the logistic function. Strengths of different methods are no common scale: compare by the held-out measures, which
are the same for all.
"""


def document() -> str:
    """The text of docs/methods.md."""
    parts = [_HEAD, *_overview(METHODS.values())]
    for method in METHODS.values():
        parts += _section(method)
    return "\n".join(parts)


def _overview(methods: Iterable[Method]) -> list[str]:
    heading = "| `method=` | what it is | strength, usual values | reference | learns from | source |"
    lines = [heading, "|---|---|---|---|---|---|"]
    for method in methods:
        strength = f"`{method.strength}`, {method.usual}" if method.strength else "none"
        reference = _REFERENCES[method.reference] + (" but `moving`" if method.name in STILL else "")
        lines.append(
            f"| [{method.name}](#{method.name}) | {method.title} | {strength} | {reference} "
            f"| {_LEARNS_FROM[method.data_format]} | {method.paper} |"
        )
    return [*lines, ""]


def _section(method: Method) -> list[str]:
    lines = [f"## {method.name}", "", f"{method.title}: {method.paper}.", "", _what_it_computes(method), ""]
    settings = _settings(method.name)
    if settings:
        lines += ["| setting | default | valid |", "|---|---|---|", *settings, ""]
    return lines


def _what_it_computes(method: Method) -> str:
    """What its pipeline, its loss or its trainer says of itself."""
    pipeline, loss = stages.PIPELINES.get(method.name), getattr(losses, method.loss, None)
    source = pipeline or loss or {"sft": trl_engine.SFTPreparedTrainer, "reward": RewardPreparedTrainer}[method.name]
    about = inspect.getdoc(source) or ""
    # Of a trainer, what its rows are is left out; of another method's loss, the options that this one does not have.
    return about.partition("\n\n")[0] if pipeline is None and (loss is None or method.own_loss) else about


def _settings(name: str) -> list[str]:
    schema: Mapping[str, Any] = _schemas()[name].model_json_schema(by_alias=True)
    known = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    return list(_rows("method", known.get("method", known), schema, schema.get("$defs", {})))


def _rows(
    section: str, defaults: Mapping[str, Any], schema: Mapping[str, Any], parts: Mapping[str, Any]
) -> Iterable[str]:
    """A row for each setting of a section, and of the sections in it."""
    for key, default in defaults.items():
        field = schema["properties"].get(key)
        if field is None or (section, key) == ("method", "name"):
            continue
        if isinstance(default, Mapping):
            yield from _rows(f"{section}.{key}", default, parts[field["$ref"].rpartition("/")[2]], parts)
        else:
            yield f"| `{section}.{key}` | {_plain(default)} | {_valid(field)} |"


def _schemas() -> dict[str, Any]:
    return {section.model_fields["name"].annotation.__args__[0]: section for section in get_args(MethodSection)}


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _valid(field: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
    if "anyOf" in field:
        return " or ".join(_valid(kind) for kind in field["anyOf"])
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if field.get("type") == "boolean":
        return "true, false"
    bounds = [
        f"{sign} {field[key]:g}"
        for key, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
        if key in field
    ]
    kind = {"integer": "whole number", "number": "number", "null": "none", "string": "text"}.get(
        field.get("type", ""), field["type"]
    )
    return " ".join([kind, " and ".join(bounds)]).strip()


if __name__ == "__main__":
    sys.stdout.write(document())
