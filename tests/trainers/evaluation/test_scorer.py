"""The scorer, against probabilities that are known, and against one forward pass a sequence."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.fakes.tiny_runs import bandit, pair
from tests.fakes.untrained import untrained
from trainers.data import TokenisedPair
from trainers.evaluation.passes import Answered, batches
from trainers.evaluation.scorer import score

# The built-in policy's.
PAD = 256
# Token 0 with 1/2, 1 with 1/4, 2 and 3 with 1/8 each.
HALVES = [math.log(1 / 2), math.log(1 / 4), math.log(1 / 8), math.log(1 / 8)]


def test_log_probabilities_are_summed_over_the_answer_alone() -> None:
    """Chosen 0 1 of prompt 2 3: log(1/2) + log(1/4) = -3 log 2; rejected 3: -3 log 2."""
    found = score(bandit(HALVES).model, [pair([0, 1], [3], prompt=[2, 3])], 1, pad_id=0)
    assert found.chosen_logps.tolist() == [pytest.approx(-3 * math.log(2))]
    assert found.rejected_logps.tolist() == [pytest.approx(-3 * math.log(2))]
    assert (found.chosen_tokens.tolist(), found.rejected_tokens.tolist()) == ([2], [1])


def test_a_first_token_that_nothing_predicts_is_not_counted() -> None:
    found = score(bandit(HALVES).model, [pair([0, 1], [3], prompt=[])], 1, pad_id=0)
    assert found.chosen_logps.tolist() == [pytest.approx(-2 * math.log(2))]
    assert (found.chosen_tokens.tolist(), found.rejected_tokens.tolist()) == ([1], [0])


@pytest.fixture(scope="module")
def model(cache_dir: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(untrained(cache_dir), dtype=torch.float32)


def some_pairs(count: int) -> list[TokenisedPair]:
    drawn = random.Random(0)

    def ids(longest: int) -> list[int]:
        return [drawn.randrange(250) for _ in range(drawn.randint(1, longest))]

    return [pair(ids(12), ids(30), ids(20)) for _ in range(count)]


def one_by_one(model: Any, prompt: list[int], answer: list[int]) -> float:
    """The log-probability of an answer from one unpadded forward pass."""
    with torch.no_grad():
        logps = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(float(logps[len(prompt) - 1 + index, token]) for index, token in enumerate(answer))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_padding_and_order_change_nothing(model: Any, batch_size: int) -> None:
    pairs = some_pairs(10)
    found = score(model, pairs, batch_size, pad_id=PAD)
    assert found.chosen_logps.tolist() == pytest.approx(
        [one_by_one(model, pair.prompt_ids, pair.chosen_ids) for pair in pairs], abs=1e-3
    )
    assert found.rejected_logps.tolist() == pytest.approx(
        [one_by_one(model, pair.prompt_ids, pair.rejected_ids) for pair in pairs], abs=1e-3
    )


def test_a_large_vocabulary_is_taken_in_slices() -> None:
    """2^18 tokens of one probability: 18 log 2 nats each; 120 rows of logits make two slices."""
    model = bandit([0.0] * 2**18).model
    found = score(model, [pair([5, 6, 7], [8])] * 30, 30, pad_id=0)
    assert found.chosen_logps.tolist() == pytest.approx([-3 * 18 * math.log(2)] * 30, rel=1e-5)
    assert found.rejected_logps.tolist() == pytest.approx([-18 * math.log(2)] * 30, rel=1e-5)


def test_sequences_whose_logits_would_not_fit_go_one_by_one() -> None:
    """Four sequences of 999 scored tokens: a vocabulary of 2^18 leaves room for one of them a pass, 2^10 for all."""
    sequences = [Answered([1], list(range(999)))] * 4
    assert [len(batch) for batch in batches(sequences, 8, 2**18)] == [1, 1, 1, 1]
    assert [len(batch) for batch in batches(sequences, 8, 2**10)] == [4]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_comes_back_as_it_was_and_random_states_are_left_alone(model: Any, training: bool) -> None:
    model.train(training)
    before = torch.get_rng_state()
    score(model, some_pairs(3), 2, pad_id=PAD)
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), before)
