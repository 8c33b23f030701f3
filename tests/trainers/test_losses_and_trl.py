"""Our losses beside TRL's own, from the same batch through the same tiny model: value and gradient.

Where ours is a mean of each answer's mean, and TRL's a mean over the tokens of a micro-batch, they differ on purpose: a
step then does not depend on how it is cut into micro-batches. On one pair at a time they must agree, and do.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from tests.fakes.tiny_models import PAIRS, reference_of, talker, training_with
from tests.fakes.tiny_runs import pair, uniform
from trainers import trl_engine
from trainers.data import TokenisedPair

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

pytestmark = pytest.mark.slow

Batch = Mapping[str, torch.Tensor]
LossOf = Callable[[Any, Batch], torch.Tensor]
PLAIN = {"bf16": False, "use_cpu": True, "report_to": "none", "max_length": 64, "activation_checkpointing": False}
# Answers of equal lengths, pair by pair and all together: there means over tokens and means of means are the same.
LEVEL = [pair([2, 6], [3, 9], prompt=[5, 5]), pair([10, 1], [8, 8], prompt=[1, 9]), pair([7, 7], [4, 3], prompt=[2, 3])]
TEXTS = {"prompt": ["w1"], "chosen": ["w2"], "rejected": ["w3"]}


def ours(tmp_path: Path, method: Mapping[str, Any], pairs: Sequence[TokenisedPair] = PAIRS) -> tuple[Any, Batch]:
    """Our trainer and its first batch."""
    training = training_with(talker(), pairs, tmp_path / "ours", method, reference_of(pairs))
    trainer, _ = trl_engine.build(training)
    return trainer, next(iter(trainer.get_train_dataloader()))


def asked(model: Any, loss_of: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """The loss, and its gradient in one row."""
    model.zero_grad()
    loss = loss_of()
    loss.backward()
    return loss.item(), torch.cat([weight.grad.flatten().clone() for weight in model.parameters()])


def agree(trainer: Any, batch: Batch, theirs: Callable[[], torch.Tensor]) -> None:
    own, own_gradient = asked(trainer.model, lambda: trainer.compute_loss(trainer.model, dict(batch)))
    other, other_gradient = asked(trainer.model, theirs)
    assert own == pytest.approx(other, rel=1e-5, abs=1e-6)
    assert float(other_gradient.abs().max()) > 1e-4
    assert torch.allclose(own_gradient, other_gradient, rtol=1e-4, atol=1e-6)


def dpo_of_trl(model: Any, tokenizer: Any, folder: Path, **options: Any) -> Any:
    trainer = DPOTrainer(
        model=model,
        ref_model=trl_engine._stand_in(),
        args=DPOConfig(output_dir=str(folder), **PLAIN, **options),
        train_dataset=Dataset.from_dict(TEXTS),
        processing_class=tokenizer,
    )
    # It takes the batch's, as ours does.
    trainer.precompute_ref_logps = True
    return trainer


@pytest.mark.parametrize(
    ("method", "options"),
    [
        pytest.param({"name": "dpo", "beta": 0.3}, {"loss_type": ["sigmoid"]}, id="dpo"),
        pytest.param(
            {"name": "dpo", "beta": 0.3, "f_divergence": "forward_kl"},
            {"loss_type": ["sigmoid"], "f_divergence_type": "forward_kl"},
            id="dpo-forward_kl",
        ),
        pytest.param(
            {"name": "dpo", "beta": 0.3, "f_divergence": "js"},
            {"loss_type": ["sigmoid"], "f_divergence_type": "js_divergence"},
            id="dpo-js",
        ),
        pytest.param(
            {"name": "dpo", "beta": 0.3, "f_divergence": "alpha", "f_alpha": 0.3},
            {"loss_type": ["sigmoid"], "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3},
            id="dpo-alpha",
        ),
        pytest.param(
            {"name": "dpo", "beta": 3.0, "length_normalised": True}, {"loss_type": ["sigmoid_norm"]}, id="dpo-length"
        ),
        pytest.param(
            {"name": "robust", "beta": 0.3, "epsilon": 0.2},
            {"loss_type": ["robust"], "label_smoothing": 0.2},
            id="robust",
        ),
        pytest.param({"name": "ipo", "tau": 0.3}, {"loss_type": ["ipo"], "beta": 0.3}, id="ipo"),
        pytest.param({"name": "hinge", "beta": 0.05}, {"loss_type": ["hinge"]}, id="hinge"),
        pytest.param(
            {"name": "exo", "beta": 0.3, "epsilon": 0.01},
            {"loss_type": ["exo_pair"], "label_smoothing": 0.01},
            id="exo",
        ),
        pytest.param({"name": "nca", "beta": 0.3}, {"loss_type": ["nca_pair"]}, id="nca"),
        pytest.param({"name": "sppo", "beta": 0.3}, {"loss_type": ["sppo_hard"]}, id="sppo"),
        pytest.param({"name": "apo", "beta": 0.3, "variant": "zero"}, {"loss_type": ["apo_zero"]}, id="apo-zero"),
        pytest.param({"name": "apo", "beta": 0.3, "variant": "down"}, {"loss_type": ["apo_down"]}, id="apo-down"),
    ],
)
def test_a_loss_with_a_reference_is_trls(tmp_path: Path, method: Mapping[str, Any], options: dict[str, Any]) -> None:
    trainer, batch = ours(tmp_path, method)
    options = {"beta": method.get("beta"), **options}
    theirs = dpo_of_trl(trainer.model, trainer.processing_class, tmp_path, **options)
    agree(trainer, batch, lambda: theirs._compute_loss(trainer.model, dict(batch), return_outputs=False))


WEIGHED = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7], "beta": 0.3}


@pytest.mark.parametrize("one", PAIRS[:3], ids=["one", "two", "three"])
def test_dpo_with_a_weight_on_likelihood_is_trls_on_one_pair(tmp_path: Path, one: TokenisedPair) -> None:
    trainer, batch = ours(tmp_path, {"name": "dpo", "beta": 0.3, "sft_weight": 0.7}, [one])
    theirs = dpo_of_trl(trainer.model, trainer.processing_class, tmp_path, **WEIGHED)
    agree(trainer, batch, lambda: theirs._compute_loss(trainer.model, dict(batch), return_outputs=False))


def test_likelihoods_of_pairs_are_averaged_where_trl_averages_over_all_tokens(tmp_path: Path) -> None:
    """So that no pair counts more for being long: of the eight pairs here ours is the mean of theirs one by one."""
    method = {"name": "dpo", "beta": 0.3, "sft_weight": 0.7}
    trainer, batch = ours(tmp_path, method)
    whole = trainer.compute_loss(trainer.model, dict(batch)).item()
    theirs = dpo_of_trl(trainer.model, trainer.processing_class, tmp_path, **WEIGHED)
    one_by_one = [
        theirs._compute_loss(trainer.model, ours(tmp_path / str(number), method, [one])[1], return_outputs=False)
        for number, one in enumerate(PAIRS)
    ]
    assert whole == pytest.approx(torch.stack(one_by_one).mean().item(), abs=1e-5)
    assert whole != pytest.approx(theirs._compute_loss(trainer.model, batch, return_outputs=False).item(), abs=1e-3)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 1.4)])
def test_kto_is_trls_with_the_same_point_of_comparison(tmp_path: Path, weights: tuple[float, float]) -> None:
    desirable, undesirable = weights
    method = {"name": "kto", "beta": 0.3, "desirable_weight": desirable, "undesirable_weight": undesirable}
    training = training_with(talker(), PAIRS, tmp_path / "ours", method, uniform(PAIRS, 12))
    trainer, _ = trl_engine.build(training)
    batch = next(iter(trainer.get_train_dataloader()))
    # A reference of the answers to other prompts that leaves the point of comparison above zero.
    count = len(batch["desirable"])
    batch["ref_logps"][count:] -= 2.0
    theirs = KTOTrainer(
        model=trainer.model,
        ref_model=trl_engine._stand_in(),
        args=KTOConfig(
            output_dir=str(tmp_path), beta=0.3, desirable_weight=desirable, undesirable_weight=undesirable, **PLAIN
        ),
        train_dataset=Dataset.from_dict({"prompt": ["w1"] * 2, "completion": ["w2", "w3"], "label": [True, False]}),
        processing_class=trainer.processing_class,
    )
    theirs.precompute_ref_logps = True
    renamed = {
        f"{prefix}{name}": batch[name][part]
        for prefix, part in (("", slice(0, count)), ("KL_", slice(count, None)))
        for name in ("input_ids", "attention_mask", "completion_mask")
    }
    renamed |= {
        "label": batch["desirable"],
        "ref_logps": batch["ref_logps"][:count],
        "ref_KL_logps": batch["ref_logps"][count:],
    }
    agree(trainer, batch, lambda: theirs._compute_loss(trainer.model, renamed, return_outputs=False))
    assert trainer._metrics["train"]["kl"] == pytest.approx(theirs._metrics["train"]["kl"])
    assert trainer._metrics["train"]["kl"][0] > 0


def sides(batch: Batch) -> dict[str, torch.Tensor]:
    """Our batch as the trainers of ORPO and CPO have theirs."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    named = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
    return {
        f"{side}_{name}": values
        for name, whole in named.items()
        for side, values in zip(("chosen", "rejected"), whole.chunk(2), strict=True)
    }


