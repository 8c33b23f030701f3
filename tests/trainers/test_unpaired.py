"""Answers by themselves: which answers of other prompts KTO's point of comparison is taken from, and its rows."""

import dataclasses
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from tests.fakes.tiny_models import PAIRS, talker, training_with
from tests.fakes.tiny_runs import Ignored, pair
from trainers import trl_engine
from trainers.data import TokenisedPair
from trainers.evaluation.scorer import Scores
from trainers.schedule import total_steps
from trainers.unpaired_trainer import UnpairedCollator, mismatch, unpaired_rows

LONG = 1000


def told(prompts: list[int]) -> list[TokenisedPair]:
    """A pair for each prompt; its answers say which prompt it is, and which number: [prompt, number]."""
    numbers = itertools.count()
    return [pair([prompt, next(numbers)], [prompt, next(numbers)], prompt=[prompt]) for prompt in prompts]


def lent(pairs: list[TokenisedPair], seed: int = 0) -> list[tuple[int, int, int]]:
    """(prompt, prompt that the answer belongs to, the answer's number) of each answer to another prompt."""
    return [
        (other.prompt_ids[0], *answer)
        for other in mismatch(pairs, seed, LONG)
        for answer in (other.chosen_ids, other.rejected_ids)
    ]


SHARED = [0, 0, 0, 1, 1, 2, 3, 4]
HALF = [0] * 5 + [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "prompts",
    [[0, 1], [0, 1, 2], list(range(20)), SHARED, HALF, [0, 0, 0, 0, 0, 0, 1], [0, 1, 1, 1]],
    ids=["two", "three", "all_differ", "some_alike", "half_alike", "one_differs", "one_differs_first"],
)
@pytest.mark.parametrize("seed", range(5))
def test_every_answer_belongs_to_another_prompt(prompts: list[int], seed: int) -> None:
    assert all(prompt != owner for prompt, owner, _ in lent(told(prompts), seed))


@pytest.mark.parametrize("prompts", [[0, 1], list(range(20)), SHARED, HALF], ids=["two", "all", "some", "half"])
@pytest.mark.parametrize("seed", range(5))
def test_each_answer_is_used_once_where_no_prompt_has_more_than_half_of_them(prompts: list[int], seed: int) -> None:
    numbers = sorted(number for *_, number in lent(told(prompts), seed))
    assert numbers == list(range(2 * len(prompts)))


def test_answers_to_the_few_other_prompts_are_used_alike() -> None:
    """Six pairs of one prompt borrow from two of others: twelve answers from four, each three times."""
    used = Counter(number for prompt, _, number in lent(told([0] * 6 + [1, 2])) if prompt == 0)
    assert sorted(used.values()) == [3, 3, 3, 3]


def test_where_all_prompts_are_alike_each_gets_another_answer_of_them() -> None:
    pairs = told([7, 7, 7])
    found = [number for *_, number in lent(pairs)]
    assert sorted(found) == list(range(6))
    assert all(own != other for own, other in zip(range(6), found, strict=True))


def test_one_pair_alone_swaps_its_answers() -> None:
    assert [number for *_, number in lent(told([7]))] == [1, 0]


def test_prompts_stay_where_they_are() -> None:
    pairs = told(SHARED)
    assert [other.prompt_ids for other in mismatch(pairs, 0, LONG)] == [one.prompt_ids for one in pairs]


def test_the_seed_decides() -> None:
    pairs = told(list(range(20)))
    assert lent(pairs, 1) == lent(pairs, 1)
    assert lent(pairs, 1) != lent(pairs, 2)


def test_pairs_said_twice_are_pairs_like_others() -> None:
    pairs = told([0, 1, 2]) * 2
    assert all(prompt != owner for prompt, owner, _ in lent(pairs))


def test_good_and_bad_answers_mix() -> None:
    """Of 400 answers about half are lent to one of their own kind."""
    same = sum(place % 2 == number % 2 for place, (*_, number) in enumerate(lent(told(list(range(200))))))
    assert 150 < same < 250


def test_answers_are_cut_to_what_is_left_behind_their_new_prompt() -> None:
    long, short = pair([1] * 6, [2] * 6, prompt=[0]), pair([3], [4], prompt=[5] * 7)
    first, second = mismatch([long, short], 0, 8)
    assert {len(second.chosen_ids), len(second.rejected_ids)} == {1}
    assert {len(first.chosen_ids), len(first.rejected_ids)} == {1}
    assert second.chosen_ids[0] in (1, 2)


