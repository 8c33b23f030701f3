"""Runs of other people's TRL scripts: what they are, and which of their metrics mean what ours do."""

from typing import Any

import pytest

from analysis.foreign import Recognised, recognise, translate

# What HF's callback sends of a DPOTrainer's settings, as far as it matters here.
DPO = {"loss_type": ["sigmoid"], "f_divergence_type": "reverse_kl", "beta": 0.1, "seed": 42, "label_smoothing": 0.0,
       "sync_ref_model": False, "_name_or_path": "org/sft-7b", "dataset_name": "org/ultrafeedback"}  # fmt: skip
ORPO = {"beta": 0.1, "max_completion_length": 256, "is_encoder_decoder": None, "_name_or_path": "/models/base/"}
CPO = {"loss_type": "sigmoid", "cpo_alpha": 1.0, "simpo_gamma": 0.5, "beta": 0.1}
KTO = {"loss_type": "kto", "desirable_weight": 1.0, "undesirable_weight": 1.0, "beta": 0.1}


def test_a_dpo_run_is_recognised_by_its_settings():
    found = recognise(DPO, ["train/rewards/margins"])
    assert found == Recognised(
        "dpo", "sft-7b", None, "ultrafeedback", 0.1, 42, "ratios", ("config does not say its reference",)
    )


@pytest.mark.parametrize(
    ("config", "metrics", "method"),
    [
        (DPO, [], "dpo"),
        ({**DPO, "loss_type": "sigmoid"}, [], "dpo"),
        ({**DPO, "loss_type": ["ipo"]}, [], "ipo"),
        ({**DPO, "loss_type": ["hinge"]}, [], "hinge"),
        ({**DPO, "loss_type": ["exo_pair"]}, [], "exo"),
        ({**DPO, "loss_type": ["apo_zero"]}, [], "apo"),
        ({**DPO, "loss_type": ["robust"]}, [], "robust"),
        ({**DPO, "loss_type": ["discopop"]}, [], "discopop"),
        ({**DPO, "loss_type": ["sigmoid", "sft"]}, [], "dpo+sft"),
        ({**DPO, "sync_ref_model": True}, [], "trdpo"),
        pytest.param({**DPO, "label_smoothing": 0.1}, [], None, id="cdpo in some versions, dpo in others"),
        ({"loss_type": "ipo", "beta": 0.1}, [], "ipo"),
        (CPO, [], "cpo"),
        ({**CPO, "loss_type": "hinge"}, [], "cpo_hinge"),
        ({**CPO, "loss_type": "simpo", "cpo_alpha": 0.0}, [], "simpo"),
        pytest.param({**CPO, "loss_type": "simpo"}, [], "cpo_simpo", id="simpo with the NLL of cpo"),
        (KTO, [], "kto"),
        (ORPO, ["train/log_odds_ratio"], "orpo"),
        ({**ORPO, "orpo_alpha": 0.1}, [], "orpo"),
        ({"packing": False, "dataset_text_field": "text", "loss_type": "nll"}, [], "sft"),
        ({"center_rewards_coefficient": None}, [], "reward"),
        ({"trainer_class": "trl.trainer.dpo_trainer.DPOTrainer"}, [], "dpo"),
        ({"trainer": "ORPOTrainer"}, [], "orpo"),
        ({"rl": "simpo"}, [], "simpo"),
        ({"training": {"method": "DPO"}}, [], "dpo"),
        ({"loss_type": "ForCausalLM"}, ["train/loss"], None),
        ({}, ["train/rewards/margins"], None),
    ],
)
def test_methods_are_told_by_class_settings_and_metrics(config: dict[str, Any], metrics: list[str], method: str | None):
    assert recognise(config, metrics).method == method


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        pytest.param(DPO, None, id="a script may have given any"),
        ({**DPO, "ref_model": "org/larger"}, "model:larger"),
        ({**DPO, "ref_model_name_or_path": "org/sft-7b"}, "self"),
        ({**DPO, "reference_free": True}, "none"),
        ({**DPO, "sync_ref_model": True}, "moving"),
        (CPO, "none"),
    ],
)
def test_the_reference_is_told_where_the_config_says_it(config: dict[str, Any], reference: str | None):
    assert recognise(config, []).reference == reference


