"""The losses as our trainers configure them: against numbers by hand, and against the optima of small problems.

The policy of the hand numbers says token 0 with 1/2, 1 with 1/4, 2 and 3 with 1/8 each; its reference each with 1/4.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.tiny_models import training_with
from tests.fakes.tiny_runs import bandit, pair, probabilities, training_of, uniform
from tests.oracles import bandits, two_actions
from tests.oracles.test_oracles import wins
from trainers import trl_engine
from trainers.data import TokenisedPair
from trainers.evaluation.scorer import score

LOG2 = math.log(2)
HALVES = [math.log(1 / 2), math.log(1 / 4), math.log(1 / 8), math.log(1 / 8)]


def loss(tmp_path: Path, method: Mapping[str, Any], *pairs: TokenisedPair) -> float:
    """What the trainer's own compute_loss says of its first batch."""
    training = training_of(bandit(HALVES), pairs, tmp_path, method, uniform(pairs, 4))
    trainer, _ = trl_engine.build(training)
    batch = next(iter(trainer.get_train_dataloader()))
    found: float = trainer.compute_loss(trainer.model, batch).item()
    return found


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


P = 0.8


def case(expected: float, name: str, **options: Any) -> Any:
    told = "-".join(str(value) for value in options.values())
    return pytest.param({"name": name, **options}, expected, id=f"{name}-{told}" if told else name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        case(two_actions.dpo(P, 0.5, S0), "dpo", beta=0.5),
        case(two_actions.dpo(P, 2.0, S0), "dpo", beta=2.0),
        case(two_actions.dpo(P, 0.5, S0), "dpo", beta=0.5, length_normalised=True),
        case(two_actions.f_dpo(P, 1.0, S0, lambda t: 1 - 1 / t), "dpo", beta=1.0, f_divergence="forward_kl"),
        case(two_actions.f_dpo(P, 1.0, S0, lambda t: math.log(2 * t / (1 + t))), "dpo", beta=1.0, f_divergence="js"),
        case(
            two_actions.f_dpo(P, 1.0, S0, lambda t: 2 - 2 / math.sqrt(t)),
            "dpo", beta=1.0, f_divergence="alpha", f_alpha=0.5,
        ),
        case(
            two_actions.root(lambda s: 2.0 * (two_actions.sigmoid(s) - P) + 0.5 * (
                two_actions.sigmoid(0.5 * (s - S0)) - P)),
            "dpo", beta=0.5, sft_weight=2.0,
        ),
        case(two_actions.cdpo(P, 0.5, 0.1, S0), "cdpo", beta=0.5, epsilon=0.1),
        case(two_actions.cdpo(P, 1.0, 0.4, S0), "cdpo", beta=1.0, epsilon=0.4),
        case(two_actions.robust(P, 1.0, 0.1, S0), "robust", beta=1.0, epsilon=0.1),
        case(two_actions.ipo(P, 0.1, S0), "ipo", tau=0.1),
        case(two_actions.ipo(P, 1.0, S0), "ipo", tau=1.0),
        case(two_actions.ipo(P, 1.0, S0), "ipo", tau=1.0, per_token=False),
        case(two_actions.hinge(P, 0.5, S0), "hinge", beta=0.5),
        case(two_actions.exo(P, 1.0, 0.001, S0), "exo", beta=1.0, epsilon=0.001),
        case(two_actions.exo(P, 2.0, 0.2, S0), "exo", beta=2.0, epsilon=0.2),
        case(two_actions.posterior(P, 0.5), "posterior", beta=0.5),
        case(two_actions.posterior(P, 2.0), "posterior", beta=2.0),
        case(two_actions.simpo(P, 2.0, 1.0), "simpo", beta=2.0, gamma=1.0),
        case(two_actions.simpo(P, 1.0, 0.0), "simpo", beta=1.0, gamma=0.0),
        case(two_actions.cpo(P, 0.1, 1.0), "cpo", beta=0.1),
        case(two_actions.cpo(P, 2.0, 0.5), "cpo", beta=2.0, nll_weight=0.5),
        case(two_actions.orpo(P, 0.1), "orpo", **{"lambda": 0.1}),
        case(two_actions.orpo(P, 1.0), "orpo", **{"lambda": 1.0}),
        case(two_actions.unlikelihood(P), "unlikelihood", alpha=0.5),
        case(two_actions.sft(P), "sft"),
    ],
)  # fmt: skip
def test_two_actions_end_at_the_closed_form(tmp_path: Path, method: Mapping[str, Any], expected: float) -> None:
    assert optimum(tmp_path, method) == pytest.approx(expected, abs=0.01)


