"""The study of tokens: mean log-ratios by vocabulary item, worked out by hand."""

import math

import pytest
import torch

from tests.fakes.tiny_runs import bandit
from trainers.evaluation.compare import Compared
from trainers.evaluation.tokens import study

TOKENIZER = bandit([0.0] * 500).tokenizer


def compared(ids: list[int], ratios: list[float], logp: float = -1.0) -> Compared:
    logps = torch.full((len(ids),), logp)
    nothing = torch.zeros(len(ids))
    return Compared(ids, logps, logps - torch.tensor(ratios), nothing, nothing)


def test_a_mean_is_over_the_places_of_a_token() -> None:
    found = study([compared([7, 8, 7], [-1.0, 0.5, -2.0]), compared([8, 0], [1.5, 3.0])], TOKENIZER, [0])
    assert found["lowered"] == [{"id": 7, "token": "w7", "mean_logratio": -1.5, "count": 2}]
    assert found["raised"] == [
        {"id": 0, "token": "w0", "mean_logratio": 3.0, "count": 1},
        {"id": 8, "token": "w8", "mean_logratio": 1.0, "count": 2},
    ]
    assert (found["tokens"], found["vocabulary"], found["min_count"]) == (5, 3, 1)


def test_the_end_is_the_first_of_the_ends_that_occurs() -> None:
    found = study([compared([7, 2], [0.0, -4.0], -3.0), compared([2], [-2.0], -1.0)], TOKENIZER, [0, 2])
    assert found["eos"] == {"id": 2, "mean_logratio": -3.0, "logp": pytest.approx(-7 / 3 + 1 / 3), "count": 2}


def test_an_end_that_never_comes_has_no_mean() -> None:
    found = study([compared([7], [0.0])], TOKENIZER, [0, 2])
    assert found["eos"] == {"id": 0, "mean_logratio": None, "logp": None, "count": 0}


def test_fifty_are_shown_on_either_side_the_furthest_first() -> None:
    ids = list(range(200))
    found = study([compared(ids, [(place - 99.5) / 10 for place in ids])], TOKENIZER, [0])
    assert [row["id"] for row in found["lowered"]] == list(range(50))
    assert [row["id"] for row in found["raised"]] == list(range(199, 149, -1))


def test_rare_tokens_are_left_out_where_enough_are_frequent() -> None:
    often = compared(list(range(100)) * 5, [-0.1] * 500)
    rare = compared([400], [-9.0])
    found = study([often, rare], TOKENIZER, [0])
    assert 400 not in [row["id"] for row in found["lowered"]]
    assert found["min_count"] == 5
    assert 400 in [row["id"] for row in study([rare, compared([1], [0.1])], TOKENIZER, [0])["lowered"]]


def test_the_histogram_counts_every_token_once() -> None:
    found = study([compared(list(range(30)), [place / 10 for place in range(30)])], TOKENIZER, [0])["histogram"]
    assert len(found["edges"]) == len(found["counts"]) + 1 == 41
    assert sum(found["counts"]) == 30
    assert (found["edges"][0], found["edges"][-1]) == (0.0, pytest.approx(2.9))


def test_lengths_have_their_own_means() -> None:
    answers = [compared([1, 2], [1.0, 2.0]), compared([1], [-3.0]), compared([5], [7.0])]
    found = study(answers, TOKENIZER, [0], {"short": [0, 1], "long": [2]})
    assert found["by_length"] == {
        "short": {"mean_logratio": 0.0, "tokens": 3},
        "long": {"mean_logratio": 7.0, "tokens": 1},
    }


def test_what_is_no_number_is_left_out() -> None:
    found = study([compared([1, 2], [math.nan, -1.0])], TOKENIZER, [1])
    assert [row["id"] for row in found["lowered"]] == [2]
    assert found["eos"]["mean_logratio"] is None


def test_no_answers_are_a_study_of_nothing() -> None:
    found = study([], TOKENIZER, [0])
    assert (found["tokens"], found["lowered"], found["histogram"]["counts"]) == (0, [], [])
