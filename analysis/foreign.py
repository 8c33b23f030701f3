"""Recognises runs that other people's TRL scripts have left at W&B: what they are, and which of their metrics are ours.

{"loss_type": ["sigmoid"], "beta": 0.1, "f_divergence_type": ..., "_name_or_path": "org/sft-7b"}  ->  dpo, 0.1, sft-7b
eval/rewards/margins 0.25  ->  eval/margin_nats 2.5, because TRL has multiplied it by beta

What cannot be known stays None, and is told. Read in TRL 1.16: DPOTrainer logs beta times summed log-ratios; CPOTrainer
beta times the policy's summed log-probabilities, ORPOTrainer and SimPO beta times their mean a token, without a
reference; KTOTrainer rewards of answers that are no pairs. Of IPO earlier versions averaged over tokens, and nothing
in the log says which version it was.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from analysis.frame import Row, number
from analysis.runs import is_metric
from trainers.metric_names import EVAL_METRICS, SAMPLE_METRICS

# What rewards/* are, before beta: log-ratios to a reference summed over an answer's tokens, the policy's own
# log-probabilities summed, or their means a token.
Scale = Literal["ratios", "sums", "means"]
# Keys of a run's config under which scripts say things, the usual ones first.
_MODEL = ("_name_or_path", "model_name_or_path", "model_id", "model_name", "base_model", "pretrained_model")
_REFERENCE = ("ref_model_name_or_path", "ref_model_path", "ref_model", "reference_model_name_or_path",
              "reference_model")  # fmt: skip
_BETA = ("beta", "dpo_beta", "pref_beta", "rl_beta", "orpo_alpha", "orpo_beta", "kto_beta", "cpo_beta", "simpo_beta")
_DATA = ("dataset_name", "dataset", "dataset_path", "train_dataset", "data_path")
_CALLED = ("trainer_class", "trainer", "trainer_type", "trainer_name", "method", "algorithm", "algo", "rl", "stage",
           "training_method", "pref_loss", "loss")  # fmt: skip
# Large sections of others, whose keys mean something else.
_NOT_ABOUT_TRAINING = ("peft_config", "quantization_config", "generation_config", "text_config", "vision_config")
_NAMES = {"dpo": "dpo", "ipo": "ipo", "kto": "kto", "orpo": "orpo", "cpo": "cpo", "simpo": "simpo", "sft": "sft",
          "cdpo": "cdpo", "rdpo": "robust", "bco": "bco", "grpo": "grpo", "ppo": "ppo", "rloo": "rloo", "rm": "reward",
          "reward": "reward", "reward_modeling": "reward", "onlinedpo": "online_dpo",
          "online_dpo": "online_dpo"}  # fmt: skip
# DPOTrainer's losses by our names, where they are ours; the others keep TRL's.
_LOSSES = {"sigmoid": "dpo", "hinge": "hinge", "ipo": "ipo", "robust": "robust", "exo_pair": "exo", "nca_pair": "nca",
           "sppo_hard": "sppo", "apo_zero": "apo", "apo_down": "apo"}  # fmt: skip
_TRLS_OWN = ("bco_pair", "aot", "aot_unpaired", "aot_pair", "discopop", "sigmoid_norm", "kto_pair", "sft")
# Keys that only one trainer's config has, in the order in which they tell.
_SIGNS = (
    ("cpo", ("cpo_alpha", "simpo_gamma")),
    ("bco", ("min_density_ratio",)),
    ("kto", ("undesirable_weight", "desirable_weight")),
    ("grpo", ("scale_rewards", "importance_sampling_level")),
    ("rloo", ("normalize_advantages", "rloo_k")),
    ("reward", ("center_rewards_coefficient",)),
    ("dpo", ("f_divergence_type", "rpo_alpha", "discopop_tau", "reference_free", "ld_alpha", "loss_weights")),
    ("orpo", ("orpo_alpha",)),
    ("sft", ("dataset_text_field", "packing")),
)
_REWARDS = ("chosen", "rejected", "margins", "accuracies")
_OURS = frozenset((*EVAL_METRICS, *SAMPLE_METRICS, "eval/kl_per_token", "eval/win_rate_lc", "eval/entropy",
                   "eval/repetition", "eval/ended", "eval/degenerate"))  # fmt: skip


@dataclass(frozen=True)
class Recognised:
    """What a run is, as far as it tells; `scale` says what its rewards are, None where that cannot be known."""

    method: str | None
    model: str | None
    reference: str | None
    data: str | None
    beta: float | None
    seed: int | None
    scale: Scale | None
    # What is not known, in words.
    unknown: tuple[str, ...] = ()


def recognise(config: Mapping[str, Any], metrics: Iterable[str]) -> Recognised:
    """What a run is, by its config and the names of its metrics."""
    known = _leaves(config)
    names = {_spelled(name) for name in metrics}
    trainer = _trainer(known, names)
    method = _method(known, trainer)
    model, seed, beta = _name(_first(known, _MODEL)), known.get("seed"), _first(known, _BETA)
    strength = math.nan if isinstance(beta, bool) else number(beta)
    found = Recognised(
        method=method,
        model=model,
        reference=_reference(known, trainer, model),
        data=_name(_first(known, _DATA)),
        beta=None if math.isnan(strength) else strength,
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        scale=_scale(known, trainer),
    )
    return dataclasses.replace(found, unknown=tuple(_unknown(found, trainer, names)))


def _unknown(found: Recognised, trainer: str | None, names: Iterable[str]) -> Iterable[str]:
    asked: dict[str, object] = {"method": found.method, "model": found.model, "reference": found.reference}
    if trainer not in ("sft", "reward"):
        asked["beta"] = found.beta
    missing = [name for name, value in asked.items() if value is None]
    if missing:
        yield f"config does not say its {', '.join(missing)}"
    if not any(name.endswith("rewards/margins") for name in names):
        return
    if trainer in ("dpo", "ipo") and found.scale is None:
        yield "TRL's versions differ in what its rewards are with this loss: no margin in nats, no reward accuracy"
    elif found.scale == "ratios" and not found.beta:
        yield "without beta its margins cannot be brought to nats"


def translate(row: Mapping[str, Any], found: Recognised) -> Row:
    """Metrics of one moment: theirs under one spelling, and ours where they mean the same. Other keys are left out."""
    theirs = {_spelled(name): value for name, value in row.items()}
    theirs = {name: value for name, value in theirs.items() if is_metric(name)}
    ours: Row = {}
    for split in ("eval", "train"):
        rewards = {name: theirs.get(f"{split}/rewards/{name}") for name in _REWARDS}
        ours |= {f"{split}/{name}": value for name, value in _meant(rewards, found) if value is not None}
    return {**{_apart(name): value for name, value in theirs.items()}, **ours}


def _meant(rewards: Mapping[str, Any], found: Recognised) -> Iterable[tuple[str, Any]]:
    if found.scale == "ratios":
        yield "reward_accuracy", rewards["accuracies"]
        if found.beta:
            yield "margin_nats", _divided(rewards["margins"], found.beta)
            yield "chosen_logratio", _divided(rewards["chosen"], found.beta)
            yield "rejected_logratio", _divided(rewards["rejected"], found.beta)
    elif found.scale == "sums":
        yield "policy_accuracy", rewards["accuracies"]
    elif found.scale == "means":
        yield "policy_accuracy_norm", rewards["accuracies"]


def _divided(value: Any, beta: float) -> float | None:
    found = number(value)
    return None if math.isnan(found) else found / beta


def _apart(name: str) -> str:
    """A metric of theirs that is called as one of ours, but may be anything, goes by another name."""
    return name.replace("/", "/theirs/", 1) if name in _OURS else name


def _spelled(name: str) -> str:
    """`eval_rewards/margins`, `rewards_eval/margins` -> `eval/rewards/margins`; `rewards/margins` -> `train/...`."""
    for split in ("eval", "train"):
        if name.startswith(f"{split}_"):
            return f"{split}/{name[len(split) + 1 :]}"
        name = re.sub(rf"^(rewards|logps|logits)_{split}/", rf"{split}/\1/", name)
    return f"train/{name}" if re.match(r"(rewards|logps|logits)/|(loss|grad_norm|learning_rate)$", name) else name


def _leaves(config: Mapping[str, Any], depth: int = 3) -> dict[str, Any]:
    """Values by the last part of their names; what stands further out goes before."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and depth and key not in _NOT_ABOUT_TRAINING:
            for name, leaf in _leaves(value, depth - 1).items():
                found.setdefault(name, leaf)
    return {**found, **{key: value for key, value in config.items() if not isinstance(value, Mapping)}}