@pytest.mark.parametrize(
    "prompts",
    [list(range(20_000)), [0] * 20_000, [0] * 19_999 + [1], [0] * 10_000 + list(range(1, 10_001))],
    ids=["all_differ", "all_alike", "one_differs", "half_alike"],
)
def test_many_pairs_take_no_time_to_speak_of(prompts: list[int]) -> None:
    """Prompts of 50 tokens: twenty thousand pairs in half a second, minutes where each looks through all others."""
    pairs = [TokenisedPair([prompt] * 50, [1, 2], [3], truncated=False) for prompt in prompts]
    random.Random(0).shuffle(pairs)
    started = time.process_time()
    mismatch(pairs, 0, LONG)
    assert time.process_time() - started < 5


def scores(*values: float) -> Scores:
    chosen, rejected = torch.tensor(values[0::2]), torch.tensor(values[1::2])
    return Scores(chosen, rejected, torch.ones(len(chosen)), torch.ones(len(chosen)))


def test_a_pair_makes_a_desirable_and_an_undesirable_row() -> None:
    pairs, others = [pair([1], [2, 2], prompt=[0])], [pair([3], [4], prompt=[0])]
    assert unpaired_rows(pairs, scores(-1.0, -2.0), others, scores(-3.0, -4.0)) == [
        {"prompt_ids": [0], "answer_ids": [1], "other_ids": [3], "desirable": True, "ref_logps": -1.0,
         "ref_other_logps": -3.0},
        {"prompt_ids": [0], "answer_ids": [2, 2], "other_ids": [4], "desirable": False, "ref_logps": -2.0,
         "ref_other_logps": -4.0},
    ]  # fmt: skip


def test_rows_become_sequences_of_own_answers_and_then_of_others() -> None:
    rows = unpaired_rows(
        [pair([1], [2, 2], prompt=[5])], scores(-1.0, -2.0), [pair([3], [4], prompt=[5])], scores(-3.0, -4.0)
    )
    batch = UnpairedCollator(pad_id=9)(rows)
    assert {name: values.tolist() for name, values in batch.items()} == {
        "input_ids": [[5, 1, 9], [5, 2, 2], [5, 3, 9], [5, 4, 9]],
        "attention_mask": [[1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 1, 0]],
        "completion_mask": [[0, 1, 0], [0, 1, 1], [0, 1, 0], [0, 1, 0]],
        "desirable": [True, False],
        "ref_logps": [-1.0, -2.0, -3.0, -4.0],
    }


@pytest.mark.parametrize("name", ["kto", "dpo", "orpo", "sft"])
@pytest.mark.parametrize(("batch_size", "steps"), [(3, 3), (8, 1), (1, 8)])
def test_an_epoch_takes_each_method_as_many_steps(tmp_path: Path, name: str, batch_size: int, steps: int) -> None:
    """Of eight pairs; kto's sixteen answers come twice as many at a time."""
    training = training_with(talker(), PAIRS, tmp_path, {"name": name}, batch_size=batch_size)
    assert trl_engine.train(training).steps == total_steps(training.config, len(PAIRS)) == steps


class Told(Ignored):
    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def logged(self, step: int, metrics: Mapping[str, float]) -> bool:
        self.metrics |= metrics
        return False


def test_rewards_are_means_over_the_answers_of_a_kind_however_they_fall_into_micro_batches(tmp_path: Path) -> None:
    """Micro-batches of two answers, some of them of one kind: with a reference that says 1 nat less of each desirable
    answer than the policy, and 2 nats more of each other, rewards are beta and -2 beta."""
    training = training_with(
        talker(), PAIRS, tmp_path, {"name": "kto", "beta": 0.5}, batch_size=1, gradient_accumulation=8,
        learning_rate=1e-12, max_steps=1,
    )  # fmt: skip
    assert training.reference is not None
    start = training.reference
    moved = Scores(start.chosen_logps - 1, start.rejected_logps + 2, start.chosen_tokens, start.rejected_tokens)
    watch = Told()
    trl_engine.train(dataclasses.replace(training, reference=moved, watch=watch))
    assert watch.metrics["train/rewards/chosen"] == pytest.approx(0.5, abs=1e-4)
    assert watch.metrics["train/rewards/rejected"] == pytest.approx(-1.0, abs=1e-4)
    assert watch.metrics["train/rewards/margins"] == pytest.approx(1.5, abs=1e-4)
