"""Measures on held-out pairs, worked out by hand, over all of them and by the length of their answers."""

import math

import pytest
import torch

from tests.fakes.tiny_runs import pair
from trainers.data import Pair
from trainers.evaluation.names import pair_name, prompt_name
from trainers.evaluation.pairs import (
    Buckets,
    HeldOut,
    NonFiniteMetric,
    all_metrics,
    check_finite,
    metrics,
    pair_table,
)
from trainers.evaluation.scorer import Scores


def scores(chosen: list[float], rejected: list[float], tokens: tuple[int, int] = (1, 1)) -> Scores:
    n = len(chosen)
    return Scores(
        torch.tensor(chosen), torch.tensor(rejected), torch.full((n,), tokens[0]), torch.full((n,), tokens[1])
    )


def test_metrics_by_hand() -> None:
    """Pair 1: h = (2, -1), margin 3; pair 2: h = (-4, 0), margin -4. In sum the policy prefers both rejected answers;
    per token, of 4 and 2 tokens, the chosen ones: -1 > -1.5 and -2 > -2.5.
    """
    policy = scores([-4.0, -8.0], [-3.0, -5.0], tokens=(4, 2))
    reference = scores([-6.0, -4.0], [-2.0, -5.0], tokens=(4, 2))
    assert metrics(policy, reference) == {
        "eval/policy_accuracy": 0.0,
        "eval/policy_accuracy_norm": 1.0,
        "eval/reward_accuracy": 0.5,
        "eval/margin_nats": -0.5,
        "eval/chosen_logratio": -1.0,
        "eval/rejected_logratio": -0.5,
        "eval/pairs": 2.0,
    }


def test_a_tie_counts_one_half() -> None:
    same = scores([-1.0, -2.0], [-1.0, -1.0])
    found = metrics(same, same)
    assert found["eval/reward_accuracy"] == 0.5
    assert found["eval/policy_accuracy"] == 0.25


@pytest.mark.parametrize("broken", [math.nan, -math.inf])
def test_an_answer_without_a_finite_log_probability_is_not_hidden(broken: float) -> None:
    found = metrics(scores([broken, -1.0], [-1.0, -1.0]), scores([-1.0, -1.0], [-1.0, -1.0]))
    assert math.isnan(found["eval/reward_accuracy"])
    with pytest.raises(NonFiniteMetric, match="eval/reward_accuracy is nan"):
        check_finite(found)


def test_buckets_are_thirds_of_the_pairs_by_the_length_of_both_answers() -> None:
    texts = [Pair("?", "x" * length, "y") for length in (8, 1, 5, 2, 9, 4)]
    found = Buckets.of_pairs(HeldOut([pair([1], [2])] * 6, texts))
    assert {name: places.tolist() for name, places in found.places.items()} == {
        "short": [1, 3],
        "medium": [2, 5],
        "long": [0, 4],
    }


def test_equal_lengths_stay_in_one_bucket() -> None:
    found = Buckets.of([1, 1, 1, 2, 3, 3, 4])
    assert {name: places.tolist() for name, places in found.places.items()} == {
        "short": [0, 1, 2],
        "medium": [3, 4, 5],
        "long": [6],
    }


@pytest.mark.parametrize("lengths", [[], [3], [1, 2], [5, 5, 5, 5], [1, 1, 1, 9]])
def test_there_are_no_buckets_where_one_would_be_empty(lengths: list[int]) -> None:
    assert Buckets.of(lengths).places == {}


def test_buckets_do_not_depend_on_the_tokenizer_where_there_are_texts() -> None:
    texts = [Pair("?", "x" * length, "y") for length in (1, 2, 3)]
    short, long = ([pair([1] * n, [2]) for n in counts] for counts in ((1, 2, 3), (9, 5, 1)))
    assert Buckets.of_pairs(HeldOut(short, texts)).places["long"].tolist() == [2]
    assert Buckets.of_pairs(HeldOut(long, texts)).places["long"].tolist() == [2]
    assert Buckets.of_pairs(HeldOut(long, None)).places["long"].tolist() == [0]


def test_measures_of_a_bucket_are_those_of_its_pairs_alone() -> None:
    policy, reference = scores([-1.0, -2.0, -3.0], [-2.0, -2.0, -2.0]), scores([-2.0] * 3, [-2.0] * 3)
    found = all_metrics(policy, reference, Buckets.of([1, 2, 3]))
    assert found["eval/reward_accuracy"] == 0.5
    assert [found[f"eval/reward_accuracy.{name}"] for name in ("short", "medium", "long")] == [1.0, 0.5, 0.0]
    assert found["eval/margin_nats.long"] == -1.0
    assert found["eval/pairs.short"] == 1.0


def test_a_pair_has_the_same_name_whatever_its_tokens_and_another_for_other_texts() -> None:
    assert pair_name("a", "b", "c") == pair_name("a", "b", "c")
    names = {
        pair_name("a", "b", "c"),
        pair_name("a", "c", "b"),
        pair_name("ab", "", "c"),
        pair_name([1], [2], [3]),
        pair_name(({"role": "user", "content": "a"},), ({"role": "assistant", "content": "b"},), ()),
        prompt_name("a"),
        prompt_name(({"role": "user", "content": "a"},)),
        prompt_name(({"role": "system", "content": "a"},)),
    }
    assert len(names) == 8
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_a_row_a_pair_in_data_order() -> None:
    policy, reference = scores([-1.0, -2.0], [-3.0, -4.0], (2, 3)), scores([-1.5, -1.0], [-3.0, -5.0], (2, 3))
    texts = [Pair("p", "b", "c"), Pair("p", "d", "e")]
    table = pair_table(HeldOut([pair([1], [2])] * 2, texts), policy, reference)
    assert table.to_pydict() == {
        "pair": [pair_name("p", "b", "c"), pair_name("p", "d", "e")],
        "chosen_logp": [-1.0, -2.0],
        "rejected_logp": [-3.0, -4.0],
        "chosen_logratio": [0.5, -1.0],
        "rejected_logratio": [0.0, 1.0],
        "chosen_tokens": [2, 2],
        "rejected_tokens": [3, 3],
    }
    assert [str(field.type) for field in table.schema] == ["string", *["float"] * 4, "int32", "int32"]


def test_pairs_of_token_ids_are_named_by_them() -> None:
    table = pair_table(HeldOut([pair([1], [2], prompt=[0])], None), scores([-1.0], [-1.0]), scores([-1.0], [-1.0]))
    assert table.column("pair").to_pylist() == [pair_name([0], [1], [2])]