def _first(known: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((known[key] for key in keys if known.get(key) not in (None, "")), None)


def _name(path: Any) -> str | None:
    return PurePath(path).name or None if isinstance(path, str) else None


def _trainer(known: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Which of TRL's trainers it was, or what it is called."""
    for key in _CALLED:
        called = str(known.get(key) or "").rpartition(".")[2]
        name = re.sub(r"(Trainer|Config|_trainer|_loss)$", "", called).lower().replace("-", "_")
        if name in _NAMES:
            return _NAMES[name]
    for trainer, signs in _SIGNS:
        if any(sign in known for sign in signs):
            return trainer
    kinds = {name.partition("/")[2] for name in names}
    if kinds & {"log_odds_ratio", "log_odds_chosen"}:
        return "orpo"
    losses = _loss_types(known)
    known_losses = bool(losses) and losses != ["sft"] and all(loss in _LOSSES or loss in _TRLS_OWN for loss in losses)
    return "dpo" if known_losses else None


def _loss_types(known: Mapping[str, Any]) -> list[str]:
    loss = known.get("loss_type")
    return [loss] if isinstance(loss, str) else [str(one) for one in loss] if isinstance(loss, list) else []


def _method(known: Mapping[str, Any], trainer: str | None) -> str | None:
    losses = _loss_types(known)
    if trainer == "cpo" and losses == ["simpo"]:
        # With the NLL that CPO adds it is another method.
        return "simpo" if known.get("cpo_alpha") in (0, 0.0) else "cpo_simpo"
    if trainer == "cpo" and losses not in ([], ["sigmoid"]):
        return f"cpo_{'_'.join(losses)}"
    if trainer != "dpo" or not losses:
        return trainer
    if losses == ["sigmoid"] and known.get("label_smoothing"):
        return None  # cDPO where TRL heeds it, DPO where it does not
    if losses == ["sigmoid"] and known.get("sync_ref_model") is True:
        return "trdpo"
    return "+".join(_LOSSES.get(loss, loss) for loss in losses)


def _scale(known: Mapping[str, Any], trainer: str | None) -> Scale | None:
    losses = _loss_types(known)
    if trainer in ("orpo", "simpo"):
        return "means"
    if trainer == "cpo":
        return "means" if losses in (["simpo"], ["ipo"]) else "sums"
    if trainer not in ("dpo", "cdpo", "robust") or "ipo" in losses or known.get("ld_alpha") is not None:
        return None
    return "sums" if known.get("reference_free") is True else "ratios"


def _reference(known: Mapping[str, Any], trainer: str | None, model: str | None) -> str | None:
    if trainer in ("orpo", "cpo", "simpo", "sft", "reward") or known.get("reference_free") is True:
        return "none"
    if known.get("sync_ref_model") is True:
        return "moving"
    given = _name(_first(known, _REFERENCE))
    if given is None:
        return None  # a script may give the trainer a model without a word in its config
    return "self" if given == model else f"model:{given}"
