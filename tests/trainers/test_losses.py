"""The losses as our trainers configure them: against numbers by hand, and against the optima of small problems.

The policy of the hand numbers says token 0 with 1/2, 1 with 1/4, 2 and 3 with 1/8 each; its reference each with 1/4.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.tiny_runs import bandit, pair, probabilities, training_of, uniform
from tests.oracles import bandits, two_actions
from tests.oracles.test_oracles import wins
from trainers import trl_engine
from trainers.data import TokenisedPair
from trainers.evaluate import score

LOG2 = math.log(2)
HALVES = [math.log(1 / 2), math.log(1 / 4), math.log(1 / 8), math.log(1 / 8)]


def loss(tmp_path: Path, method: Mapping[str, Any], *pairs: TokenisedPair) -> float:
    """What the trainer's own compute_loss says of its first batch."""
    training = training_of(bandit(HALVES), pairs, tmp_path, method, uniform(pairs, 4))
    trainer, _ = trl_engine.build(training)
    batch = next(iter(trainer.get_train_dataloader()))
    return float(trainer.compute_loss(trainer.model, batch))


def test_dpo_is_the_log_sigmoid_of_beta_times_the_difference_of_log_ratios(tmp_path: Path) -> None:
    """h(0) - h(1) = log(1/2 : 1/4) - log(1/4 : 1/4) = log 2; beta = 1/2: -log sigmoid(log(2)/2) = log(1 + 2^-1/2)."""
    found = loss(tmp_path, {"name": "dpo", "beta": 0.5}, pair([0], [1]))
    assert found == pytest.approx(math.log(1 + 2**-0.5), abs=1e-6)
    assert found == pytest.approx(0.534795, abs=1e-5)


def test_dpo_sums_over_tokens(tmp_path: Path) -> None:
    """h(00) - h(1) = 2 log 2; beta = 1/2: -log sigmoid(log 2) = log(3/2)."""
    assert loss(tmp_path, {"name": "dpo", "beta": 0.5}, pair([0, 0], [1])) == pytest.approx(math.log(1.5), abs=1e-6)


def test_ipo_is_the_squared_distance_to_half_the_inverse_of_tau(tmp_path: Path) -> None:
    """(log 2 - 1/(2 * 0.5))^2 = 0.094159."""
    found = loss(tmp_path, {"name": "ipo", "tau": 0.5}, pair([0], [1]))
    assert found == pytest.approx((LOG2 - 1) ** 2, abs=1e-6)
    assert found == pytest.approx(0.094159, abs=1e-5)


def test_ipo_averages_over_tokens(tmp_path: Path) -> None:
    """h(00)/2 - h(1)/1 = log 2, as above."""
    assert loss(tmp_path, {"name": "ipo", "tau": 0.5}, pair([0, 0], [1])) == pytest.approx((LOG2 - 1) ** 2, abs=1e-6)


def test_orpo_is_likelihood_plus_lambda_times_the_log_sigmoid_of_the_log_odds_ratio(tmp_path: Path) -> None:
    """-log(1/2) + 0.2 * -log sigmoid(log(1 / (1/3))) = 0.693147 + 0.2 * log(4/3) = 0.750684."""
    found = loss(tmp_path, {"name": "orpo", "lambda": 0.2}, pair([0], [1]))
    assert found == pytest.approx(0.750684, abs=1e-5)


def test_orpo_counts_the_prompt_in_its_likelihood(tmp_path: Path) -> None:
    """Prompt 3 2, whose first token nothing predicts: (-log(1/8) - log(1/2)) / 2 = 2 log 2 in place of log 2."""
    found = loss(tmp_path, {"name": "orpo", "lambda": 0.2}, pair([0], [1], prompt=[3, 2]))
    assert found == pytest.approx(2 * LOG2 + 0.2 * math.log(4 / 3), abs=1e-5)


def test_sft_is_the_mean_of_the_chosen_answers_tokens_alone(tmp_path: Path) -> None:
    """Answers 0 and 1 2: (log 2 + log 4 + log 8) / 3 = 2 log 2, whatever the prompts."""
    found = loss(tmp_path, {"name": "sft"}, pair([0], [1], prompt=[3, 2]), pair([1, 2], [0]))
    assert found == pytest.approx(2 * LOG2, abs=1e-6)


