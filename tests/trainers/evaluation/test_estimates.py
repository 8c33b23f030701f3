"""Estimates of KL against models so small that all their answers can be written down: three tokens, three at most."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from tests.fakes.tiny_runs import bandit, llama
from trainers.evaluation import estimates
from trainers.evaluation.beside import Other
from trainers.evaluation.compare import Compared, compare
from trainers.generate import Draw, Sampling, sample
from trainers.models import Policy

PROMPT = [1, 2]
END, LONGEST = 0, 3


def speaker(seed: int) -> Policy:
    """A random model of three tokens, each of which depends on those before it."""
    torch.manual_seed(seed)
    config = llama(3, hidden=8, inner=16, layers=1, heads=2, initializer_range=0.2)
    return Policy(LlamaForCausalLM(config), bandit([0.0] * 3).tokenizer, "fp32")


def all_answers() -> Iterator[list[int]]:
    """Those that end, and those that have no room left: 1 + 2 + 4 + 8 of them."""
    for length in range(1, LONGEST + 1):
        for before in itertools.product((1, 2), repeat=length - 1):
            yield [*before, END]
            if length == LONGEST:
                yield from ([*before, last] for last in (1, 2))


@dataclass(frozen=True)
class Enumerated:
    """All answers, each with its probability, what its tokens compare like, and KL(policy || reference) of answers."""

    answers: list[list[int]]
    chances: torch.Tensor
    compared: list[Compared]
    kl: float
    length: float


def enumerated(policy: Policy, reference: Policy) -> Enumerated:
    """By one unpadded pass an answer, in double precision, with none of the code under test."""
    answers = list(all_answers())
    chances = torch.tensor([math.exp(by_hand(policy, answer)) for answer in answers], dtype=torch.float64)
    assert float(chances.sum()) == pytest.approx(1, abs=1e-6)
    kl = sum(
        float(chance) * (by_hand(policy, answer) - by_hand(reference, answer))
        for chance, answer in zip(chances, answers, strict=True)
    )
    other = Other(reference.model, 1.0, is_policy=False)
    compared = compare(policy, [other], [(PROMPT, answer) for answer in answers], 4)
    length = sum(float(chance) * len(answer) for chance, answer in zip(chances, answers, strict=True))
    return Enumerated(answers, chances / chances.sum(), compared, kl, length)


def by_hand(policy: Policy, answer: list[int]) -> float:
    with torch.no_grad():
        logps = policy.model(torch.tensor([PROMPT + answer])).logits[0].double().log_softmax(-1)
    return sum(float(logps[len(PROMPT) - 1 + place, token]) for place, token in enumerate(answer))


@pytest.fixture(scope="module")
def known() -> Enumerated:
    return enumerated(speaker(0), speaker(1))


ESTIMATORS = {
    "whole vocabulary": lambda one: float(one.kl.double().sum()),
    "k1": lambda one: estimates.k1(one.logratios),
    "k3": lambda one: estimates.k3(one.logratios),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("seeds", [(0, 1), (2, 3), (4, 4)])
def test_the_mean_of_each_estimator_over_all_answers_is_the_kl(name: str, seeds: tuple[int, int]) -> None:
    known = enumerated(speaker(seeds[0]), speaker(seeds[1]))
    values = torch.tensor([ESTIMATORS[name](one) for one in known.compared], dtype=torch.float64)
    assert float(values @ known.chances) == pytest.approx(known.kl, abs=1e-6)
    assert known.kl > 0.05 or seeds == (4, 4)


def test_the_whole_vocabulary_has_the_least_noise(known: Enumerated) -> None:
    def spread(name: str) -> float:
        values = torch.tensor([ESTIMATORS[name](one) for one in known.compared], dtype=torch.float64)
        return float((values - values @ known.chances).square() @ known.chances)

    assert spread("whole vocabulary") < min(spread("k1"), spread("k3"))


def test_k3_is_never_negative_and_k1_may_be(known: Enumerated) -> None:
    assert all(estimates.k3(one.logratios) >= 0 for one in known.compared)
    assert any(estimates.k1(one.logratios) < 0 for one in known.compared)


def drawn(known: Enumerated, rounds: int, each: int) -> np.ndarray:
    """Places of answers, of shape (rounds, each), drawn with their probabilities."""
    return np.random.default_rng(0).choice(len(known.answers), size=(rounds, each), p=known.chances.numpy())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_standard_errors_cover_the_kl_as_often_as_they_say(name: str, known: Enumerated) -> None:
    """1.96 of them on either side: 95 % of the time, here of 2000 draws of 100 answers."""
    values = np.array([ESTIMATORS[name](one) for one in known.compared])
    covered = 0
    for places in drawn(known, 2000, 100):
        mean, error = estimates.mean(values[places].tolist())
        covered += abs(mean - known.kl) < 1.96 * error
    assert covered / 2000 == pytest.approx(0.95, abs=0.025)


def test_the_standard_error_a_token_covers_as_often_as_it_says(known: Enumerated) -> None:
    values = np.array([ESTIMATORS["whole vocabulary"](one) for one in known.compared])
    counts = np.array([float(len(answer)) for answer in known.answers])
    covered = 0
    for places in drawn(known, 2000, 100):
        rate, error = estimates.ratio(values[places].tolist(), counts[places].tolist())
        covered += abs(rate - known.kl / known.length) < 1.96 * error
    assert covered / 2000 == pytest.approx(0.95, abs=0.025)


def test_answers_are_sampled_as_often_as_they_are_likely_and_give_the_kl() -> None:
    policy, reference = speaker(0), speaker(1)
    known = enumerated(policy, reference)
    found = sample(policy, [Draw(PROMPT, (7, place), LONGEST) for place in range(3000)], Sampling(9, 1.0, 1000))
    shares = [sum(answer.ids == one for answer in found) / len(found) for one in known.answers]
    assert shares == pytest.approx(known.chances.tolist(), abs=0.03)
    others = [Other(reference.model, 1.0, is_policy=False)]
    compared = compare(policy, others, [(PROMPT, answer.ids) for answer in found], 500)
    for estimator in ESTIMATORS.values():
        mean, error = estimates.mean([estimator(one) for one in compared])
        assert abs(mean - known.kl) < 4 * error


def test_a_mean_by_hand() -> None:
    """1, 2, 3, 4: mean 2.5, variance 5/3, standard error sqrt(5/3/4)."""
    assert estimates.mean([1.0, 2.0, 3.0, 4.0]) == (2.5, pytest.approx(math.sqrt(5 / 12)))


def test_a_ratio_by_hand() -> None:
    """4 nats of 8 tokens; residuals -1, 1: standard error sqrt(2/2)/4."""
    rate, error = estimates.ratio([1.0, 3.0], [4.0, 4.0])
    assert (rate, error) == (0.5, pytest.approx(0.25))


def test_one_answer_has_no_standard_error_and_none_has_no_mean() -> None:
    mean, error = estimates.mean([2.0])
    assert mean == 2.0
    assert math.isnan(error)
    assert all(math.isnan(value) for value in (*estimates.mean([]), *estimates.ratio([], [])))
