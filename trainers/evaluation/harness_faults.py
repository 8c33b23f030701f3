"""What keeps other evaluation harnesses from being asked, told before a run and without loading them.

{"evaluation": {"lm_eval": {"tasks": ["arc_easy"]}}} -> ["evaluation.lm_eval.tasks=arc_easy: lm-eval is not ..."]
"""

import json
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainers.config import RunConfig
from trainers.data_config import Bandit, OnePair
from trainers.methods import METHODS
from trainers.paths import local_path

_INSTALL = "pip install 'prefsweep[eval]' installs it"
_LM_EVAL, _ALPACA_EVAL = "evaluation.lm_eval", "evaluation.alpaca_eval"


# How a package is looked for.
Find = Callable[[str], ModuleSpec | None]


def faults(config: RunConfig, find: Find = find_spec) -> list[str]:
    """A sentence each; none where no other harness is asked."""
    return [*_of_lm_eval(config, find), *_of_alpaca_eval(config, find)]


def _of_lm_eval(config: RunConfig, find: Find) -> Iterator[str]:
    asked = config.evaluation.lm_eval
    if not asked.tasks:
        return
    given = f"{_LM_EVAL}.tasks={','.join(asked.tasks)}"
    if find("lm_eval") is None:
        yield f"{given}: lm-eval is not installed: {_INSTALL}, {_LM_EVAL}.tasks=[] leaves it out"
    if asked.include_path is not None and not local_path(asked.include_path).is_dir():
        yield f"{_LM_EVAL}.include_path={asked.include_path}: there is no such folder (from {Path.cwd()})"
    yield from _no_policy(config, given)


def _of_alpaca_eval(config: RunConfig, find: Find) -> Iterator[str]:
    asked = config.evaluation.alpaca_eval
    if not asked.on:
        return
    for name, path, keys in (
        ("prompts", asked.prompts, ("instruction",)),
        ("reference", asked.reference, ("instruction", "output", "generator")),
    ):
        if path is not None and (fault := unreadable(path, keys)) is not None:
            yield f"{_ALPACA_EVAL}.{name}={path}: {fault}"
    yield from _no_policy(config, _ALPACA_EVAL)
    if isinstance(config.data, Bandit | OnePair):
        yield f"{_ALPACA_EVAL} needs texts, but data={config.data.kind} is token ids: leave it out, or use other data"
    elif asked.prompts is None and not config.evaluation.samples:
        yield f"{_ALPACA_EVAL} needs answers, but evaluation.samples=0: raise it, or give {_ALPACA_EVAL}.prompts=FILE"
    if asked.annotators_config is not None:
        yield from _no_annotator(asked.annotators_config, find)


def unreadable(path: str, keys: tuple[str, ...]) -> str | None:
    """Why a file is no list of texts as alpaca_eval has them; None where it is one."""
    try:
        rows: Any = json.loads(local_path(path).read_bytes())
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except ValueError:
        return "that is no JSON file"
    if not isinstance(rows, list) or not rows:
        return "that is no list of objects, or an empty one"
    for place, row in enumerate(rows):
        for key in keys:
            if not isinstance(row, dict) or not isinstance(row.get(key), str):
                return f'row {place} has no text "{key}": [{{{_example(keys)}}}, ...] is asked for'
    return None


def _example(keys: tuple[str, ...]) -> str:
    return ", ".join(f'"{key}": "..."' for key in keys)


def _no_annotator(given: str, find: Find) -> Iterator[str]:
    told = f"{_ALPACA_EVAL}.annotators_config={given}"
    found = find("alpaca_eval")
    if found is None:
        yield f"{told}: alpaca-eval is not installed: {_INSTALL}, {_ALPACA_EVAL}.annotators_config=null asks nobody"
        return
    places = [local_path(given)]
    for package in found.submodule_search_locations or ():
        own = Path(package) / "evaluators_configs"
        places.append(own / given)
    if not any(place.is_file() or (place / "configs.yaml").is_file() for place in places):
        yield f"{told}: neither an annotator's folder or file (from {Path.cwd()}) nor one that comes with alpaca_eval"


def _no_policy(config: RunConfig, given: str) -> Iterator[str]:
    if METHODS[config.method.name].data_format == "comparisons":
        yield f"{given}: method={config.method.name} trains no policy that could be asked: leave it out"
