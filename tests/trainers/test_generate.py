"""Sampling: right probabilities, the same answers for the same keys, and an end where the policy ends."""

import math
from pathlib import Path

import pytest
import torch

from tests.fakes.tiny_runs import bandit, run_config
from tests.fakes.untrained import untrained
from trainers.config_check import check
from trainers.data import TokenisedPair
from trainers.evaluation.scorer import score
from trainers.generate import Draw, Sampling, sample
from trainers.models import Policy, load_policy

pytestmark = pytest.mark.slow

PROMPTS = ["Recall the sea:", "Describe the old river at noon:", "Tell me about the train:", "Speak of the city now:"]
# Token 0 ends an answer of a bandit.
WEIGHTS = [math.log(p) for p in (0.1, 0.2, 0.3, 0.4)]


@pytest.fixture(scope="module")
def tiny(cache_dir: Path) -> Policy:
    return load_policy(check(run_config(model__path=str(untrained(cache_dir)))), cache_dir)


def draws(count: int = 12, seed: int = 0, room: int = 200) -> list[Draw]:
    return [Draw(list(PROMPTS[i % len(PROMPTS)].encode()), (seed, 0, i, 0), room) for i in range(count)]


def test_tokens_are_drawn_with_the_policys_probabilities() -> None:
    found = sample(bandit(WEIGHTS), [Draw([1], (0, i), 9) for i in range(4000)], Sampling(1, 1.0, 1000))
    shares = torch.bincount(torch.tensor([answer.ids[0] for answer in found]), minlength=4) / len(found)
    assert shares.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.025)


def test_the_temperature_divides_the_logits_but_not_the_log_probabilities() -> None:
    """At T = 1/2 the probabilities are squared: 1 : 4 : 9 : 16, of 30."""
    found = sample(bandit(WEIGHTS), [Draw([1], (0, i), 9) for i in range(4000)], Sampling(1, 0.5, 1000))
    shares = torch.bincount(torch.tensor([answer.ids[0] for answer in found]), minlength=4) / len(found)
    assert shares.tolist() == pytest.approx([1 / 30, 4 / 30, 9 / 30, 16 / 30], abs=0.025)
    assert {round(math.exp(answer.logp), 5) for answer in found} == {0.1, 0.2, 0.3, 0.4}


def test_an_answer_ends_with_its_end_and_where_there_is_no_room() -> None:
    found = sample(bandit(WEIGHTS), [Draw([1], (0, i), 5) for i in range(300)], Sampling(50, 1.0, 100))
    for answer in found:
        assert 0 not in answer.ids[:-1]
        assert answer.ended == (answer.ids[-1] == 0)
        assert answer.ended or len(answer.ids) == 5
        assert len(answer.logps) == len(answer.ids)
    assert sum(answer.ended for answer in found) / 300 == pytest.approx(1 - 0.9**5, abs=0.08)


def test_the_same_keys_draw_the_same_answers_whatever_else_is_in_the_batch(tiny: Policy) -> None:
    alone = sample(tiny, draws(), Sampling(20, 1.0, 1))
    assert sample(tiny, draws()[:3], Sampling(20, 1.0, 1)) == alone[:3]
    for batch_size in (5, 12):
        together = sample(tiny, draws(), Sampling(20, 1.0, batch_size))
        assert [answer.ids for answer in together] == [answer.ids for answer in alone]
    assert [a.ids for a in sample(tiny, draws()[3:7], Sampling(20, 1.0, 2))] == [a.ids for a in alone[3:7]]


def test_another_seed_draws_other_answers(tiny: Policy) -> None:
    first, second = (sample(tiny, draws(seed=seed), Sampling(60, 1.0, 12)) for seed in (0, 1))
    assert sum(a.ids == b.ids for a, b in zip(first, second, strict=True)) < 3


def test_log_probabilities_are_those_of_the_scorer(tiny: Policy) -> None:
    asked = draws()
    found = sample(tiny, asked, Sampling(60, 0.8, 12))
    pairs = [TokenisedPair(list(d.prompt_ids), a.ids, a.ids, False) for d, a in zip(asked, found, strict=True)]
    scored = score(tiny.model, pairs, 4, tiny.pad_id).chosen_logps.tolist()
    assert [answer.logp for answer in found] == pytest.approx(scored, abs=1e-4)


def test_text_is_what_the_tokens_say_without_special_ones(tiny: Policy) -> None:
    answer = next(answer for answer in sample(tiny, draws(), Sampling(200, 1.0, 12)) if answer.ended)
    assert answer.text == bytes(answer.ids[:-1]).decode("utf-8", "replace")


def test_the_models_own_generation_settings_are_left_out_and_left_alone(tiny: Policy) -> None:
    plain = sample(tiny, draws(), Sampling(60, 1.0, 12))
    own = tiny.model.get_base_model().generation_config
    own.top_k, own.repetition_penalty, own.do_sample = 1, 5.0, True
    try:
        assert sample(tiny, draws(), Sampling(60, 1.0, 12)) == plain
        assert tiny.model.get_base_model().generation_config is own
    finally:
        own.top_k, own.repetition_penalty, own.do_sample = None, None, None


def test_mode_and_random_state_come_back(tiny: Policy) -> None:
    tiny.model.train()
    before = torch.random.get_rng_state()
    sample(tiny, draws(2), Sampling(20, 1.0, 2))
    assert tiny.model.training
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_adapter_is_heard(cache_dir: Path) -> None:
    policy = load_policy(check(run_config(model__path=str(untrained(cache_dir)))), cache_dir)
    before = sample(policy, draws(), Sampling(60, 1.0, 12))
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.3)
    assert sample(policy, draws(), Sampling(60, 1.0, 12)) != before


def test_a_stop_ends_it_between_two_batches(tiny: Policy) -> None:
    asked = []

    def heed() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sample(tiny, draws(), Sampling(10, 1.0, 2), heed)
    assert len(asked) == 3
