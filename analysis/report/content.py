"""What a report says, as plain values: `gather` fills it from runs, `page` and `figures` draw it.

A cell is a setting that was run with one or several seeds; it stands for its runs in every comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and the ends of its band: None where there is nothing to tell a spread from."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class Metric:
    """How a metric is told: `decimals` are those of every number of it, in the page and in figures."""

    name: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    decimals: int = 3


@dataclass(frozen=True)
class Run:
    """One run: `cell` is its place in `Content.cells`; `command` carries it out again, "" where nobody knows how."""

    run_id: str
    study: str
    source: str
    cell: int
    seed: int | None
    status: str
    error: str
    degenerate: str
    steps: int | None
    seconds: float | None
    url: str
    command: str
    score: float | None


@dataclass(frozen=True)
class Cell:
    """Runs that differ in the seed alone. `runs` are places in `Content.runs`; `strength` None where there is none.

    `others`: swept keys besides method, reference, model, data and strength. `scores`: by metric, over its runs that
    completed and have it. `degenerate`: why the policies of some of them are none.
    """

    method: str
    reference: str
    model: str
    data: str
    strength: float | None
    others: Mapping[str, str]
    label: str
    runs: Sequence[int]
    scores: Mapping[str, Estimate]
    degenerate: str = ""


@dataclass(frozen=True)
class RankRow:
    """A cell's place. `difference` is to the best, in the metric; `p` is corrected for the family it was tested in."""

    cell: int
    rank: int | None
    estimate: Estimate | None
    difference: Estimate | None = None
    p: float | None = None
    best: bool = False
    tied: bool = False
    note: str = ""


@dataclass(frozen=True)
class Ranking:
    """Cells from best to worst, those that cannot be ranked last, and what that says in a sentence.

    `interval` says what the bands are. `tested`: whether rows have differences and p-values.
    """

    metric: str
    verdict: str
    rows: Sequence[RankRow]
    interval: str
    tested: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Fit:
    """A curve through the scores of one series (`cells`), over strength, with its best strength where it has one."""

    cells: Sequence[int]
    metric: str
    strengths: Sequence[float]
    values: Sequence[float]
    optimum: Estimate | None = None


@dataclass(frozen=True)
class Curve:
    """A run's metric over its training; thinned to what a picture can show."""

    run: int
    metric: str
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Token:
    """A vocabulary item and the mean of log p/p_ref over where it was said, in nats."""

    token: str
    mean_logratio: float
    count: int


@dataclass(frozen=True)
class TokenStudy:
    """What a run's policy says less and more often than its reference. `counts` has one less than `edges`."""

    run: int
    eos: Token | None
    eos_logp: float | None
    lowered: Sequence[Token]
    raised: Sequence[Token]
    edges: Sequence[float]
    counts: Sequence[int]


@dataclass(frozen=True)
class Answer:
    """What a policy wrote, with what was measured of it."""

    text: str
    tokens: int | None = None
    reward: float | None = None
    kl: float | None = None
    win: float | None = None
    ended: bool | None = None


@dataclass(frozen=True)
class Prompt:
    """A held-out prompt, answered by the starting policy and by runs: `answers` by place in `Content.runs`."""

    text: str
    start: Answer | None
    answers: Mapping[int, Answer]


@dataclass(frozen=True)
class Responses:
    """Answers side by side, and what was left out so that the page stays small."""

    prompts: Sequence[Prompt] = ()
    told: str = ""


@dataclass(frozen=True)
class Failure:
    """Runs that did not come to a sound end for one and the same reason."""

    status: str
    message: str
    runs: Sequence[int]


@dataclass(frozen=True)
class Study:
    """A study as its folder tells it; `command` is "" where there is no folder."""

    name: str
    command: str = ""
    created: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Content:
    """All of a report. `metrics`: those of `Cell.scores` and of curves, the one ranked by first."""

    title: str
    studies: Sequence[Study]
    metrics: Sequence[Metric]
    cells: Sequence[Cell]
    runs: Sequence[Run]
    ranking: Ranking
    # Runs, the most telling first: the first seed of every cell before any second one, cells from best to worst.
    preferred: Sequence[int]
    # What the bands of metrics are that are not ranked by.
    spread: str
    fits: Sequence[Fit] = ()
    curves: Sequence[Curve] = ()
    tokens: Sequence[TokenStudy] = ()
    responses: Responses = Responses()
    failures: Sequence[Failure] = ()
    told: Sequence[str] = ()

    def metric(self, name: str) -> Metric:
        """How a metric is told."""
        return next((metric for metric in self.metrics if metric.name == name), Metric(name, name))
