"""May a metric be set side by side across these runs? Refused where its number means something else for each.

`train/rewards/margins` of beta 0.1 and 0.5 -> Incomparable: "... depends on the strength (beta: 0.1, 0.5); compare by
eval/margin_nats".
"""

import json
import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from analysis.by_prompt import ByPrompt
from analysis.cells import Sorted
from trainers.methods import GOLD, METHODS
from trainers.metrics_table import Dependence, Metric, known

# A metric that no table knows is taken to be one of held-out data, whatever else.
_UNKNOWN = Metric("", "", "", None)
_WORDS: Mapping[Dependence, str] = {
    "method": "the method",
    "strength": "the strength",
    "reference": "the reference",
    "tokenizer": "the tokenizer",
    "opponent": "the opponent",
    "rater": "who rates",
    "judge": "the judge",
    "sampling": "how answers are sampled",
}
_RATERS = ("reward_model", "rater")
_OPPONENTS = ("opponent", "against")
# All of an evaluation that decides how a policy answers.
_SAMPLING = ("max_new_tokens", "temperature", "top_p", "top_k")
# Of a judge, all that decides what it says.
_JUDGE = ("base_url", "model")
# What a run's folder calls what it has trained.
_TRAINED = ("adapter", "model")
# Of data, what only training sees.
_TRAINING = ("max_train_samples", "train_split", "draws")
# References that are made of the policy's own start.
_OWN = ("self", "none", "moving")
_COLUMNS = ("method", "model", "reference", "data", "beta", "config", "evaluated", "answers.opponent")
# A run's columns, its config as a mapping.
Row = Mapping[str, Any]


def metric_row(name: str) -> Metric:
    """The metric's row in the table, or one that knows nothing of it."""
    return known(name) or _UNKNOWN


def objections(frame: pd.DataFrame, metric: str, rows: Sequence[int], values: ByPrompt | None = None) -> dict[str, str]:
    """What speaks against comparing the metric among these rows of the frame; empty where nothing does.

    {"the strength": "0.1, 0.5"}: what the number depends on, and what of it there is.

    `values`: the metric by prompt, which tells whether runs were asked the same.
    """
    columns = [name for name in _COLUMNS if name in frame.columns]
    listed = frame[columns].iloc[list(rows)].to_dict("records")
    runs: list[Row] = [
        {
            **{str(key): row[key] for key in row},
            "config": _settings(row["config"]),
            "evaluation": _evaluation(row, metric),
        }
        for row in listed
    ]
    found: dict[str, str] = {}
    for dependence in sorted(metric_row(metric).depends):
        different = list(dict.fromkeys(_IDENTITIES[dependence](run) for run in runs))
        if len(different) > 1:
            found[_WORDS[dependence]] = _listed(different)
    if metric.startswith("eval/") and (held_out := _data_objection(runs, rows, values)):
        found["the held-out data"] = held_out
    return found


def objections_within(frame: pd.DataFrame, cells: Sorted, metric: str, values: ByPrompt | None = None) -> list[str]:
    """What speaks against comparing the metric among the completed runs of some group."""
    completed = (frame["status"] == "completed").tolist()
    found: dict[str, str] = {}
    for group in cells.groups:
        rows = [row for cell in group.cells for row in cell.rows if completed[row]]
        found = objections(frame, metric, rows, values) | found
    return [f"{what} ({which})" for what, which in found.items()]


def objection(metric: str, found: Collection[str]) -> str:
    """What is said of a metric that may not be compared."""
    return f"{metric} may not be compared here: it depends on {' and on '.join(found)}"


def refusal(metric: str, found: Collection[str], better: Sequence[str]) -> str:
    """The message for objections; `better` are metrics that the runs have and that may be compared."""
    first = objection(metric, found)
    if better:
        return f"{first}; --metric {better[0]} may, or give --allow-incomparable"
    instead = metric_row(metric).instead
    hint = f"; {instead[0]} could be, but these runs lack it" if instead else ""
    return f"{first}{hint}; --allow-incomparable compares it all the same"


def _data_objection(runs: Sequence[Row], rows: Sequence[int], values: ByPrompt | None) -> str | None:
    """Held-out data are the same where the prompts are, whatever the config says of where they lie."""
    asked = [] if values is None else [values.values[at] for at in rows if at in values.values]
    if len(asked) == len(rows) and asked:
        common = pd.notna(asked[0])
        for answers in asked[1:]:
            common = common & pd.notna(answers)
        return None if common.sum() > 1 else "no prompts in common"
    different = list(dict.fromkeys(map(_held_out, runs)))
    return _listed(different) if len(different) > 1 else None


