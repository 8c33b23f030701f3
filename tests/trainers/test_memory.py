"""What an estimate says of weights, adapters and optimisers, against the bytes of the real objects."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.checkpoints import SIZES, mistral
from tests.fakes.tiny_runs import pair, run_config, training_of
from trainers import trl_engine
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.footprint import Estimate, estimate
from trainers.machine import Machine
from trainers.models import load_base, load_policy

pytestmark = pytest.mark.slow

HERE = Machine(ram_bytes=64 * 10**9)
# Wide enough for bitsandbytes to keep some states in 8 bits: tensors of 4096 numbers.
WIDE: dict[str, Any] = {**SIZES, "hidden_size": 256, "intermediate_size": 1024}
LORA = {"kind": "lora", "r": 8, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
FULL = {"kind": "none"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mistral(tmp_path_factory.mktemp("wide"), **WIDE)


def config(model: Path, **changes: Any) -> RunConfig:
    return check(run_config(model__path=str(model), training__max_length=64, **changes))


def estimated(asked: RunConfig) -> Estimate:
    found = estimate(asked, HERE)
    assert found is not None
    return found


def size(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_take_what_they_are_said_to(model: Path, dtype: str, cache_dir: Path) -> None:
    asked = config(model, model__dtype=dtype, peft=FULL)
    assert estimated(asked).most("weights") == size(load_base(asked, str(model), None, cache_dir).parameters())


@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_weights_in_4_bits_take_what_they_are_said_to(model: Path, double: bool, cache_dir: Path) -> None:
    """Packed weights with their scales, and what scales take in turn; a code book of 64 bytes a layer falls out."""
    asked = config(model, peft=LORA, quantization={"kind": "nf4", "double_quant": double})
    base = load_base(asked, str(model), None, cache_dir)
    scales = 0
    for weight in base.parameters():
        state = getattr(weight, "quant_state", None)
        if state is not None:
            scales += size([state.absmax]) + (size([state.state2.absmax]) if double else 0)
    assert estimated(asked).most("weights") == pytest.approx(size(base.parameters()) + scales, rel=1e-3)


@pytest.mark.parametrize(
    "changes",
    [{}, {"use_dora": True}, {"r": 3}, {"target_modules": ["q_proj", "down_proj"]},
     {"target_modules": r".*\.(k_proj|gate_proj)"}],
    ids=["lora", "dora", "rank 3", "some layers", "a regular expression"],
)  # fmt: skip
def test_an_adapter_has_so_many_parameters(model: Path, changes: dict[str, Any], cache_dir: Path) -> None:
    asked = config(model, peft={**LORA, **changes})
    policy = load_policy(asked, cache_dir)
    trained = [weight for weight in policy.model.parameters() if weight.requires_grad]
    found = estimated(asked)
    assert found.trained == sum(weight.numel() for weight in trained)
    assert found.most("adapter") == found.most("gradients") == size(trained)


@pytest.mark.parametrize("peft", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize(
    "optimizer",
    ["adamw_torch", "sgd", "rmsprop", "adagrad", "paged_adamw_8bit", "adamw_8bit", "paged_adamw_32bit", "lion_8bit",
     "lion_32bit", "ademamix", "ademamix_8bit", "rmsprop_bnb_8bit"],
)  # fmt: skip
def test_an_optimiser_keeps_what_it_is_said_to(
    model: Path, optimizer: str, peft: dict[str, Any], tmp_path: Path, cache_dir: Path
) -> None:
    """Its state after a step; counters of steps and code books of 8 bits, a kilobyte each, are left out."""
    asked = config(model, peft=peft, training__optimizer=optimizer)
    policy = load_policy(asked, cache_dir)
    method = {"name": "dpo", "beta": 0.1}
    training = training_of(policy, [pair([70, 71], [80])], tmp_path, method, optimizer=optimizer, max_steps=1)
    trainer, _ = trl_engine.build(training)
    trainer.train()
    optimiser = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    states = [
        value
        for state in optimiser.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and name != "step" and not name.startswith("qmap")
    ]
    assert estimated(asked).most("optimizer") == pytest.approx(size(states), rel=0.02, abs=64)
