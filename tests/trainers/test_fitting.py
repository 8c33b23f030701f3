"""What is told of a run that does not fit: what it is made of, what would make it fit, and on which GPU it does."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.shapes import MISTRAL_7B, model_folder
from tests.fakes.tiny_runs import method, run_config
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.fitting import fits, step_too_large, too_large
from trainers.footprint import Estimate, Phase, estimate
from trainers.machine import Machine
from trainers.units import GIB

HERE = Machine(ram_bytes=16 * GIB)
FULL = {"kind": "none"}


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Mistral 7B on a GPU: two pairs of 1024 tokens with checkpointing, as its preset has it, full fine-tuning."""

    def build(name: str = "dpo", settings: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
        folder = model_folder(tmp_path / "seven", MISTRAL_7B)
        usual: dict[str, Any] = {
            "method": method(name, **(settings or {})), "model__path": folder, "model__name": "seven",
            "model__dtype": "auto", "peft": FULL, "training__batch_size": 2, "training__gradient_accumulation": 4,
            "training__max_length": 1024, "training__precision": "auto", "training__gradient_checkpointing": True,
        }  # fmt: skip
        return check(run_config(name, **{**usual, **changes}))

    return build


def told(config: RunConfig, machine: Machine, **given: Any) -> str:
    (sentence,) = too_large(config, machine, **given)
    return sentence


LORA = {"kind": "lora", "r": 16, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"}
NF4 = {"kind": "nf4", "double_quant": True}


def test_what_takes_as_much_as_there_is_fits() -> None:
    exactly = Estimate(1, 1, (Phase("scoring", (("weights", 100),)),))
    assert fits(exactly, Machine(ram_bytes=100))
    assert not fits(exactly, Machine(ram_bytes=99))


def test_the_parts_of_the_peak_are_told_and_add_up_to_what_is_needed(config: Any) -> None:
    sentence = told(config(training__optimizer="paged_adamw_8bit"), HERE.with_gpu("a100-80"))
    needed = re.search(r"needs ([\d.]+) GiB to train with full fine-tuning", sentence)
    parts = re.search(r"in the forward pass, at its peak, (weights .* GiB);", sentence)
    assert needed is not None
    assert parts is not None
    sizes = [float(size) for size in re.findall(r" ([\d.]+)(?: \+| GiB)", parts[1])]
    assert sum(sizes) == pytest.approx(float(needed[1]), abs=0.05 * len(sizes))
    assert "lost to gaps (5 %)" in parts[1]
    assert "a GPU of the kind gpu=a100-80 has 80.0 GiB" in sentence


def test_each_single_change_that_suffices_is_told_the_least_first(config: Any) -> None:
    """Adam in 8 bits takes 40 GiB less than in 32, LoRA nearly all that is trained."""
    sentence = told(config(), Machine(16 * GIB, gpu_bytes=(100 * GIB,)))
    advice = sentence.split("; ")[1]
    assert re.fullmatch(
        r"it would fit with training\.optimizer=paged_adamw_8bit \([\d.]+ GiB\) or peft=lora \([\d.]+ GiB\)", advice
    )


def test_adam_in_one_kernel_spares_its_steps_copy_before_adam_in_8_bits_does(config: Any) -> None:
    """Weights, gradients and two moments are 108 GiB, the step's denominator 27 more."""
    assert "training.optimizer=adamw_torch_fused (" in told(config(), HERE.with_gpu("h200"))


def test_what_is_advised_does_fit_and_takes_what_is_said(config: Any) -> None:
    on = Machine(16 * GIB, gpu_bytes=(100 * GIB,))
    found = re.search(r"paged_adamw_8bit \(([\d.]+) GiB\)", told(config(), on))
    changed = estimate(config(training__optimizer="paged_adamw_8bit"), on)
    assert found is not None
    assert changed is not None
    assert fits(changed, on)
    assert float(found[1]) == pytest.approx(changed.total / GIB, abs=0.05)


def test_changes_that_suffice_only_together_are_told_together(config: Any) -> None:
    sentence = told(config(), HERE.with_gpu("t4"))
    assert "it would fit with peft=qlora (" in sentence


def test_a_change_with_degrees_is_as_mild_as_suffices(config: Any) -> None:
    """LoRA without checkpointing: half the micro-batch suffices where a quarter would, too."""
    asked = config(peft=LORA, training__batch_size=8, training__gradient_checkpointing=False)
    whole = estimate(asked, HERE.with_gpu("h200"))
    assert whole is not None
    on = Machine(16 * GIB, gpu_bytes=(int(whole.total * 0.7),))
    assert "training.batch_size=4 training.gradient_accumulation=8 (" in told(asked, on)


def test_a_method_that_compares_within_its_micro_batch_keeps_it(config: Any) -> None:
    asked = config("kto", peft=LORA, training__batch_size=8, training__gradient_checkpointing=False)
    assert "batch_size" not in told(asked, HERE.with_gpu("rtx4090"))


def test_answers_may_be_sampled_fewer_at_a_time(config: Any) -> None:
    settings = {"reward_model": "builtin:gold", "sampling_batch": 512, "max_new_tokens": 512}
    asked = config("rso", settings, peft=LORA, quantization=NF4)
    sentence = told(asked, HERE.with_gpu("rtx4090"))
    assert "in sampling, at its peak" in sentence
    assert re.search(r"it would fit with method\.sampling_batch=\d+ \(", sentence)


def test_a_reference_may_be_held_in_4_bits(config: Any, tmp_path: Path) -> None:
    larger = model_folder(tmp_path / "larger", MISTRAL_7B, num_hidden_layers=64)
    asked = config(peft=LORA, quantization=NF4, reference={"kind": "model", "path": larger, "revision": None})
    none = config(
        peft=LORA, quantization=NF4,
        reference={"kind": "model", "path": larger, "revision": None, "quantization": "none"},
    )  # fmt: skip
    gpu = HERE.with_gpu("rtx4090")
    assert too_large(asked, gpu) == []
    assert "reference.quantization=nf4 (" in told(none, gpu)
    assert too_large(none, gpu, scored_before=True) == []
    (step,) = step_too_large(none, gpu)
    assert step.startswith("reference=model needs ")
    assert "reference.quantization=nf4 (" in step


def test_the_smallest_gpu_on_which_it_fits_as_it_is_is_named(config: Any) -> None:
    eight = config(training__optimizer="paged_adamw_8bit")
    assert told(eight, HERE.with_gpu("a100-80")).endswith("as it is, it would fit gpu=h200 (140.4 GiB)")
    lora = config(peft=LORA)
    assert told(lora, HERE.with_gpu("t4")).endswith("as it is, it would fit gpu=a10 (22.5 GiB)")
    needed = estimate(lora, HERE.with_gpu("a10"))
    assert needed is not None
    assert fits(needed, HERE.with_gpu("a10"))


def test_a_gpu_without_bf16_is_not_named_for_a_run_in_bf16(config: Any) -> None:
    small = config(peft=LORA, quantization=NF4, training__max_length=256)
    on = Machine(16 * GIB, gpu_bytes=(6 * GIB,))
    assert "gpu=t4" in told(small, on)
    bf16 = config(peft=LORA, quantization=NF4, training__max_length=256, training__precision="bf16")
    assert "gpu=l4" in told(bf16, on) or "gpu=a10" in told(bf16, on)


def test_no_gpu_is_named_where_none_is_large_enough(config: Any) -> None:
    asked = config(model__parameters_b=70.0, model__path="nobody/seventy")
    sentence = told(asked, HERE.with_gpu("h200"))
    assert sentence.endswith("as it is, it fits none of the GPUs known here (the largest has 140.4 GiB)")


def test_nothing_is_advised_that_does_not_suffice(config: Any) -> None:
    asked = config(model__parameters_b=70.0, model__path="nobody/seventy")
    assert "nothing that could be changed here makes it fit" in told(asked, HERE.with_gpu("t4"))


def test_runs_that_share_a_gpu_may_have_it_alone(config: Any) -> None:
    shared = HERE.with_gpu("a100-80").shared_by(6)
    sentence = told(config(peft=LORA), shared)
    assert "has 80.0 GiB for launcher.runs_per_gpu=6" in sentence
    assert "launcher.runs_per_gpu=1 leaves it 80.0 GiB, where it fits" in sentence


def test_the_smallest_gpu_counts_because_runs_go_to_all(config: Any) -> None:
    mixed = Machine(ram_bytes=64 * GIB, gpu_bytes=(10 * GIB, 80 * GIB))
    assert "the smallest GPU here has 10.0 GiB (CUDA_VISIBLE_DEVICES hides it)" in told(config(peft=LORA), mixed)


def test_the_built_in_model_fits_everywhere() -> None:
    assert not too_large(check(run_config()), Machine(ram_bytes=2 * GIB))