def _held_out(run: Row) -> Hashable:
    section = _section(run, "data")
    if not section:
        return run["data"] if isinstance(run["data"], str) else None
    if section.get("eval_path"):
        return f"{section['eval_path']}, {section.get('max_eval_samples') or 'all'}"
    return json.dumps({key: value for key, value in section.items() if key not in _TRAINING}, sort_keys=True)


def _method(run: Row) -> Hashable:
    return str(run["method"])


def _strength(run: Row) -> Hashable:
    beta = run["beta"]
    return None if beta is None or beta is pd.NA or math.isnan(beta) else f"{float(beta):g}"


def _reference(run: Row) -> Hashable:
    """What log-ratios are taken to: without a reference of its own a method is measured beside its start."""
    label, method = str(run["reference"]), METHODS.get(str(run["method"]))
    if label in _OWN or (method is not None and not method.needs_reference):
        return f"{_began(run)} before training"
    path = _section(run, "reference").get("path")
    name = f"{label} ({path})" if path else label
    own = label.startswith(("run:", "adapter:")) or "self" in label
    return f"{name} of {_began(run)}" if own else name


def _model(run: Row) -> str:
    return str(_section(run, "model").get("path") or run["model"])


def _began(run: Row) -> str:
    """What training began with: a model, or what another run has made of it, whatever the seed."""
    start = {key: value for key, value in _section(run, "start").items() if key != "of" and value is not None}
    made = "" if start.get("kind", "base") == "base" else f" with start {json.dumps(start, sort_keys=True)}"
    return f"{_model(run)}{made}"


def _tokenizer(run: Row) -> Hashable:
    return str(_section(run, "model").get("tokenizer") or _model(run))


def _opponent(run: Row) -> Hashable:
    """A start is the opponent of its own model alone."""
    listed = run.get("answers.opponent")
    names = sorted({str(name) for name in listed}) if listed is not None and not isinstance(listed, float) else []
    if not names:
        section = run["evaluation"]
        names = [_run_id(str(section[key])) for key in _OPPONENTS if section.get(key)] or ["start"]
    return ", ".join(f"{_began(run)} before training" if name == "start" else name for name in names)


def _run_id(opponent: str) -> str:
    """As answers name it: of a path the run's folder."""
    path = PurePath(opponent)
    return path.parent.name if path.name in _TRAINED else path.name


def _rater(run: Row) -> Hashable:
    """Where nobody is named, it is the known reward of the built-in world's data."""
    section = run["evaluation"]
    told = [str(section[key]) for key in _RATERS if section.get(key)]
    return ", ".join(told) or (GOLD if _section(run, "data").get("kind") == "toy" else "none")


def _judge(run: Row) -> Hashable:
    """The same model behind another address may be another one."""
    section = run["evaluation"].get("judge")
    told = [str(section[key]) for key in _JUDGE if section.get(key)] if isinstance(section, dict) else []
    return " ".join(told) or "none"


def _sampling(run: Row) -> Hashable:
    section = run["evaluation"]
    return json.dumps({key: section[key] for key in _SAMPLING if key in section}, sort_keys=True)


_IDENTITIES: Mapping[Dependence, Callable[[Row], Hashable]] = {
    "method": _method,
    "strength": _strength,
    "reference": _reference,
    "tokenizer": _tokenizer,
    "opponent": _opponent,
    "rater": _rater,
    "judge": _judge,
    "sampling": _sampling,
}


def _evaluation(row: Mapping[Any, Any], metric: str) -> Mapping[str, Any]:
    """What the metric was measured with: the newest evaluation's settings, or the run's own where it cannot be of it.

    A later evaluation without answers, judge or reward model leaves what an earlier one has measured with them.
    """
    config, newest = _settings(row["config"]), _settings(row.get("evaluated"))
    own = config.get("evaluation")
    depends, judge, data = metric_row(metric).depends, newest.get("judge"), config.get("data")
    unasked = "judge" in depends and not (isinstance(judge, dict) and judge.get("model"))
    known = isinstance(data, dict) and data.get("kind") == "toy"
    unrated = "rater" in depends and not known and not any(newest.get(key) for key in _RATERS)
    older = ("sampling" in depends and newest.get("samples") == 0) or unasked or unrated
    chosen = own if older or not newest else newest
    return chosen if isinstance(chosen, dict) else {}


def _settings(text: object) -> Mapping[str, Any]:
    found = json.loads(text) if isinstance(text, str) and text else {}
    return found if isinstance(found, dict) else {}


def _section(run: Row, name: str) -> Mapping[str, Any]:
    section = run["config"].get(name)
    return section if isinstance(section, dict) else {}


def _listed(names: Sequence[Hashable], most: int = 3) -> str:
    told = ", ".join("none" if name is None else str(name) for name in names[:most])
    return f"{told} and {len(names) - most} more" if len(names) > most else told
