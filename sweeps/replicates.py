"""Racing over seeds: whether a trial is so clearly out of the running that its remaining seeds need not be spent.

    enough([0.41], [[0.70, 0.72, 0.71], [0.66, 0.69, 0.67]], "maximize")  # True

A trial is the mean of its seeds. It is out when it lies behind some finished rival by more than chance explains:

    rival's mean - its own mean > t(1 - level / looks, df) x s x sqrt(1/n + 1/m)

with s the standard deviation between seeds pooled over all trials (df degrees of freedom), n seeds of its own and m of
the rival, one-sided. `level` is shared out over all the looks there can be, rivals times seeds before the last
(Bonferroni), so that the truly best trial is dropped in at most `level` of all studies, however many it is compared to:
by the union bound, for seeds that scatter normally and alike in all trials.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

from sweeps.types import Direction

# In how many of all studies the truly best trial may be dropped.
LEVEL = 0.05
FEWEST_RIVALS = 2


def enough(
    values: Sequence[float],
    others: Sequence[Sequence[float]],
    direction: Direction,
    *,
    of: int = 3,
    level: float = LEVEL,
) -> bool:
    """Whether the trial is out of the running after the `values` of some of its `of` seeds.

    `others` are the values so far of the other trials; rivals are those with `of` of them. Never without a seed of its
    own, without 2 rivals, or when all seeds are there. A value that is not finite is left out, with its seed.
    """
    own, rest = _finite(values), [_finite(each) for each in others]
    rivals = [each for each in rest if len(each) >= of]
    if not own or len(own) >= of or len(rivals) < FEWEST_RIVALS:
        return False
    spread, df = pooled([own, *rest])
    if df == 0:
        return False
    from scipy import stats

    looks = len(rivals) * (of - 1)
    bound = float(stats.t.ppf(1 - level / looks, df))
    sign = 1 if direction == "maximize" else -1
    mean = statistics.fmean(own)
    return any(
        sign * (statistics.fmean(rival) - mean) > bound * spread * math.sqrt(1 / len(own) + 1 / len(rival))
        for rival in rivals
    )


def worse(own: Mapping[str, float], best: Mapping[str, float], direction: Direction, level: float) -> bool:
    """Whether `own` is worse than `best` by a one-sided signed-rank test with p < `level`, paired by their keys.

    Keys are prompts, or whatever both were measured on. As in Optuna's WilcoxonPruner, pairs without a difference are
    shared out over both sides, and who has the better mean is never worse. Without a common key nothing is known.
    """
    sign = 1 if direction == "maximize" else -1
    differences = [sign * (own[key] - best[key]) for key in own if key in best]
    if not differences or statistics.fmean(differences) >= 0:
        return False
    from scipy import stats

    return bool(stats.wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue < level)


def pooled(trials: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation between the seeds of a trial, pooled over trials, and its degrees of freedom; 0, 0 of none."""
    several = [values for values in trials if len(values) > 1]
    df = sum(len(values) - 1 for values in several)
    if df == 0:
        return 0.0, 0
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in several)
    return math.sqrt(squares / df), df


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
