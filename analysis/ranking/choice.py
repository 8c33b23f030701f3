"""Which metric to rank by where none is named: the nearest to what people want that cells can be compared by."""

import difflib

from analysis.by_prompt import by_prompt
from analysis.cells import Sorted
from analysis.comparable import objection, objections_within
from analysis.errors import BadQuestion
from analysis.runs import Runs
from analysis.under_way import under_way

# What answers are worth before what pairs say; of pairs, what needs no reference first.
PREFERRED = ("eval/win_rate", "eval/judge_win_rate", "eval/reward", "eval/policy_accuracy", "eval/reward_accuracy")


def choose_metric(runs: Runs, cells: Sorted, asked: str | None) -> tuple[str, list[str]]:
    """The metric, and a sentence on its choice where it was not asked for.

    Raises BadQuestion where no run has the one asked for, or any to choose from.
    """
    having = [name for name in runs.metrics if runs.frame[name].notna().any()]
    state = under_way(runs)
    if asked is not None:
        if asked not in having:
            near = difflib.get_close_matches(asked, having, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            hint = f"{state}; {hint}" if state else hint
            raise BadQuestion(f"{asked}: no run has it; {hint}there are {', '.join(having) or 'no metrics at all'}")
        return asked, []
    there = [name for name in PREFERRED if name in having]
    if not there:
        if state and not having:
            raise BadQuestion(f"{state}; nothing is there to rank by yet")
        raise BadQuestion(
            (f"{state}; " if state else "")
            + f"none of {', '.join(PREFERRED)} is there to rank by; name one with --metric: "
            f"{', '.join(having) or 'but no run has any'}"
        )
    passed: list[str] = []
    for name in there:
        found = objections_within(runs.frame, cells, name, by_prompt(runs.frame, name))
        if not found:
            first = f"ranked by {name}, the first of {', '.join(PREFERRED)} that the runs have"
            return name, ["; ".join([first, *passed])]
        passed.append(objection(name, found))
    return there[0], []  # refused with its reasons further on
