"""Policy and reference token by token, against passes one by one and against distributions that are known."""

import math

import pytest
import torch

from tests.fakes.tiny_models import talker
from tests.fakes.tiny_runs import bandit
from trainers.evaluation.beside import Other
from trainers.evaluation.compare import Compared, compare
from trainers.models import Policy

ANSWERS = [([1, 2], [3, 4, 5]), ([2], [6]), ([3, 1, 2], [7, 8, 9, 10, 11, 1]), ([4], [5, 5])]
HALVES = [math.log(p) for p in (1 / 2, 1 / 4, 1 / 4)]
THIRDS = [math.log(p) for p in (1 / 4, 1 / 2, 1 / 4)]


def other(policy: Policy, weight: float = 1.0) -> Other:
    return Other(policy.model, weight, is_policy=False)


def one_by_one(policy: Policy, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """log π(. | x, y_<t) of an answer's tokens, of shape (tokens, vocabulary), by an unpadded pass."""
    with torch.no_grad():
        logits = policy.model(torch.tensor([prompt + answer])).logits[0]
    return logits.double().log_softmax(-1)[len(prompt) - 1 : -1]


def check_all(found: list[Compared], policy: Policy, reference: Policy) -> None:
    for one, (prompt, answer) in zip(found, ANSWERS, strict=True):
        p, q = one_by_one(policy, prompt, answer), one_by_one(reference, prompt, answer)
        at = torch.tensor(answer)[:, None]
        assert one.ids == answer
        assert one.logps.tolist() == pytest.approx(p.gather(-1, at).squeeze(-1).tolist(), abs=1e-5)
        assert one.reference_logps.tolist() == pytest.approx(q.gather(-1, at).squeeze(-1).tolist(), abs=1e-5)
        assert one.kl.tolist() == pytest.approx((p.exp() * (p - q)).sum(-1).tolist(), abs=1e-5)
        assert one.entropy.tolist() == pytest.approx((-p.exp() * p).sum(-1).tolist(), abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_padding_and_order_change_nothing(batch_size: int) -> None:
    policy, reference = talker(0), talker(1)
    check_all(compare(policy, [other(reference)], ANSWERS, batch_size), policy, reference)


@pytest.mark.parametrize("most", [1, 24, 100])
def test_little_room_for_logits_changes_nothing(most: int) -> None:
    """12 words: room for the logits of no position more than one, of two, and of eight."""
    policy, reference = talker(0), talker(1)
    check_all(compare(policy, [other(reference)], ANSWERS, 4, most=most), policy, reference)


def test_by_hand() -> None:
    """KL((1/2, 1/4, 1/4) || (1/4, 1/2, 1/4)) = 1/2 log 2 - 1/4 log 2, entropy 3/2 log 2."""
    (found,) = compare(bandit(HALVES), [other(bandit(THIRDS))], [([0], [0, 1])], 1)
    assert found.kl.tolist() == pytest.approx([math.log(2) / 4] * 2)
    assert found.entropy.tolist() == pytest.approx([1.5 * math.log(2)] * 2)
    assert found.logratios.tolist() == pytest.approx([math.log(2), -math.log(2)])


def test_a_policy_that_is_its_reference_has_no_kl_at_all() -> None:
    policy = talker(0)
    for one in compare(policy, [other(policy)], ANSWERS, 2):
        assert one.kl.tolist() == [0.0] * len(one.ids)
        assert one.logratios.tolist() == [0.0] * len(one.ids)


def test_an_adapter_is_beside_the_policy_without_it() -> None:
    policy = talker(0, lora=True)
    found = compare(policy, [Other(policy.model, 1.0, is_policy=True)], ANSWERS, 2)
    with policy.model.disable_adapter():
        base = one_by_one(policy, *ANSWERS[0])
    whole = one_by_one(policy, *ANSWERS[0])
    assert found[0].kl.tolist() == pytest.approx((whole.exp() * (whole - base)).sum(-1).tolist(), abs=1e-5)
    assert float(found[0].kl.sum()) > 0.001


def test_a_mixture_is_made_a_probability_again() -> None:
    """Half of each in log-probabilities: (1/2 1/4)^½ twice and 1/4, which sum up to 0.957."""
    mixed = [other(bandit(HALVES), 0.5), other(bandit(THIRDS), 0.5)]
    (found,) = compare(bandit(HALVES), mixed, [([0], [0, 2])], 1)
    total = 2 * math.sqrt(1 / 8) + 1 / 4
    first, last = math.sqrt(1 / 8) / total, 1 / 4 / total
    assert found.reference_logps.tolist() == pytest.approx([math.log(first), math.log(last)])
    kl = 0.5 * math.log(0.5 / first) + 0.25 * math.log(0.25 / first) + 0.25 * math.log(0.25 / last)
    assert found.kl.tolist() == pytest.approx([kl] * 2)


@pytest.mark.parametrize(("own", "more"), [(HALVES, [*THIRDS, -40.0]), ([*HALVES, -40.0], THIRDS)])
def test_tokens_that_one_of_them_has_alone_are_left_out(own: list[float], more: list[float]) -> None:
    """Models of one tokenizer differ in how far their vocabulary is filled up."""
    (found,) = compare(bandit(own), [other(bandit(more))], [([0], [0])], 1)
    assert found.kl.tolist() == pytest.approx([math.log(2) / 4])


def test_a_token_that_the_reference_does_not_have_it_never_says() -> None:
    (found,) = compare(bandit([*HALVES, -40.0]), [other(bandit(THIRDS))], [([0], [3, 0])], 1)
    assert found.reference_logps.tolist() == [-math.inf, pytest.approx(-math.log(4))]


def test_a_token_that_the_policy_never_says_counts_nothing() -> None:
    (found,) = compare(bandit([*HALVES, -math.inf]), [other(bandit([*THIRDS, -math.inf]))], [([0], [0])], 1)
    assert found.kl.tolist() == pytest.approx([math.log(2) / 4])
    assert found.entropy.tolist() == pytest.approx([1.5 * math.log(2)])


def test_a_token_that_the_reference_never_says_is_infinitely_far() -> None:
    (found,) = compare(bandit([*HALVES, -1.0]), [other(bandit([*THIRDS, -math.inf]))], [([0], [0])], 1)
    assert found.kl.tolist() == [math.inf]


def test_without_a_reference_there_is_entropy_alone() -> None:
    (found,) = compare(bandit(HALVES), [], [([0], [0])], 1)
    assert math.isnan(float(found.kl))
    assert math.isnan(float(found.reference_logps))
    assert found.entropy.tolist() == pytest.approx([1.5 * math.log(2)])


def test_a_first_token_that_nothing_predicts_is_left_out() -> None:
    (found,) = compare(bandit(HALVES), [other(bandit(THIRDS))], [([], [2, 0, 1])], 1)
    assert found.ids == [0, 1]
    assert len(found.kl) == 2


@pytest.mark.parametrize("training", [True, False])
def test_models_come_back_as_they_were(training: bool) -> None:
    policy, reference = talker(0), talker(1)
    policy.model.train(training)
    reference.model.train(not training)
    before = torch.get_rng_state()
    compare(policy, [other(reference)], ANSWERS, 2)
    assert policy.model.training is training
    assert reference.model.training is not training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stop_ends_it_between_two_passes() -> None:
    asked = []

    def heed() -> None:
        asked.append(True)
        if len(asked) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        compare(talker(0), [other(talker(1))], ANSWERS, 1, heed)
    assert len(asked) == 2
