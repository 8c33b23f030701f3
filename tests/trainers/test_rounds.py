"""Which prompts a round has, and what its pairs are."""

import pytest

from trainers.errors import InvalidInput
from trainers.online_dpo import preferred
from trainers.rounds import prompts_of_round, some
from trainers.samples import Asked, Group, Label, Sample

PROMPTS = [Asked([number], str(number)) for number in range(10)]


def rounds(count: int, each: int, seed: int = 0) -> list[list[int]]:
    return [list(prompts_of_round(PROMPTS, number, each, seed)) for number in range(count)]


def test_rounds_go_through_all_prompts_before_they_begin_anew() -> None:
    first, second, third, fourth = rounds(4, 5)
    assert sorted(first + second) == sorted(third + fourth) == list(range(10))
    assert first + second != third + fourth


def test_the_seed_decides_which_prompts_a_round_has() -> None:
    assert rounds(3, 4) == rounds(3, 4)
    assert rounds(3, 4) != rounds(3, 4, seed=1)


def test_a_round_has_no_prompt_twice_and_no_more_than_there_are() -> None:
    for taken in rounds(7, 7):
        assert len(set(taken)) == len(taken) <= 7
    assert [sorted(taken) for taken in rounds(2, 99)] == [list(range(10))] * 2


def group(first: float, second: float, texts: str = "ab") -> Group:
    answers = [Sample([ord(letter)], letter, -1.0, ended=False) for letter in texts]
    return Group("round-0", 0, Asked([1], "x"), answers, Label([first, second]))


def test_the_answer_of_the_larger_reward_is_chosen_and_ties_make_no_pair() -> None:
    pairs = preferred([group(0.0, 1.0), group(0.75, 0.25), group(0.5, 0.5), group(1.0, 0.0, texts="cc")])
    assert [(pair.chosen_ids, pair.rejected_ids) for pair in pairs] == [([98], [97]), ([97], [98])]


def test_a_round_without_a_pair_says_so() -> None:
    with pytest.raises(InvalidInput, match="nothing to train on: all were ties"):
        some(preferred([group(0.5, 0.5)]), "all were ties")
