"""Which of two answers a judge prefers: a language model behind `evaluation.judge.base_url`, asked in both orders.

    judged(...) -> Judged([1.0, 0.5, 0.75, ...], {"eval/judge_calls": 128.0, ...})

A win in one order and a loss in the other, or a tie, is one half. What the judge has said is kept in
<cache_dir>/judge, for all runs, and asked and paid for once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.config import RunConfig
from trainers.samples import Asked, Sample

if TYPE_CHECKING:
    from trainers.judge_bill import Count

KEY = "evaluation.judge"


@dataclass(frozen=True)
class Judged:
    """Shares of a win by prompt, None of those that nobody has judged; what it took; why they are not known."""

    wins: Sequence[float | None]
    spent: dict[str, float]
    why: str | None = None


def judged(
    config: RunConfig,
    cache_dir: Path,
    asked: Sequence[Asked],
    answers: Sequence[Sample],
    others: Sequence[Sample],
    heed: Callable[[], None],
) -> Judged:
    """Of each answer against the other one at its place; for one rank to ask.

    A judge that refuses or stays away is told in `why`: what was paid for then is counted all the same, and what was
    said is kept. `heed` may end it with an exception.
    """
    # A client for HTTP is loaded where there is somebody to talk to.
    from trainers.judge import Judge, JudgeUnavailable
    from trainers.judge_bill import Count

    spent = Count()
    judge = Judge(config.evaluation.judge, cache_dir / "judge", spent, heed, key=KEY)
    try:
        labels = judge.label(asked, list(zip(answers, others, strict=True)))
    except JudgeUnavailable as problem:
        return Judged([None] * len(answers), _told(config, spent), str(problem))
    except OSError as problem:
        why = f"what the judge says cannot be kept ({problem.strerror}: {problem.filename})"
        return Judged([None] * len(answers), _told(config, spent), why)
    return Judged([label.rewards[0] for label in labels], _told(config, spent))


def _told(config: RunConfig, spent: "Count") -> dict[str, float]:
    """eval/judge_calls: replies that this evaluation has paid for; their tokens; US dollars where prices are given."""
    judge = config.evaluation.judge
    found = {
        "eval/judge_calls": float(spent.replies),
        "eval/judge_tokens_in": float(spent.tokens_in),
        "eval/judge_tokens_out": float(spent.tokens_out),
    }
    if judge.price_in or judge.price_out:
        found["eval/judge_cost_usd"] = (spent.tokens_in * judge.price_in + spent.tokens_out * judge.price_out) / 1e6
    return found
