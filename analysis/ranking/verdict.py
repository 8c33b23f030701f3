"""Says in a sentence what a ranking comes to.

beta=0.1 is best in dpo on tiny (0.62), but 0.05 and 0.5 cannot be told from it with 3 seeds and 256 prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.by_prompt import part_of
from analysis.cells import shown
from analysis.ranking.rank import Cell, RankedGroup, Ranking
from trainers.methods import METHODS

# So many are named; of more the number is told.
_NAMED = 4


def verdict(ranking: Ranking, group: RankedGroup) -> str:
    """One sentence on a group of the ranking; the worst that can be said of it is part of it."""
    where = place(group.setting)
    best = group.best
    if best is None and _is_reward_model(group):
        return f"Nothing can be ranked{where}: a reward model has no policy, and so no {ranking.metric}."
    if best is None:
        return f"Nothing can be ranked{where}: {_lost(group, ranking.by) or 'there are no runs'}."
    head = f"{label(best.keys, ranking.by)} is best{where}"
    tied = [cell for cell in group.cells if cell.standing == "tied"]
    behind = [cell for cell in group.cells if cell.standing == "behind"]
    lost = _lost(group, ranking.by)
    tail = f"; {lost}" if lost else ""
    if not tied and not behind:
        return f"{label(best.keys, ranking.by)} is the only one with a sound result{where}{tail}."
    told = evidence(ranking, [best, *tied])
    if not tied:
        others = "the other" if len(behind) == 1 else f"all {len(behind)} others"
        return f"{head}, and {others} can be told from it with {told}{tail}."
    if not behind:
        extreme = "highest" if ranking.direction == "maximize" else "lowest"
        others = "the other" if len(tied) == 1 else "the others"
        return (
            f"No setting can be told from {others}{where} with {told}; "
            f"{extreme} mean: {label(best.keys, ranking.by)}{tail}."
        )
    return f"{head}, but {_listed(tied, ranking.by)} cannot be told from it with {told}{tail}."


def _is_reward_model(group: RankedGroup) -> bool:
    methods = [METHODS.get(str({**group.setting, **cell.keys}.get("method"))) for cell in group.cells]
    return bool(methods) and all(method is not None and method.data_format == "comparisons" for method in methods)


def label(keys: Mapping[str, Any], by: Sequence[str]) -> str:
    """beta=0.1, or method=dpo, beta=0.1."""
    return ", ".join(f"{key}={shown(keys[key])}" for key in by)


def place(keys: Mapping[str, Any]) -> str:
    """{method: dpo, model: tiny, reference: self} -> " in dpo on tiny with reference=self"."""
    rest = {key: shown(value) for key, value in keys.items()}
    words = [f"in {rest.pop('method')}"] if "method" in rest else []
    words += [f"on {rest.pop('model')}"] if "model" in rest else []
    if rest:
        words.append("with " + ", ".join(f"{key}={value}" for key, value in rest.items()))
    return "".join(f" {word}" for word in words)


def evidence(ranking: Ranking, cells: Sequence[Cell]) -> str:
    """3 seeds and 256 prompts."""
    prompts = [cell.measured.prompts for cell in cells]
    told = _count([cell.seeds for cell in cells], "seed")
    kind = "pair" if part_of(ranking.metric) == "pairs" else "prompt"
    return f"{told} and {_count(prompts, kind)}" if all(prompts) else told


def _count(counts: Sequence[int], what: str) -> str:
    least, most = min(counts), max(counts)
    if least == most:
        return f"{most} {what}" if most == 1 else f"{most} {what}s"
    return f"{least} to {most} {what}s"


def _listed(cells: Sequence[Cell], by: Sequence[str]) -> str:
    """0.05 and 0.5, where one key says which; else the whole labels."""
    if len(cells) > _NAMED:
        return f"{len(cells)} others"
    names = [shown(cell.keys[by[0]]) if len(by) == 1 else f"({label(cell.keys, by)})" for cell in cells]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _lost(group: RankedGroup, by: Sequence[str]) -> str:
    degenerate = [cell for cell in group.cells if cell.standing == "degenerate"]
    missing = [cell for cell in group.cells if cell.standing == "none"]
    told = []
    if degenerate:
        told.append(f"{_listed(degenerate, by)} {'is' if len(degenerate) == 1 else 'are'} degenerate")
    if missing:
        told.append(f"{_listed(missing, by)} {'has' if len(missing) == 1 else 'have'} no result")
    return " and ".join(told)
