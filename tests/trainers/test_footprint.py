"""What a run takes in its phases, by hand: a model of 1144 parameters, and the bytes of each part of what it does."""

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.shapes import HEAD, LINEAR, NORMS, PARAMETERS, model_folder
from tests.fakes.tiny_runs import method, run_config
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.footprint import BASE_BYTES, LOSS, Estimate, Phase, estimate, estimate_step
from trainers.machine import Machine

CPU = Machine(ram_bytes=64 << 30)
GPU = CPU.with_gpu("a100-80")
FULL = {"kind": "none"}
# Rank 4 on seven matrices of 8 x 8 in each of two layers.
ADAPTER = 2 * 7 * 4 * (8 + 8)
FP32 = 4


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def build(name: str = "dpo", settings: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
        changed = {"model__path": model_folder(tmp_path / "policy"), **changes}
        return check(run_config(name, **{"method": method(name, **(settings or {})), **changed}))

    return build


def found(asked: RunConfig, machine: Machine = CPU, **given: Any) -> Estimate:
    told = estimate(asked, machine, **given)
    assert told is not None
    return told


def phases(told: Estimate) -> dict[str, Phase]:
    """By name; of several of one name the last."""
    return {phase.name: phase for phase in told.phases}


def test_the_parts_of_a_phase_add_up_to_it_with_what_an_allocator_loses(config: Any) -> None:
    for phase in found(config()).phases:
        sizes = dict(phase.parts)
        lost = sizes.pop("lost")
        assert lost == int(LOSS * sum(sizes.values()))
        assert phase.total == lost + sum(sizes.values())
        assert sizes["other"] == BASE_BYTES


def test_the_peak_is_the_phase_that_takes_most() -> None:
    small, large = Phase("scoring", (("weights", 5),)), Phase("the optimiser's step", (("weights", 5), ("update", 3)))
    told = Estimate(1, 1, (small, large))
    assert (told.peak, told.total, told.most("update")) == (large, 8, 3)


def test_full_fine_tuning_holds_weights_gradients_and_two_moments(config: Any) -> None:
    step = phases(found(config(peft=FULL)))["the optimiser's step"]
    assert step.of("weights") == step.of("gradients") == PARAMETERS * FP32
    assert step.of("optimizer") == 2 * PARAMETERS * FP32


def test_an_optimisers_step_takes_a_denominator_of_all_weights_on_a_gpu_and_two_of_the_largest_without(
    config: Any,
) -> None:
    asked = config(peft=FULL)
    assert phases(found(asked, GPU))["the optimiser's step"].of("update") == PARAMETERS * FP32
    assert phases(found(asked))["the optimiser's step"].of("update") == 2 * HEAD * FP32
    paged = config(peft=FULL, training__optimizer="paged_adamw_8bit")
    assert phases(found(paged, GPU))["the optimiser's step"].of("update") == 0


def test_an_adapter_is_what_is_trained(config: Any) -> None:
    step = phases(found(config()))["the optimiser's step"]
    assert (step.of("weights"), step.of("adapter")) == (PARAMETERS * FP32, ADAPTER * FP32)
    assert (step.of("gradients"), step.of("optimizer")) == (ADAPTER * FP32, 2 * ADAPTER * FP32)


def test_gradients_stay_for_the_next_micro_batch_alone(config: Any) -> None:
    at_once = phases(found(config(training__batch_size=64)))["the backward pass"]
    in_two = phases(found(config(training__batch_size=64, training__gradient_accumulation=2)))["the backward pass"]
    assert (at_once.of("gradients"), in_two.of("gradients")) == (0, ADAPTER * FP32)


def test_checkpointing_keeps_inputs_alone_and_computes_a_layer_again(config: Any) -> None:
    kept = phases(found(config(training__batch_size=64)))["the backward pass"]
    again = phases(found(config(training__batch_size=64, training__gradient_checkpointing=True)))["the backward pass"]
    assert again.of("activations") < kept.of("activations")
    # Of 128 sequences of 512 tokens 8 hidden units for each of two layers, and the last norm's two.
    assert again.of("activations") == 128 * 512 * 8 * (2 * FP32 + 2 * FP32)


def test_autocast_copies_all_trained_weights_until_the_forward_pass_is_over(config: Any) -> None:
    """With checkpointing, where they are gone when the backward pass begins."""
    told = phases(found(config(peft=FULL, training__gradient_checkpointing=True, training__precision="bf16")))
    assert (told["the forward pass"].of("cast"), told["the backward pass"].of("cast")) == (2 * LINEAR * 2, 0)
    whole = phases(found(config(peft=FULL, training__precision="bf16")))
    assert whole["the backward pass"].of("cast") == 2 * LINEAR * 2
    # The scorer multiplies with a copy of the head, too.
    assert whole["scoring"].of("cast") == (2 * LINEAR + HEAD) * 2
    frozen = found(config(training__precision="bf16", model__dtype="auto"))
    assert frozen.most("cast") == ADAPTER * 2
    assert found(config()).most("cast") == 0


def test_only_another_model_as_reference_takes_room(config: Any, tmp_path: Path) -> None:
    larger = model_folder(tmp_path / "larger", num_hidden_layers=10)
    other = config(reference={"kind": "model", "path": larger, "revision": None})
    assert found(config()).most("reference") == 0
    (at,) = [phase for phase in found(other).phases if phase.of("reference")]
    assert at.name == "the reference"
    assert at.of("reference") == (10 * LINEAR + 2 * HEAD + (2 * 10 + 1) * 8) * FP32
    # Before training, so that no optimiser has any state.
    assert at.of("optimizer") == 0


def test_what_a_step_has_scored_before_takes_room_in_the_step_and_none_in_the_run(config: Any, tmp_path: Path) -> None:
    larger = model_folder(tmp_path / "larger", num_hidden_layers=10)
    asked = config(reference={"kind": "model", "path": larger, "revision": None})
    assert found(asked, scored_before=True).most("reference") == 0
    step = estimate_step(asked, CPU)
    assert step is not None
    assert step.most("reference") == found(asked).most("reference")
    assert step.most("weights") == step.most("optimizer") == 0


def test_a_run_of_the_study_as_reference_is_a_model_beside_the_policy(config: Any) -> None:
    of_a_run = config(reference={"kind": "run", "run": {"method": "sft"}})
    assert found(of_a_run).most("reference") == PARAMETERS * FP32


def test_a_reference_that_moves_is_a_copy_of_what_is_trained(config: Any) -> None:
    told = phases(found(config("trdpo", peft=FULL)))
    assert told["the backward pass"].of("copy") == PARAMETERS * FP32
    assert told["the reference"].of("copy") == 0


def test_a_reward_model_has_no_head_and_no_logits(config: Any) -> None:
    told = found(config("reward", peft=FULL))
    assert told.most("weights") == (PARAMETERS - HEAD) * FP32
    assert told.most("logits") == 0


def rated(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a method that has its answers rated by a model of ten layers."""
    rater = model_folder(tmp_path / "rater", num_hidden_layers=10)
    return {"reward_model": rater, "sampling_batch": 16, "max_new_tokens": 32, **changes}


RATER = (10 * LINEAR + HEAD + (2 * 10 + 1) * 8) * FP32
# Of a set that is not the built-in world's, where answers to held-out prompts are sampled besides.
FILE = {"kind": "jsonl", "path": "p", "eval_path": None, "eval_fraction": 0.1, "split_seed": 0,
        "prompt_field": "prompt", "chosen_field": "chosen", "rejected_field": "rejected", "max_train_samples": None,
        "max_eval_samples": None}  # fmt: skip


def test_rejection_sampling_has_its_reward_model_until_its_pairs_are_scored(config: Any, tmp_path: Path) -> None:
    asked = config("rso", rated(tmp_path, candidates=8), peft=FULL, data=FILE)
    first, *later = found(asked).phases
    assert (first.name, first.of("reward model"), first.of("copy")) == ("the reference", 0, 0)
    by_name = {phase.name: phase.of("reward model") for phase in later}
    assert by_name == {
        "sampling": RATER, "rating": RATER, "the reference": RATER, "the backward pass": 0,
        "the optimiser's step": 0, "scoring": 0,
    }  # fmt: skip
    # The start goes with the training, before the policy is measured.
    *trains, last = later
    assert {phase.of("copy") for phase in trains} == {PARAMETERS * FP32}
    assert (last.name, last.of("copy")) == ("scoring", 0)


def test_rounds_keep_their_reward_model_and_the_optimiser_of_the_round_before(config: Any, tmp_path: Path) -> None:
    adam = 2 * PARAMETERS * FP32
    told = phases(found(config("online_dpo", rated(tmp_path, rounds=2), peft=FULL, data=FILE)))
    assert told["the optimiser's step"].of("reward model") == RATER
    assert told["the optimiser's step"].of("optimizer") == 2 * adam
    assert told["sampling"].of("optimizer") == adam
    alone = phases(found(config("online_dpo", rated(tmp_path, rounds=1), peft=FULL, data=FILE)))
    assert alone["the optimiser's step"].of("optimizer") == adam
    assert alone["sampling"].of("optimizer") == 0


def test_an_evaluation_on_the_way_lies_beside_all_that_training_keeps(config: Any, tmp_path: Path) -> None:
    settings = rated(tmp_path, rounds=2)
    at_the_end, on_the_way = (
        phases(found(config("rloo", settings, peft=FULL, data=FILE, evaluation__every=every)))["scoring"]
        for every in (0, 5)
    )
    assert (at_the_end.of("reward model"), on_the_way.of("reward model")) == (0, RATER)
    assert on_the_way.of("optimizer") == 2 * at_the_end.of("optimizer") > 0


def test_stages_of_stepwise_dpo_have_two_optimisers_at_a_time(config: Any) -> None:
    told = phases(found(config("sdpo", peft=FULL)))
    assert told["the optimiser's step"].of("optimizer") == 4 * PARAMETERS * FP32


def test_sampling_keeps_keys_and_values_of_all_tokens(config: Any, tmp_path: Path) -> None:
    """16 answers that with their prompts are 4 + 32 tokens: 8 keys and 8 values in fp32 for each of two layers."""
    asked = config("rso", rated(tmp_path, candidates=8), data=FILE)
    assert phases(found(asked, longest=4))["sampling"].of("cache") == 16 * 36 * 2 * (8 + 8) * FP32


def test_answers_of_the_policy_are_trained_on_at_their_full_length(config: Any, tmp_path: Path) -> None:
    """8 sequences of 72 tokens instead of 40, of which checkpointing keeps 8 units for two layers and the norm."""
    asked = config("rso", rated(tmp_path, candidates=8), data=FILE, training__gradient_checkpointing=True)
    assert phases(found(asked, longest=40))["the forward pass"].of("activations") == 8 * 72 * 8 * (2 + 2) * FP32


def test_backtranslation_loads_its_reward_model_for_rating_alone(config: Any, tmp_path: Path) -> None:
    asked = config("backtranslation", rated(tmp_path, score="reward_model"), peft=FULL, data=FILE)
    assert [phase.name for phase in found(asked).phases if phase.of("reward model")] == ["rating"]


def test_a_judge_or_a_known_reward_takes_no_room(config: Any) -> None:
    judged = config("online_dpo", {"judge": {**method("online_dpo")["judge"], "base_url": "http://x", "model": "m"}})
    gold = config("rloo", {"reward_model": "builtin:gold"})
    assert [found(one).most("reward model") for one in (judged, gold)] == [0, 0]


def test_the_evaluations_reward_model_comes_beside_the_methods(config: Any, tmp_path: Path) -> None:
    """It rates where that one is still there."""
    sized = {"evaluation__samples": 8, "evaluation__samples_every": 2}
    own = rated(tmp_path)
    both = config("rloo", own, data=FILE, evaluation__reward_model=own["reward_model"], **sized)
    one = config("rloo", own, data=FILE, **sized)
    assert found(both).most("reward model") == 2 * found(one).most("reward model") > 0


def examined(asked: RunConfig) -> list[Phase]:
    return [phase for phase in found(asked).phases if phase.name == "examining"]


def test_answers_of_an_evaluation_are_sampled_in_its_batches(config: Any) -> None:
    asked = {"evaluation__samples": 64, "evaluation__max_new_tokens": 16}
    one, all_at_once, more = (
        max(phase.of("cache") for phase in examined(config(**asked, evaluation__sampling_batch=size)))
        for size in (1, 64, 128)
    )
    assert all_at_once == more == 64 * one > 0


def test_an_evaluation_without_samples_has_nothing_to_examine(config: Any) -> None:
    assert examined(config(evaluation__samples=0)) == []


def test_the_start_is_loaded_to_be_examined_beside_a_policy_whose_weights_are_all_trained(config: Any) -> None:
    under, whole = (examined(config(evaluation__samples=8, **changes)) for changes in ({}, {"peft": FULL}))
    assert [phase.of("reference") for phase in under] == [0, 0]
    assert [phase.of("reference") for phase in whole] == [0, 4 * PARAMETERS, 4 * PARAMETERS]


def test_a_model_of_unknown_size_has_no_estimate(config: Any) -> None:
    assert estimate(config(model__path="nobody/such-model"), CPU) is None
    assert estimate_step(config(model__path="nobody/such-model"), CPU) is None


def test_parameters_are_counted_once() -> None:
    assert PARAMETERS == 2 * 448 + 2 * 104 + NORMS == 1144