def test_the_trainers_log_probabilities_are_the_scorers(tmp_path: Path) -> None:
    pairs = [pair([0, 1], [2], prompt=[3, 3]), pair([1], [2, 2, 0])]
    policy = bandit(HALVES)
    trainer, _ = trl_engine.build(training_of(policy, pairs, tmp_path, {"name": "dpo", "beta": 0.5}))
    trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    scores = score(policy.model, pairs, 2, policy.pad_id)
    logged = trainer._metrics["train"]
    assert logged["logps/chosen"] == [pytest.approx(scores.chosen_logps.mean().item(), abs=1e-6)]
    assert logged["logps/rejected"] == [pytest.approx(scores.rejected_logps.mean().item(), abs=1e-6)]


# Of ten pairs on two actions the second, token 1, wins eight: p = 0.8. The reference says it with 1/4: s0 = -log 3.
TEN = [pair([1], [0])] * 8 + [pair([0], [1])] * 2
S0 = -math.log(3)


def optimum(tmp_path: Path, method: Mapping[str, Any]) -> float:
    """logit of token 1 where full-batch training ends."""
    policy = bandit([math.log(3), 0.0])
    assert float(torch.logit(probabilities(policy)[1])) == pytest.approx(S0, abs=1e-5)
    trl_engine.train(
        training_of(policy, TEN, tmp_path, method, max_steps=150, learning_rate=0.15, lr_scheduler="cosine")
    )
    return float(torch.logit(probabilities(policy)[1].double()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        pytest.param({"name": "dpo", "beta": 0.5}, two_actions.dpo(0.8, 0.5, S0), id="dpo-0.5"),
        pytest.param({"name": "dpo", "beta": 2.0}, two_actions.dpo(0.8, 2.0, S0), id="dpo-2"),
        pytest.param({"name": "ipo", "tau": 0.1}, two_actions.ipo(0.8, 0.1, S0), id="ipo-0.1"),
        pytest.param({"name": "ipo", "tau": 1.0}, two_actions.ipo(0.8, 1.0, S0), id="ipo-1"),
        pytest.param({"name": "orpo", "lambda": 0.1}, two_actions.orpo(0.8, 0.1), id="orpo-0.1"),
        pytest.param({"name": "orpo", "lambda": 1.0}, two_actions.orpo(0.8, 1.0), id="orpo-1"),
        pytest.param({"name": "sft"}, two_actions.sft(0.8), id="sft"),
    ],
)
def test_two_actions_end_at_the_closed_form(tmp_path: Path, method: Mapping[str, Any], expected: float) -> None:
    assert optimum(tmp_path, method) == pytest.approx(expected, abs=0.01)


def three_actions(tmp_path: Path, method: Mapping[str, Any], pairs: str, start: list[float]) -> list[float]:
    """Probabilities of a, b, c where training ends; the reference is uniform, wherever the policy starts."""
    policy = bandit(start)
    told = [pair(["abc".index(winner)], ["abc".index(loser)]) for winner, loser in pairs.split()]
    trl_engine.train(
        training_of(
            policy, told, tmp_path, method, uniform(told, 3), max_steps=150, learning_rate=0.15, lr_scheduler="cosine"
        )
    )
    return probabilities(policy).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("pairs", ["ab bc ac", "ab ba bc"], ids=["D1", "D3"])
def test_ipo_on_three_actions_ends_at_least_squares(tmp_path: Path, pairs: str, tau: float) -> None:
    """The IPO paper's bandits; D3 with the third comparison that gives the paper's figure."""
    expected = bandits.policy(bandits.ipo(wins(pairs), tau), [1 / 3] * 3)
    found = three_actions(tmp_path, {"name": "ipo", "tau": tau}, pairs, [0.0, 0.0, 0.0])
    assert found == pytest.approx(list(expected), abs=0.005)


@pytest.mark.slow
def test_dpo_on_a_circle_of_wins_goes_back_to_uniform(tmp_path: Path) -> None:
    found = three_actions(tmp_path, {"name": "dpo", "beta": 0.5}, "ab bc ca", [1.0, 0.0, -1.0])
    assert found == pytest.approx([1 / 3] * 3, abs=0.005)
