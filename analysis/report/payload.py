"""Content -> the JSON blocks of the page, which no browser executes: markup in them stays text.

Block("core", '{"metric": ...}', packed=False); large blocks are gzipped and written in base64.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.report.cells import strength_name
from analysis.report.content import Answer, Content, Curve, Estimate, TokenStudy
from analysis.report.untrusted import one_line, visible, visible_token

# Below this a reader of the page's source may read the data too.
_PACKED_FROM = 60_000
_LONGEST_ANSWER = 6_000
_LABEL = 240


@dataclass(frozen=True)
class Block:
    """One block of data: `text` holds no `<`, `>` or `&`."""

    name: str
    text: str
    packed: bool


def blocks(content: Content) -> list[Block]:
    """The page's data, what it needs first at the front; parts that no run has are left out."""
    found = [_block("core", _core(content))]
    if content.curves:
        found.append(_block("curves", _curves(content.curves)))
    if content.tokens:
        found.append(_block("tokens", [_tokens(study) for study in content.tokens]))
    if content.responses.prompts:
        found.append(_block("responses", _responses(content)))
    return found


def as_text(value: Any) -> str:
    """JSON that means the same inside of HTML and of scripts: ASCII, and nothing that could end its element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _block(name: str, value: Any) -> Block:
    text = as_text(value)
    if len(text) < _PACKED_FROM:
        return Block(name, text, packed=False)
    packed = gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)
    return Block(name, base64.b64encode(packed).decode("ascii"), packed=True)


def _core(content: Content) -> dict[str, Any]:
    rows = {row.cell: row for row in content.ranking.rows}
    cells = [
        {
            **{
                name: one_line(getattr(cell, name), _LABEL)
                for name in ("method", "reference", "model", "data", "label")
            },
            "strength": cell.strength,
            "others": {one_line(key, _LABEL): one_line(value, _LABEL) for key, value in cell.others.items()},
            "runs": list(cell.runs),
            "scores": {name: _estimate(estimate) for name, estimate in cell.scores.items()},
            "degenerate": one_line(cell.degenerate, 300),
            "rank": rows[place].rank if place in rows else None,
            "best": place in rows and rows[place].best,
            "tied": place in rows and rows[place].tied,
        }
        for place, cell in enumerate(content.cells)
    ]
    return {
        "metric": content.ranking.metric,
        "metrics": [
            {"name": each.name, "label": one_line(each.label, 80), "unit": each.unit, "better": each.better,
             "decimals": each.decimals}
            for each in content.metrics
        ],
        "tested": content.ranking.tested,
        "interval": content.ranking.interval,
        "spread": content.spread,
        "strengths": {one_line(cell.method, _LABEL): strength_name(cell.method) for cell in content.cells},
        "cells": cells,
        "runs": [
            {
                "id": one_line(run.run_id, _LABEL),
                "study": one_line(run.study, _LABEL),
                "cell": run.cell,
                "seed": run.seed,
                "status": one_line(run.status, 40),
                "error": one_line(run.error, 300),
                "degenerate": one_line(run.degenerate, 300),
                "steps": run.steps,
                "seconds": run.seconds,
                "url": visible(run.url, 500),
                "command": run.command,
                "score": run.score,
            }
            for run in content.runs
        ],
        "preferred": list(content.preferred),
        # Whether distance and score were measured while training went on.
        "paths": len({"eval/kl", "eval/kl_k3"} & {curve.metric for curve in content.curves}) > 0,
        "fits": [
            {"cells": list(fit.cells), "metric": fit.metric, "strengths": list(fit.strengths),
             "values": list(fit.values), "optimum": _estimate(fit.optimum) if fit.optimum else None}
            for fit in content.fits
        ],
    }  # fmt: skip


def _estimate(estimate: Estimate) -> list[float | None]:
    return [estimate.mean, estimate.low, estimate.high, estimate.seeds]


def _curves(curves: Sequence[Curve]) -> dict[str, Any]:
    """Steps as differences, each list of them once: many runs log at the same steps."""
    metrics = {name: place for place, name in enumerate(dict.fromkeys(curve.metric for curve in curves))}
    steps: dict[tuple[int, ...], int] = {}
    rows = []
    for curve in curves:
        before = [0, *curve.steps[:-1]]
        deltas = tuple(step - last for step, last in zip(curve.steps, before, strict=True))
        rows.append([curve.run, metrics[curve.metric], steps.setdefault(deltas, len(steps)), list(curve.values)])
    return {"metrics": list(metrics), "steps": [list(deltas) for deltas in steps], "curves": rows}


def _tokens(study: TokenStudy) -> dict[str, Any]:
    eos = study.eos
    return {
        "run": study.run,
        "eos": [visible_token(eos.token), eos.mean_logratio, eos.count] if eos else None,
        "eosLogp": study.eos_logp,
        **{
            way: [[visible_token(token.token), token.mean_logratio, token.count] for token in tokens]
            for way, tokens in (("lowered", study.lowered), ("raised", study.raised))
        },
        "edges": list(study.edges),
        "counts": list(study.counts),
    }


def _responses(content: Content) -> Mapping[str, Any]:
    return {
        "told": content.responses.told,
        "prompts": [
            {
                "text": visible(prompt.text, _LONGEST_ANSWER),
                "start": _answer(prompt.start) if prompt.start else None,
                "answers": [[run, _answer(answer)] for run, answer in prompt.answers.items()],
            }
            for prompt in content.responses.prompts
        ],
    }


def _answer(answer: Answer) -> list[Any]:
    text = visible(answer.text, _LONGEST_ANSWER)
    return [text, answer.tokens, answer.reward, answer.kl, answer.win, answer.ended]
