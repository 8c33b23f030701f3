"""Length-controlled win rates against planted length bias and planted quality, and where there is little to go by."""

import math

import numpy as np
import pytest

from trainers.evaluation.length_controlled import win_rate

LENGTH = 100.0


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def planted(
    seed: int, count: int, quality: float, bias: float, longer: float, ties: float = 0.0
) -> tuple[list[float], list[float], list[float]]:
    """Wins of log-odds `quality` + `bias` · tanh(d), where d is normal around `longer` with sd 1 (40 characters)."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(longer, 1.0, count)
    chances = 1 / (1 + np.exp(-(quality + bias * np.tanh(steps))))
    wins = np.where(rng.random(count) < ties, 0.5, rng.random(count) < chances)
    return wins.tolist(), (LENGTH + 40 * steps).tolist(), [LENGTH] * count


def test_wins_by_length_alone_come_down_to_a_half():
    wins, lengths, others = planted(0, 2000, quality=0.0, bias=3.0, longer=1.0)
    rate, error = win_rate(wins, lengths, others)
    assert np.mean(wins) > 0.75
    assert abs(rate - 0.5) < 3 * error < 0.1


def test_the_longer_answer_winning_every_time_comes_near_a_half():
    _, lengths, others = planted(0, 2000, quality=0.0, bias=0.0, longer=1.0)
    wins = [float(length > LENGTH) for length in lengths]
    rate, _ = win_rate(wins, lengths, others)
    assert np.mean(wins) > 0.8
    assert rate == pytest.approx(0.5, abs=0.1)


def test_wins_by_quality_alone_stay_what_they_are():
    wins, lengths, others = planted(1, 2000, quality=1.0, bias=0.0, longer=0.5)
    rate, error = win_rate(wins, lengths, others)
    assert abs(rate - np.mean(wins)) < 2 * error


def test_of_both_the_quality_is_left():
    wins, lengths, others = planted(2, 2000, quality=0.7, bias=2.0, longer=1.0)
    rate, error = win_rate(wins, lengths, others)
    assert np.mean(wins) > sigmoid(0.7) + 0.1
    assert abs(rate - sigmoid(0.7)) < 3 * error


def test_a_policy_that_wins_though_it_writes_less_gains():
    wins, lengths, others = planted(3, 2000, quality=0.5, bias=2.0, longer=-1.0)
    rate, _ = win_rate(wins, lengths, others)
    assert rate > np.mean(wins) + 0.1


@pytest.mark.parametrize(
    ("count", "quality", "bias", "longer", "ties"),
    [(64, 0.0, 0.0, 0.0, 0.0), (64, 1.0, 2.0, 1.0, 0.0), (256, 1.0, 2.0, 1.0, 0.0), (64, 0.0, 0.0, 0.5, 0.5)],
)
def test_the_standard_error_covers(count: int, quality: float, bias: float, longer: float, ties: float):
    """Of 400 intervals of 95 %, 380 ± 4.4."""
    truth = sigmoid(quality)
    covered = 0
    for seed in range(400):
        rate, error = win_rate(*planted(seed, count, quality, bias, longer, ties))
        covered += abs(rate - truth) < 1.96 * error
    assert 0.91 < covered / 400 < 0.98


def test_the_two_sides_add_up_to_one():
    wins, lengths, others = planted(4, 64, quality=0.7, bias=1.0, longer=0.5)
    rate, error = win_rate(wins, lengths, others)
    back, same = win_rate([1 - win for win in wins], others, lengths)
    assert (back, same) == (pytest.approx(1 - rate), pytest.approx(error))


def test_all_ties_are_a_half_without_an_error():
    assert win_rate([0.5] * 8, range(8), [4] * 8) == (pytest.approx(0.5), pytest.approx(0.0, abs=1e-9))


def test_at_equal_lengths_it_is_the_plain_rate():
    rate, error = win_rate([1.0] * 48 + [0.0] * 16, [7] * 64, [7] * 64)
    assert rate == pytest.approx(0.75, abs=0.002)
    assert error == pytest.approx(math.sqrt(0.75 * 0.25 / 64), rel=0.05)


@pytest.mark.parametrize(("win", "least", "most"), [(1.0, 0.99, 1.0), (0.0, 0.0, 0.01)])
def test_wins_that_are_all_alike_stay_finite(win: float, least: float, most: float):
    rate, error = win_rate([win] * 64, list(range(64)), [30] * 64)
    assert least < rate < most
    assert 0 <= error < 0.01


def test_answers_all_longer_by_the_same_leave_nothing_to_tell_by():
    assert all(math.isnan(value) for value in win_rate([1.0, 0.0, 1.0], [9, 10, 11], [4, 5, 6]))


def test_an_unknown_win_is_left_out():
    wins, lengths, others = planted(5, 40, quality=0.5, bias=1.0, longer=0.5)
    more = win_rate([*wins, None, math.nan], [*lengths, 1.0, 999.0], [*others, 5.0, 5.0])
    assert more == win_rate(wins, lengths, others)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_wins_say_nothing(count: int):
    assert all(math.isnan(value) for value in win_rate([1.0] * count, [5] * count, [4] * count))


def test_two_wins_are_enough_for_a_number():
    assert all(math.isfinite(value) for value in win_rate([1.0, 0.0], [9, 2], [4, 5]))
