"""Rejection sampling against its formula, and pairs as the paper makes them."""

import math
import random
from collections import Counter

import pytest

from tests.fakes.tiny_runs import method
from trainers.data import TokenisedPair
from trainers.method_config import RSO
from trainers.rso import accept, acceptance, accepted, paired
from trainers.samples import Asked, Group, Label, Sample


def settings(**changes: object) -> RSO:
    return RSO.model_validate({**method("rso"), **changes})


def group(*rewards: float, texts: str = "abcdefgh") -> Group:
    answers = [Sample([ord(letter), 257], letter, -1.0, ended=True) for letter in texts[: len(rewards)]]
    return Group("candidates", 0, Asked([1], "x"), answers, Label(list(rewards)))


def told(pairs: list[TokenisedPair]) -> list[str]:
    return [f"{chr(pair.chosen_ids[0])}>{chr(pair.rejected_ids[0])}" for pair in pairs]


@pytest.mark.parametrize(
    ("reward", "beta", "probability"),
    [(3.0, 0.5, 1.0), (2.9, 0.5, 0.8187308), (1.0, 0.5, 0.0183156), (1.0, 2.0, 0.3678794)],
)
def test_an_answer_is_accepted_with_the_exponential_of_what_it_lacks(
    reward: float, beta: float, probability: float
) -> None:
    """exp(-0.1 / 0.5), exp(-2 / 0.5), exp(-2 / 2)."""
    assert acceptance(reward, 3.0, beta) == pytest.approx(probability, abs=1e-6)


def test_candidates_are_gone_through_in_order_and_the_best_stays_for_certain() -> None:
    """Two candidates, one wanted: the first is taken with probability e^-1, else the second, the best, is."""
    draw = random.Random(0)
    first = sum(accept([1.0, 2.0], 1.0, 1, draw) == [0] for _ in range(20000)) / 20000
    assert first == pytest.approx(math.exp(-1), abs=0.012)


def test_once_the_best_is_taken_the_next_best_is_what_others_are_held_against() -> None:
    """Two of [5, 0, 0] at beta 0.1: 5, and then one of the others, which are now the best themselves."""
    draw = random.Random(0)
    found = Counter(tuple(accept([5.0, 0.0, 0.0], 0.1, 2, draw)) for _ in range(200))
    assert found == {(0, 1): 200}


def test_no_more_are_accepted_than_wanted_nor_than_there_are() -> None:
    draw = random.Random(0)
    assert len(accept([0.0] * 10, 1.0, 4, draw)) == 4
    assert sorted(accept([0.0, -50.0, 3.0], 0.5, 4, draw)) == [0, 1, 2]
    assert accept([], 1.0, 4, draw) == []


def test_a_small_beta_keeps_the_best_a_large_one_keeps_anything() -> None:
    rewards = [float(reward) for reward in range(8)]
    draw = random.Random(0)
    best = [sum(accept(rewards, 0.05, 2, draw)) for _ in range(200)]
    anything = [sum(accept(rewards, 1e6, 2, draw)) for _ in range(200)]
    assert set(best) == {13}
    # Gone through from the first on, each being accepted.
    assert set(anything) == {1}


def test_equal_answers_count_as_one() -> None:
    assert sorted(accepted(group(1.0, 1.0, 1.0, texts="aab"), settings(accepted=3), 0)) == [0, 2]


def test_the_same_seed_accepts_the_same() -> None:
    tried = group(*[0.1 * number for number in range(8)])
    assert accepted(tried, settings(), 5) == accepted(tried, settings(), 5)
    assert len({tuple(accepted(tried, settings(), seed)) for seed in range(20)}) > 1


def test_a_first_round_pairs_two_by_two() -> None:
    pairs = told(paired(group(1.0, 2.0, 3.0, 4.0), [0, 1, 2, 3], settings(pairing="first_round"), 0))
    assert len(pairs) == 2
    assert sorted(letter for pair in pairs for letter in pair.split(">")) == ["a", "b", "c", "d"]
    assert all(winner > loser for winner, loser in (pair.split(">") for pair in pairs))


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_a_tournament_has_one_pair_less_than_players_and_the_best_wins_it(count: int) -> None:
    pairs = told(paired(group(*map(float, range(count))), range(count), settings(pairing="tournament"), 0))
    assert len(pairs) == count - 1
    assert pairs[-1].startswith("abcdefgh"[count - 1])
    assert all(winner > loser for winner, loser in (pair.split(">") for pair in pairs))


def test_equal_rewards_make_no_pair() -> None:
    assert paired(group(1.0, 1.0), [0, 1], settings(), 0) == []


def test_pairs_have_the_tokens_that_were_sampled() -> None:
    (pair,) = paired(group(1.0, 2.0), [0, 1], settings(), 0)
    assert pair == TokenisedPair([1], [ord("b"), 257], [ord("a"), 257], truncated=False)