def ls(x: float) -> float:
    return two_actions.log_sigmoid(x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "formula"),
    [
        case(lambda w, r: -ls(0.5 * (w - r - 2 * max(0, -w))), "dpop", beta=0.5, penalty=2.0),
        case(lambda w, r: -ls(2 * (w - r - 50 * max(0, -w))), "dpop", beta=2.0, penalty=50.0),
        case(lambda w, r: -ls(w) - ls(-w) / 2 - ls(-r) / 2, "nca", beta=1.0),
        case(lambda w, r: (w - 1 / 0.8) ** 2 + (r + 1 / 0.8) ** 2, "sppo", beta=0.4),
        case(lambda w, r: -w - ls(-0.5 * r), "ulma", beta=0.5),
    ],
)
def test_two_actions_end_where_the_expected_loss_is_least(
    tmp_path: Path, method: Mapping[str, Any], formula: two_actions.PairLoss
) -> None:
    """The papers' formulas in plain numbers, w and r the log-ratios of the chosen and the rejected action.

    ULMA's log pi(w) is that and log pi_ref(w), which nothing changes.
    """
    assert optimum(tmp_path, method) == pytest.approx(two_actions.minimum(P, formula, S0), abs=0.01)


@pytest.mark.slow
def test_likelihood_starts_from_the_answers_own_probability(tmp_path: Path) -> None:
    """Without a prompt the two are said alike: there is no s0."""
    policy = bandit([math.log(3), 0.0])
    training = training_of(
        policy, TEN, tmp_path, {"name": "likelihood", "beta": 0.5}, uniform(TEN, 2), max_steps=150, learning_rate=0.15,
        lr_scheduler="cosine",
    )  # fmt: skip
    trl_engine.train(training)
    found = float(torch.logit(probabilities(policy)[1].double()))
    assert found == pytest.approx(two_actions.dpo(P, 0.5, 0.0), abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        {"name": "kto", "beta": 0.5},
        {"name": "apo", "beta": 0.5, "variant": "zero"},
        {"name": "robust", "beta": 0.5, "epsilon": 0.3},
    ],
    ids=["kto", "apo-zero", "robust"],
)
def test_the_majority_takes_all(tmp_path: Path, method: Mapping[str, Any]) -> None:
    """KTO and APO-zero lift what wins more often than not, to any height.

    KTO's point of comparison takes no gradient, and is the same for both. Robust does it where more than all wins would
    be right but for the noise: (0.8 - 0.3) / 0.4 > 1.
    """
    policy = bandit([math.log(3), 0.0])
    trl_engine.train(
        training_with(policy, TEN, tmp_path, method, max_steps=150, learning_rate=0.15, optimizer="adamw_torch")
    )
    assert float(torch.logit(probabilities(policy)[1].double())) > 8


@pytest.mark.slow
def test_npo_forgets_the_rejected_action(tmp_path: Path) -> None:
    policy = bandit([math.log(3), 0.0])
    told = [pair([1], [0])] * 4
    trl_engine.train(
        training_of(policy, told, tmp_path, {"name": "npo", "beta": 0.5, "retain_weight": 0.0}, max_steps=150,
                    learning_rate=0.15)
    )  # fmt: skip
    assert probabilities(policy)[0] < 1e-4


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "soft"),
    [
        pytest.param({"name": "dpo", "beta": 0.5}, 0.0, id="dpo"),
        pytest.param({"name": "cdpo", "beta": 0.5, "epsilon": 0.2}, 0.2, id="cdpo"),
        pytest.param({"name": "posterior", "beta": 0.5}, 0.0, id="posterior"),
    ],
)
def test_three_actions_end_at_bradley_terrys_likelihood(tmp_path: Path, method: Mapping[str, Any], soft: float) -> None:
    """From anywhere; a uniform reference is none. cDPO counts a share of each win as a loss."""
    told = "ab ab ba bc bc cb ac ca"
    table = (1 - soft) * wins(told) + soft * wins(told).T
    expected = bandits.policy(bandits.dpo(table, 0.5), [1 / 3] * 3)
    found = three_actions(tmp_path, method, told, [1.0, 0.0, -1.0])
    assert found == pytest.approx(list(expected), abs=0.005)


@pytest.mark.slow
def test_cdpo_is_finite_where_dpo_is_not(tmp_path: Path) -> None:
    """a beats b, b beats c, a beats c: DPO would say a alone."""
    table = 0.8 * wins("ab bc ac") + 0.2 * wins("ab bc ac").T
    found = three_actions(tmp_path, {"name": "cdpo", "beta": 1.0, "epsilon": 0.2}, "ab bc ac", [0.0, 0.0, 0.0])
    assert found == pytest.approx(list(bandits.policy(bandits.dpo(table, 1.0), [1 / 3] * 3)), abs=0.005)


@pytest.mark.slow
def test_an_action_that_is_never_compared_is_left_where_it_is(tmp_path: Path) -> None:
    """a and b tie: they meet halfway, where c is."""
    found = three_actions(tmp_path, {"name": "ipo", "tau": 0.1}, "ab ba", [1.0, -1.0, 0.0])
    assert found == pytest.approx([1 / 3] * 3, abs=0.005)