def of_trl(trainer: type, config: type, ours: Any, folder: Path, **options: Any) -> Any:
    return trainer(
        model=ours.model,
        args=config(output_dir=str(folder), **PLAIN, **options),
        train_dataset=Dataset.from_dict(TEXTS),
        processing_class=ours.processing_class,
    )


ORPO = {"name": "orpo", "lambda": 0.3}
CPO = {"name": "cpo", "beta": 0.3, "nll_weight": 0.7}


@pytest.mark.parametrize("pairs", [*([one] for one in PAIRS[:3]), LEVEL], ids=["one", "two", "three", "level"])
def test_orpo_is_trls_on_one_pair_and_on_pairs_of_equal_lengths(tmp_path: Path, pairs: list[TokenisedPair]) -> None:
    trainer, batch = ours(tmp_path, ORPO, pairs)
    theirs = of_trl(ORPOTrainer, ORPOConfig, trainer, tmp_path, beta=0.3)
    agree(trainer, batch, lambda: theirs.get_batch_loss_metrics(trainer.model, sides(batch))[0])


@pytest.mark.parametrize("pairs", [*([one] for one in PAIRS[:3]), LEVEL], ids=["one", "two", "three", "level"])
def test_cpo_is_trls_on_one_pair_and_on_pairs_of_equal_lengths(tmp_path: Path, pairs: list[TokenisedPair]) -> None:
    trainer, batch = ours(tmp_path, CPO, pairs)
    theirs = of_trl(CPOTrainer, CPOConfig, trainer, tmp_path, beta=0.3, cpo_alpha=0.7)
    agree(trainer, batch, lambda: theirs.get_batch_loss_metrics(trainer.model, sides(batch))[0])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        pytest.param({**CPO, "nll_weight": 0.0}, {"cpo_alpha": 0.0}, id="cpo"),
        pytest.param({"name": "posterior", "beta": 0.3}, {"cpo_alpha": 0.0}, id="posterior"),
    ],
)
def test_without_likelihood_cpo_is_trls_on_any_pairs(
    tmp_path: Path, method: Mapping[str, Any], options: dict[str, Any]
) -> None:
    trainer, batch = ours(tmp_path, method)
    theirs = of_trl(CPOTrainer, CPOConfig, trainer, tmp_path, beta=0.3, **options)
    agree(trainer, batch, lambda: theirs.get_batch_loss_metrics(trainer.model, sides(batch))[0])


def test_simpo_is_trls_whose_gamma_too_is_the_margin_itself(tmp_path: Path) -> None:
    trainer, batch = ours(tmp_path, {"name": "simpo", "beta": 2.0, "gamma": 0.6})
    theirs = of_trl(
        CPOTrainer, CPOConfig, trainer, tmp_path, beta=2.0, loss_type="simpo", simpo_gamma=0.6, cpo_alpha=0.0
    )
    agree(trainer, batch, lambda: theirs.get_batch_loss_metrics(trainer.model, sides(batch))[0])
