"""Runs -> all that a report says of them.

read(sources, PARTS) -> Runs ── gather ──▶ Content(studies, cells, ranking, curves, tokens, responses, failures)
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.report import commands, failures, metrics, numbers, studies, tokens
from analysis.report.cells import SPREAD, make_cells, mapping_of, over_seeds, text_of
from analysis.report.content import Cell, Content, Metric, Ranking, Run, TokenStudy
from analysis.report.curves import make_curves
from analysis.report.ranking import make_ranking
from analysis.report.responses import make_responses
from analysis.report.untrusted import one_line
from analysis.runs import Runs

_LONGEST_LABEL, _LONGEST_MESSAGE = 200, 4000


def gather(runs: Runs, metric: str | None = None, title: str | None = None) -> Content:
    """What a report says of runs, ranked by `metric`.

    Raises BadQuestion where no completed run has that metric.
    """
    first = metrics.ranked_by(runs, metric)
    names = metrics.scores(runs, first)
    cells = make_cells(runs, names)
    made, study_of = studies.make_studies(runs)
    entries = _runs(runs, cells, [made[place].command for place in study_of], first)
    ranking = make_ranking(runs, cells, _told(first, cells))
    cells = as_ranked(cells, ranking)
    preferred = _preferred(cells, ranking)
    token_studies, told_of_tokens = tokens.make_tokens(runs, preferred)
    cells, names = _with_eos(cells, token_studies, names)
    curves, told_of_curves = make_curves(runs, first)
    shown = dict.fromkeys([*names, *(curve.metric for curve in curves)])
    return Content(
        title=one_line(title or studies.title(made), _LONGEST_LABEL),
        studies=[dataclasses.replace(study, command=commands.study_command(study.command)) for study in made],
        metrics=[_told(name, cells) for name in shown],
        cells=cells,
        runs=entries,
        ranking=ranking,
        preferred=preferred,
        spread=SPREAD,
        curves=curves,
        tokens=[tokens.few(study, len(token_studies)) for study in token_studies],
        responses=make_responses(runs, preferred),
        failures=failures.make_failures(entries),
        told=[*runs.told, *failures.doubts(cells, entries, first), *told_of_curves, *told_of_tokens],
    )


def _runs(runs: Runs, cells: Sequence[Cell], study_commands: Sequence[str], first: str) -> list[Run]:
    cell_of = {run: place for place, cell in enumerate(cells) for run in cell.runs}
    return [
        _run(row, cell_of[place], study_commands[place], first)
        for place, row in enumerate(runs.frame.to_dict(orient="records"))
    ]


def _run(row: Mapping[Any, Any], cell: int, study_command: str, first: str) -> Run:
    seed, steps, seconds = (_known(row[name]) for name in ("seed", "steps", "seconds"))
    status, score = text_of(row["status"]) or "unknown", _known(row.get(first))
    seed = None if seed is None else int(seed)
    return Run(
        run_id=text_of(row["run_id"])[:_LONGEST_LABEL],
        study=text_of(row["study"])[:_LONGEST_LABEL],
        source=text_of(row["source"]),
        cell=cell,
        seed=seed,
        status=status,
        error=text_of(row["error"])[:_LONGEST_MESSAGE],
        degenerate=text_of(row["degenerate"])[:_LONGEST_MESSAGE],
        steps=None if steps is None else int(steps),
        seconds=None if seconds is None else float(seconds),
        url=text_of(row["tracking_url"]),
        command=commands.run_command(study_command, mapping_of(row["params"]), mapping_of(row["config"]), seed),
        score=float(score) if score is not None and status == "completed" else None,
    )


def as_ranked(cells: Sequence[Cell], ranking: Ranking) -> list[Cell]:
    """Cells with the ranking's own estimates, so that its table and a chart never tell two intervals of one number."""
    estimates = {row.cell: row.estimate for row in ranking.rows}
    changed = []
    for place, cell in enumerate(cells):
        estimate = estimates.get(place)
        scores = cell.scores if estimate is None else {**cell.scores, ranking.metric: estimate}
        changed.append(dataclasses.replace(cell, scores=scores))
    return changed


def _preferred(cells: Sequence[Cell], ranking: Ranking) -> list[int]:
    """`Content.preferred`."""
    order = [cells[row.cell].runs for row in ranking.rows]
    deepest = max((len(runs) for runs in order), default=0)
    return [runs[seed] for seed in range(deepest) for runs in order if seed < len(runs)]


def _with_eos(cells: Sequence[Cell], found: Sequence[TokenStudy], names: Sequence[str]) -> tuple[list[Cell], list[str]]:
    """Cells with what their policies make of the token that ends an answer, as two more scores."""
    of_run = {study.run: study for study in found if study.eos}
    if not of_run:
        return list(cells), list(names)
    changed = []
    for cell in cells:
        known = [of_run[run] for run in cell.runs if run in of_run]
        ratios = [study.eos.mean_logratio for study in known if study.eos]
        logps = [study.eos_logp for study in known if study.eos_logp is not None]
        each = {metrics.EOS_LOGRATIO: over_seeds(ratios), metrics.EOS_LOGP: over_seeds(logps)}
        scores = {**cell.scores, **{name: estimate for name, estimate in each.items() if estimate}}
        changed.append(dataclasses.replace(cell, scores=scores))
    told = [name for name in (metrics.EOS_LOGRATIO, metrics.EOS_LOGP) if any(name in cell.scores for cell in changed)]
    return changed, [*names, *told]


def _told(name: str, cells: Sequence[Cell]) -> Metric:
    estimates = [cell.scores[name] for cell in cells if name in cell.scores]
    spreads = [(each.high - each.low) / 2 for each in estimates if each.high is not None and each.low is not None]
    return metrics.metric(name, numbers.decimals(spreads, [each.mean for each in estimates]))


def _known(value: Any) -> Any:
    return None if value is None or pd.isna(value) else value
