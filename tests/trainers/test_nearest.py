"""Which valid words are proposed for one that is not."""

import pytest

from trainers.nearest import did_you_mean, listed, nearest

GPUS = ("a10", "a100-40", "a100-80", "a6000", "l4", "l40s")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a100", ["a100-40", "a100-80"]),
        ("A100", ["a100-40", "a100-80"]),
        ("a100-8", ["a100-80"]),
        ("a600", ["a6000"]),
        ("l4s", ["l40s"]),
        ("xyz", []),
        ("", []),
    ],
)
def test_words_that_begin_alike_go_before_those_that_are_spelt_alike(given: str, found: list[str]):
    assert nearest(given, GPUS) == found


def test_of_many_that_begin_alike_the_one_spelt_most_alike_is_proposed():
    assert nearest("key", [f"key_number_{n}" for n in range(9)] + ["keys"]) == ["keys"]


def test_a_hint_names_them_all_with_what_stands_before_them():
    assert did_you_mean("a1", GPUS[1:3], prefix="gpu=") == "did you mean gpu=a100-40 or gpu=a100-80? "
    assert did_you_mean("xyz", GPUS) == ""


@pytest.mark.parametrize(
    ("words", "told"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_words_are_listed_as_people_do(words: list[str], told: str):
    assert listed(words) == told