@pytest.mark.parametrize(
    ("config", "beta"),
    [
        ({"beta": 0.1}, 0.1),
        ({"orpo_alpha": 0.25}, 0.25),
        ({"args": {"dpo_beta": "0.5"}}, 0.5),
        ({"beta": "high"}, None),
        ({"beta": True}, None),
        pytest.param({"peft_config": {"beta": 3}}, None, id="of something else"),
    ],
)
def test_the_strength_has_many_names(config: dict[str, Any], beta: float | None):
    assert recognise(config, []).beta == beta


REWARDS = {
    "eval/rewards/chosen": 0.25, "eval/rewards/rejected": -0.5, "eval/rewards/margins": 0.75,
    "eval/rewards/accuracies": 0.625,
}  # fmt: skip


def ours(row: dict[str, Any], config: dict[str, Any], *names: str) -> dict[str, Any]:
    """What is there besides what they logged."""
    translated = translate(row, recognise(config, [*row, *names]))
    return {name: value for name, value in translated.items() if "rewards/" not in name}


def test_margins_of_dpo_come_in_nats():
    assert ours(REWARDS, DPO) == {
        "eval/margin_nats": pytest.approx(7.5),
        "eval/chosen_logratio": pytest.approx(2.5),
        "eval/rejected_logratio": pytest.approx(-5.0),
        "eval/reward_accuracy": 0.625,
    }


@pytest.mark.parametrize(
    "row",
    [
        {"eval_rewards/margins": 0.75, "eval_rewards/accuracies": 0.625},
        {"rewards_eval/margins": 0.75, "rewards_eval/accuracies": 0.625},
    ],
)
def test_other_spellings_mean_the_same(row: dict[str, float]):
    assert ours(row, DPO) == {"eval/margin_nats": pytest.approx(7.5), "eval/reward_accuracy": 0.625}


def test_margins_while_training_come_in_nats_too():
    assert ours({"rewards/margins": 0.5, "loss": 0.25}, DPO) == {"train/loss": 0.25, "train/margin_nats": 5.0}


@pytest.mark.parametrize(
    ("config", "meant"),
    [
        pytest.param(ORPO, {"eval/policy_accuracy_norm": 0.625}, id="orpo: means a token, no reference"),
        pytest.param({**CPO, "loss_type": "simpo"}, {"eval/policy_accuracy_norm": 0.625}, id="simpo: means a token"),
        pytest.param(CPO, {"eval/policy_accuracy": 0.625}, id="cpo: sums, no reference"),
        pytest.param({**DPO, "reference_free": True}, {"eval/policy_accuracy": 0.625}, id="dpo without a reference"),
        pytest.param({**DPO, "loss_type": "ipo"}, {}, id="ipo: sums or means, by version"),
        pytest.param({**DPO, "ld_alpha": 0.5}, {}, id="other log-probabilities"),
        pytest.param(KTO, {}, id="kto: no pairs"),
        pytest.param({}, {}, id="nothing known"),
    ],
)
def test_what_means_something_else_is_not_mapped(config: dict[str, Any], meant: dict[str, float]):
    names = ["train/log_odds_ratio"] if config == ORPO else []
    assert ours(REWARDS, config, *names) == meant


def test_what_is_not_known_is_told():
    assert recognise({**DPO, "loss_type": "ipo"}, REWARDS).unknown[-1].startswith("TRL's versions differ")
    without = {key: value for key, value in DPO.items() if key != "beta"}
    assert recognise(without, REWARDS).unknown == (
        "config does not say its reference, beta",
        "without beta its margins cannot be brought to nats",
    )


def test_a_metric_that_is_only_called_as_ours_goes_by_another_name():
    row = {"eval/kl": 3.0, "eval/loss": 1.0, "test/loss": 2.0, "lr": 1}
    assert translate(row, recognise(DPO, row)) == {"eval/theirs/kl": 3.0, "eval/loss": 1.0}
