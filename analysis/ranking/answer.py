"""All that `rank` answers: the ranking, and the frontier and curves where they were asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.ranking.fits import Fits, fit_all
from analysis.ranking.frontier import Frontier, frontiers
from analysis.ranking.rank import Question, Ranking, rank_runs
from analysis.runs import Runs


@dataclass(frozen=True)
class Answer:
    """`frontiers` and `fits` go with the ranking's groups, one each; empty where they were not asked for."""

    ranking: Ranking
    frontiers: Sequence[Frontier] = ()
    fits: Sequence[Fits] = ()


def answer(runs: Runs, question: Question, pareto: str | None = None, *, fit: bool = False) -> Answer:
    """Raises what `rank_runs`, `frontiers` and `fit_all` do."""
    ranking = rank_runs(runs, question)
    return Answer(ranking, frontiers(runs, ranking, pareto) if pareto else (), fit_all(runs, ranking) if fit else ())
