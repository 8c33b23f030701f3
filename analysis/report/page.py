"""Content -> one HTML file that opens from disk: no network, and no script but its own, by their hashes.

What is on top is in the HTML itself (what was run, the verdict, the ranking, failures); charts are drawn by `page/*.js`
from the data blocks. Text of unknown origin is escaped here, and put in by `textContent` there.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.report import numbers
from analysis.report.content import Content, Failure
from analysis.report.payload import blocks
from analysis.report.ranking import spread_parts
from analysis.report.untrusted import one_line, visible

# In this order they make one script.
SCRIPTS = (
    "dom.js", "payload.js", "scale.js", "state.js", "look.js", "lines.js", "chart.js", "strength.js", "frontier.js",
    "curves.js", "tokens.js", "responses.js", "runs.js", "filters.js", "main.js",
)  # fmt: skip
STYLES = ("page.css", "charts.css")
# As many as there are colours for methods (look.js).
COLOURS = 8
# Rows of the ranking, and failures, before "show all".
SHORT = 16
_MOST_FAILURES = 60


def render(content: Content) -> str:
    """The page. The same content makes the same bytes."""
    boot, style = _asset("boot.js"), "\n".join(map(_asset, STYLES))
    script = '(() => {\n"use strict";\n' + "\n".join(map(_asset, SCRIPTS)) + "\n})();"
    return _environment().get_template("template.html.j2").render(
        content=content,
        policy=_policy([boot, script], [style]),
        boot=Markup(boot),  # noqa: S704 - these three are the package's own files
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        blocks=[(block.name, block.packed, Markup(block.text)) for block in blocks(content)],  # noqa: S704
        facts=_facts(content),
        metric=content.metric(content.ranking.metric),
        rows=_rows(content),
        reach=_reach(content),
        short=SHORT,
        failures=[_failure(content, failure) for failure in content.failures[:_MOST_FAILURES]],
        failures_left=max(0, len(content.failures) - _MOST_FAILURES),
    )  # fmt: skip


@cache
def _asset(name: str) -> str:
    return resources.files("analysis.report").joinpath("page", name).read_text(encoding="utf-8").rstrip("\n")


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("analysis.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """What a template prints: text of unknown origin never steers the screen, wherever it stands."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    def hashes(texts: Sequence[str]) -> str:
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in texts)

    return (
        f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _facts(content: Content) -> list[tuple[str, str]]:
    """What was run, as names and values."""
    cells, runs = content.cells, content.runs
    completed = sum(run.status == "completed" for run in runs)
    strengths = sorted({cell.strength for cell in cells if cell.strength is not None})
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    hours = sum(run.seconds or 0.0 for run in runs) / 3600
    told = [
        ("runs", f"{len(runs):,}, {f'of which {completed:,}' if completed < len(runs) else 'all'} completed"),
        ("settings", f"{len(cells):,}"),
        ("methods", _listed([cell.method for cell in cells])),
        ("strengths", _listed([numbers.strength(strength) for strength in strengths])),
        ("references", _listed([cell.reference for cell in cells])),
        ("models", _listed([cell.model for cell in cells])),
        ("data", _listed([cell.data for cell in cells])),
        ("seeds", _listed(list(map(str, seeds)))),
        ("run time", f"{hours:,.1f} h together" if hours >= 1 else f"{hours * 60:.0f} min together"),
        ("ranked by", content.metric(content.ranking.metric).label),
    ]  # fmt: skip
    return [(name, value) for name, value in told if value]


def _listed(values: Sequence[str], most: int = 8) -> str:
    distinct = [one_line(value, 60) for value in dict.fromkeys(values) if value]
    more = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {more} more" if more > 0 else "")


def _rows(content: Content) -> list[dict[str, Any]]:
    """The ranking's rows as they are printed, each with a picture of its band in percent of the common range."""
    metric = content.metric(content.ranking.metric)
    methods = {name: place for place, name in enumerate(dict.fromkeys(cell.method for cell in content.cells))}
    ends = _ends(content)
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)

    def place(value: float) -> str:
        return f"{4 + 92 * ((value - low) / (high - low) if high > low else 0.5):.2f}%"

    best = next((row.estimate for row in content.ranking.rows if row.best), None)
    found = []
    for row in content.ranking.rows:
        cell, estimate = content.cells[row.cell], row.estimate
        found.append({
            "row": row,
            "label": one_line(cell.label, 160),
            "look": f"m{methods[cell.method] % COLOURS}",
            "value": spread_parts(estimate, metric) if estimate else (numbers.MISSING, ""),
            "picture": {
                "at": place(estimate.mean),
                "from": place(estimate.low) if estimate.low is not None else None,
                "to": place(estimate.high) if estimate.high is not None else None,
                "best": place(best.mean) if best else None,
            } if estimate else None,
            "difference": spread_parts(row.difference, metric) if row.difference else (numbers.MISSING, ""),
            "p": _p(row.p),
            "seeds": estimate.seeds if estimate else 0,
            "note": one_line(row.note, 400),
        })  # fmt: skip
    return found


def _ends(content: Content) -> list[float]:
    estimates = [row.estimate for row in content.ranking.rows if row.estimate]
    return [end for each in estimates for end in (each.mean, each.low, each.high) if end is not None]


def _reach(content: Content) -> tuple[str, str] | None:
    """The ends of the range that the ranking's pictures share."""
    ends, metric = _ends(content), content.metric(content.ranking.metric)
    if not ends or min(ends) == max(ends):
        return None
    return numbers.fixed(min(ends), metric.decimals), numbers.fixed(max(ends), metric.decimals)


def _p(value: float | None) -> str:
    if value is None:
        return numbers.MISSING
    return "< 0.001" if value < 0.001 else numbers.fixed(value, 3)


def _failure(content: Content, failure: Failure) -> dict[str, Any]:
    named = [content.runs[run].run_id for run in failure.runs[:5]]
    more = len(failure.runs) - len(named)
    message = failure.message.strip() or "no reason is known"
    return {
        "status": failure.status,
        "count": len(failure.runs),
        "head": one_line(message, 200),
        "message": message if len(message) > 200 or "\n" in message else "",
        "runs": ", ".join(named) + (f" and {more} more" if more > 0 else ""),
    }
