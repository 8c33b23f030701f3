"""Racing over seeds."""

import random

import pytest

from sweeps.replicates import LEVEL, enough, pooled, worse

CLEAR = [[0.70, 0.71, 0.72], [0.69, 0.70, 0.71]]


def test_a_trial_far_behind_needs_no_more_seeds():
    assert enough([0.40], CLEAR, "maximize")
    assert not enough([0.40], CLEAR, "minimize")


def test_the_bound_is_that_of_the_docstring():
    """s = 0.01, df = 4, 2 rivals x 2 looks: t(1 - 0.05/4, 4) = 3.4954; 0.71 - 3.4954 x 0.01 x sqrt(4/3) = 0.6696."""
    assert enough([0.6695], CLEAR, "maximize")
    assert not enough([0.6697], CLEAR, "maximize")


def test_the_spread_is_pooled_over_trials():
    """Variances 2 (df 1) and 1 (df 2): sqrt((2 x 1 + 1 x 2) / 3)."""
    assert pooled([[0.0, 2.0], [0.0, 1.0, 2.0], [5.0]]) == (pytest.approx((4 / 3) ** 0.5), 3)


@pytest.mark.parametrize(
    ("values", "others"),
    [
        ([], CLEAR),
        ([0.1], CLEAR[:1]),
        ([0.1], [[0.7], [0.8]]),
        ([0.1, 0.1, 0.1], CLEAR),
        ([float("nan")], CLEAR),
    ],
    ids=["no seed", "one rival", "no finished rival", "all its seeds", "no finite value"],
)
def test_too_little_is_known_to_drop_a_trial(values: list[float], others: list[list[float]]):
    assert not enough(values, others, "maximize")


def race(rng: random.Random, means: list[float], noise: float, of: int) -> tuple[bool, int]:
    """Trials one after the other, the best at a random place; whether it was dropped, and the seeds saved."""
    order = rng.sample(range(len(means)), len(means))
    seen: list[list[float]] = []
    dropped, saved = False, 0
    for trial in order:
        values: list[float] = []
        while len(values) < of:
            values.append(rng.gauss(means[trial], noise))
            if enough(values, seen, "maximize", of=of):
                saved += of - len(values)
                dropped |= means[trial] == max(means)
                break
        seen.append(values)
    return dropped, saved


@pytest.mark.slow
@pytest.mark.parametrize(
    "means",
    [[0.0] * 12, [0.0, *[-0.5] * 11], [0.0, *[-4.0] * 11]],
    ids=["all are best", "close behind", "far behind"],
)
def test_the_best_trial_is_dropped_no_more_often_than_stated(means: list[float]):
    """Where all are the best, any of them stands for it: then the bound holds for each, and is counted for one."""
    rng = random.Random(1)
    best = [0.001, *means[1:]] if means[0] == means[-1] else means
    dropped = [race(rng, best, 1.0, 3)[0] for _ in range(400)]
    # 400 studies: 0.05 and three standard errors.
    assert sum(dropped) / 400 <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / 400) ** 0.5


def test_seeds_of_trials_far_behind_are_saved():
    rng = random.Random(2)
    saved = [race(rng, [0.0, *[-12.0] * 11], 1.0, 3)[1] for _ in range(10)]
    assert sum(saved) / 10 > 6  # of 22 that bad trials could save; the first two can save none


def test_who_is_worse_on_almost_every_prompt_is_worse():
    """Of 8 pairs, all behind, p = 1 / 2^8."""
    best = {str(place): place / 10 for place in range(8)}
    behind = {prompt: value - 0.05 - value / 100 for prompt, value in best.items()}
    assert worse(behind, best, "maximize", 0.004)
    assert not worse(behind, best, "maximize", 0.0039)
    assert not worse(behind, best, "minimize", 0.5)
    assert worse(best, behind, "minimize", 0.004)


def test_only_prompts_of_both_are_compared():
    assert not worse({"a": 0.0}, {"b": 1.0}, "maximize", 0.9)
    assert not worse({}, {"b": 1.0}, "maximize", 0.9)


def test_who_scores_the_same_is_not_worse():
    same = {str(place): 1.0 for place in range(20)}
    assert not worse(same, same, "maximize", 0.9)
