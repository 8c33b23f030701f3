"""Reads published numbers in the shapes they come in, for `compare --published`.

Beside the shape of published/*.csv (orchestrator.published) there are two that papers' tables are typed into:

    long  table,base,reference_or_method,beta,metric,value with several in a cell: acc_reward|acc_policy, 0.718|0.495
    wide  model,AE2_LC,AE2_WR: a column a metric, and what they are of in the columns of words
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from analysis.errors import BadQuestion
from analysis.texts import visible_line
from orchestrator.errors import BadCommand
from orchestrator.published import NOTHING, OWN, Number, Published, published
from trainers.methods import METHODS

__all__ = ["NOTHING", "read_published", "stands_beside"]
# Papers' names of what we measure as well.
_METRICS = {
    "acc_reward": "eval/reward_accuracy", "reward_acc": "eval/reward_accuracy", "acc_policy": "eval/policy_accuracy",
    "policy_acc": "eval/policy_accuracy", "length": "eval/length", "ae2_lc": "AlpacaEval 2 LC",
    "ae2_wr": "AlpacaEval 2 WR", "arenahard": "Arena-Hard",
}  # fmt: skip
# Columns that say which runs a number stands beside, and those that say what it is of.
_KEYS = ("beta", "method", "reference", "data")
_NOTES = ("table", "se", "metric", "value")
# A column of the paper on references of DPO: what is no method in it is a reference.
_REFERENCES = "reference_or_method"
# Models are called by what they were made with: mistral-7b-sft-beta.
_MODEL = "base"
_ALIASES = {"slic-hf": "hinge"}


def read_published(name: str) -> Published:
    """The numbers of published/NAME.csv, or of a CSV file of one of the shapes above.

    Raises BadQuestion where there is no such file, or it has no numbers in any of the shapes.
    """
    path = Path(name).expanduser()
    rows = _rows(path) if name.endswith(".csv") else []
    if not rows or all(column in rows[0] for column in OWN):
        try:
            return published(name)
        except BadCommand as error:
            raise BadQuestion(str(error).replace("table.published=", "--published ")) from None
    long = {"metric", "value"} <= set(rows[0])
    numbers = [number for row in rows for number in (_long(row, path.stem) if long else _wide(row, path.stem))]
    if not numbers:
        raise BadQuestion(f"--published {name}: no numbers: columns metric and value, or a column for each metric")
    return Published(numbers)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        return [{str(key): str(value or "").strip() for key, value in row.items()} for row in rows]
    except (OSError, ValueError, csv.Error):
        return []  # `published` says what is wrong with it


def _long(row: Mapping[str, str], file: str) -> Iterator[Number]:
    metrics, values = row["metric"].split("|"), row["value"].split("|")
    errors = row.get("se", "").split("|")
    if len(metrics) != len(values):
        # "RM win vs SFT|DPO|PPO": what the parts have in common is said once.
        metrics = [f"{row['metric']} ({place})" for place in range(1, len(values) + 1)]
    elif len(metrics) > 1 and " " in metrics[0]:
        common = metrics[0].rsplit(" ", 1)[0]
        metrics = [metrics[0], *(f"{common} {metric}" for metric in metrics[1:])]
    beside, of = _beside(row)
    for place, (metric, value) in enumerate(zip(metrics, values, strict=True)):
        error = errors[place] if len(errors) == len(values) and errors[place] else ""
        printed = f"{value} ± {error}" if error else value
        yield _number(metric, printed, of, file, row.get("table", ""), beside)


def _wide(row: Mapping[str, str], file: str) -> Iterator[Number]:
    words = {column for column in row if not _is_number(row[column]) or column.lower() in _KEYS}
    beside, of = _beside({column: row[column] for column in row if column in words})
    for column in row:
        if column not in words and column.lower() not in _NOTES:
            yield _number(column, row[column], of, file, "", beside)


def _beside(row: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """What a row says of the runs that its number stands beside, and the words for what it is of.

    One that names neither a method nor any other key stands beside none, whatever it is a number of.
    """
    beside: dict[str, str] = {}
    of: list[str] = []
    for column, text in row.items():
        name = column.lower()
        if not text or name in _NOTES:
            continue
        if name in _KEYS:
            beside[name] = text.lower() if name == "method" else text
            continue
        found, rest = ({}, text) if name == _MODEL else _named(text)
        if name == _REFERENCES and "method" not in found:
            found, rest = {"method": "dpo", "reference": text}, "" if text == "self" else f"reference {text}"
        beside |= found
        of += [rest] if rest else []
    if "method" in beside and beside["method"] in METHODS and METHODS[beside["method"]].strength is None:
        beside.pop("beta", None)
    told = visible_line(", ".join(of))
    return beside or {"method": told}, told


def _named(text: str) -> tuple[dict[str, str], str]:
    """Method and strength in words such as "Mistral Base 7B IPO" or "Phi-2+ORPO(lambda 0.25)", and what is left."""
    strength = re.search(r"\b(?:beta|tau|lambda)[ =]*([\d.]+)", text)
    rest = text.replace(strength[0], "") if strength else text
    # R-DPO is a method of its own, which is not here.
    words = [] if re.search(r"\b[A-Za-z]-DPO\b", text) else re.findall(r"[A-Za-z]\w*(?:-HF)?", rest)
    # tulu2-dpo is a model; papers write methods large.
    words = [word for word in words if word != word.lower() or word == text]
    methods = {_ALIASES.get(word.lower(), word.lower()): word for word in words}
    known = [name for name in methods if name in METHODS]
    # SFT+DPO is DPO after SFT.
    known = [name for name in known if name != "sft"] if len(known) > 1 else known
    if len(known) != 1:
        return {}, text
    for word in words:
        if _ALIASES.get(word.lower(), word.lower()) in METHODS:
            rest = re.sub(rf"\b{re.escape(word)}\b", "", rest)
    found = {"method": known[0], **({"beta": strength[1]} if strength else {})}
    rest = re.sub(r"\(\W*\)|\+(?=\W*$)|(?<=\W)\+", " ", rest)
    return found, re.sub(r"-{2,}", "-", " ".join(rest.split())).strip(" +-")


def _number(metric: str, value: str, of: str, file: str, table: str, beside: Mapping[str, str]) -> Number:
    name = _METRICS.get(metric.strip().lower(), metric.strip())
    return Number(name, value.strip(), of, f"{file}{f', table {table}' if table else ''}", beside)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None


def stands_beside(published: Published, config: Mapping[str, object]) -> Sequence[Number]:
    """The numbers for runs of this config; none for one that prefsweep has not made."""
    try:
        return [number for number in published.numbers if Published([number]).beside(config)]
    except (KeyError, TypeError, AttributeError):
        return []
