"""Whole runs of `train` on the built-in world: what comes out, how they stop, go on and fail."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.fakes.tiny_runs import Recorder, bandit, pair, run_config, run_spec, training_of
from trainers import world
from trainers.spec import RunResult
from trainers.train import train
from trainers.trl_engine import build

pytestmark = pytest.mark.slow

EVAL = {
    "eval/policy_accuracy",
    "eval/policy_accuracy_norm",
    "eval/reward_accuracy",
    "eval/margin_nats",
    "eval/chosen_logratio",
    "eval/rejected_logratio",
    "eval/pairs",
}


def run(
    folder: Path, cache_dir: Path, reporter: Recorder | None = None, method: str = "dpo", **changes: Any
) -> RunResult:
    reporter = reporter or Recorder()
    result = train(run_spec(folder, cache_dir, run_config(method, **changes)), reporter)
    reporter.do_what_is_left()
    return result


def held_out(result: RunResult) -> dict[str, float | None]:
    return {name: value for name, value in result.metrics.items() if name.startswith("eval/")}


def test_a_run_says_what_max_length_cut(tmp_path: Path, cache_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, cache_dir, training__max_length=24, training__max_steps=1)
    assert "of 48 pairs are longer than training.max_length" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["dpo", "ipo", "orpo", "sft"])
def test_a_run_of_each_method_ends_with_the_same_measures_and_an_adapter(
    tmp_path: Path, cache_dir: Path, method: str
) -> None:
    result = run(tmp_path, cache_dir, method=method)
    assert (result.status, result.error, result.steps) == ("completed", None, 8)
    assert set(result.metrics) >= EVAL | {"train/loss", "train/runtime_s"}
    assert all(value is not None and math.isfinite(value) for value in result.metrics.values())
    assert result.metrics["eval/pairs"] == 16
    assert set(result.versions) == {"python", "torch", "transformers", "trl", "peft"}
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    json.dumps(dict(result.metrics), allow_nan=False)


def test_dpo_learns_what_it_trains_on(tmp_path: Path, cache_dir: Path) -> None:
    result = run(tmp_path, cache_dir, training__epochs=6, training__learning_rate=5e-3)
    assert result.metrics["train/rewards/accuracies"] == 1.0


def test_full_fine_tuning_saves_a_model_with_its_tokenizer(tmp_path: Path, cache_dir: Path) -> None:
    result = run(tmp_path, cache_dir, peft={"kind": "none"})
    assert result.status == "completed"
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {
        path.name for path in (tmp_path / "model").iterdir()
    }


def test_full_fine_tuning_starts_at_its_own_reference(tmp_path: Path, cache_dir: Path) -> None:
    """With a learning rate of next to nothing, every margin to the reference stays zero."""
    result = run(tmp_path, cache_dir, peft={"kind": "none"}, training__learning_rate=1e-12)
    assert result.metrics["eval/margin_nats"] == pytest.approx(0, abs=1e-4)
    assert result.metrics["train/rewards/margins"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_weights_in_4_bits_train_an_adapter(tmp_path: Path, cache_dir: Path, method: str) -> None:
    result = run(
        tmp_path,
        cache_dir,
        method=method,
        model__path=str(world.policy(cache_dir)),
        quantization={"kind": "nf4", "double_quant": True},
        evaluation__every=2,
    )
    assert (result.status, result.error) == ("completed", None)
    assert "bitsandbytes" in result.versions
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as tensors:
        kept = [tensors.get_tensor(name) for name in tensors.keys()]  # noqa: SIM118
    assert {str(tensor.dtype) for tensor in kept} == {"torch.float32"}
    assert any(bool(tensor.any()) for tensor in kept)


def test_only_what_was_measured_is_left_where_nothing_is_to_be_kept(tmp_path: Path, cache_dir: Path) -> None:
    run(tmp_path, cache_dir, training__save_final=False, training__save_steps=2)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation"]


def test_the_seed_decides_the_numbers(tmp_path: Path, cache_dir: Path) -> None:
    first, again, other = (run(tmp_path / str(i), cache_dir, seed=seed) for i, seed in enumerate([1, 1, 2]))
    assert held_out(first) == held_out(again)
    assert held_out(first) != held_out(other)


def test_evaluating_on_the_way_leaves_the_training_as_it_is(tmp_path: Path, cache_dir: Path) -> None:
    dropout = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}
    reporter = Recorder()
    often = run(tmp_path / "often", cache_dir, reporter, evaluation__every=2, peft=dropout)
    never = run(tmp_path / "never", cache_dir, peft=dropout)
    assert held_out(often) == held_out(never)
    assert [step for step, _ in reporter.of("eval/margin_nats")] == [2, 4, 6, 8, 8]


def test_every_step_and_every_phase_is_reported(tmp_path: Path, cache_dir: Path) -> None:
    reporter = Recorder()
    run(tmp_path, cache_dir, reporter)
    assert [phase for phase, _ in reporter.phases] == ["loading", "scoring", "training", "evaluating"]
    assert ("training", 8) in reporter.phases
    assert {step for step, _ in reporter.reports} == set(range(1, 9))
    assert [step for step, _ in reporter.of("train/loss")] == [2, 4, 6, 8]


def test_a_run_that_is_asked_to_stop_saves_a_checkpoint_and_is_cancelled(tmp_path: Path, cache_dir: Path) -> None:
    result = run(tmp_path, cache_dir, Recorder(stop_at=3))
    assert (result.status, result.steps, result.error) == ("cancelled", 3, None)
    assert not held_out(result)
    assert (tmp_path / "checkpoints" / "checkpoint-3" / "WHOLE").exists()


def test_a_run_that_is_asked_to_stop_to_be_pruned_is_pruned(tmp_path: Path, cache_dir: Path) -> None:
    (tmp_path / "prune").touch()
    result = run(tmp_path, cache_dir, Recorder(stop_at=3))
    assert (result.status, result.steps, result.error) == ("pruned", 3, None)


class Killed(Recorder):
    """Ends the process's run as a signal would, in the middle of a step."""

    def report(self, step: int, metrics: Any) -> bool:
        if step == 5:
            raise KeyboardInterrupt
        return super().report(step, metrics)


@pytest.mark.parametrize("method", ["dpo", "orpo"])
@pytest.mark.parametrize("peft", ["lora", "full"])
def test_a_run_that_goes_on_ends_as_if_it_had_never_stopped(
    tmp_path: Path, cache_dir: Path, method: str, peft: str
) -> None:
    changes: dict[str, Any] = {"training__save_steps": 3, "training__epochs": 2, "evaluation__every": 3}
    if peft == "full":
        changes["peft"] = {"kind": "none"}
    whole = run(tmp_path / "whole", cache_dir, method=method, **changes)

    stopped = run(tmp_path / "parts", cache_dir, Recorder(stop_at=10), method, **changes)
    assert stopped.status == "cancelled"
    reporter = Recorder()
    parts = run(tmp_path / "parts", cache_dir, reporter, method, **changes)

    assert reporter.reports[0][0] == 11
    assert parts.status == whole.status == "completed"
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-6)
    assert not (tmp_path / "parts" / "checkpoints").exists()


def test_a_killed_run_goes_on_from_its_newest_whole_checkpoint(tmp_path: Path, cache_dir: Path) -> None:
    whole = run(tmp_path / "whole", cache_dir, training__save_steps=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", cache_dir, Killed(), training__save_steps=2)
    checkpoints = tmp_path / "parts" / "checkpoints"
    half = checkpoints / "checkpoint-5"
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"half")

    reporter = Recorder()
    parts = run(tmp_path / "parts", cache_dir, reporter, training__save_steps=2)

    assert reporter.reports[0][0] == 5
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-6)


def test_a_run_stopped_at_its_last_step_has_only_to_be_evaluated(tmp_path: Path, cache_dir: Path) -> None:
    whole = run(tmp_path / "whole", cache_dir)
    assert run(tmp_path / "parts", cache_dir, Recorder(stop_at=8)).status == "cancelled"
    parts = run(tmp_path / "parts", cache_dir)
    assert (parts.status, parts.steps) == ("completed", 8)
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "steps"), [({"max_steps": 5}, 5), ({"max_steps": 11}, 11), ({"epochs": 0.5}, 4), ({"epochs": 1.5}, 12)]
)
@pytest.mark.parametrize("peft", ["lora", "none"])
def test_a_run_stopped_at_its_last_step_within_an_epoch_takes_no_more(
    tmp_path: Path, cache_dir: Path, changes: dict[str, float], steps: int, peft: str
) -> None:
    config: dict[str, Any] = {f"training__{key}": value for key, value in changes.items()}
    if peft == "none":
        config["peft"] = {"kind": "none"}
    whole = run(tmp_path / "whole", cache_dir, **config)
    stopped = run(tmp_path / "parts", cache_dir, Recorder(stop_at=steps), **config)
    assert (stopped.status, stopped.steps) == ("cancelled", steps)
    reporter = Recorder()
    parts = run(tmp_path / "parts", cache_dir, reporter, **config)
    assert {step for step, _ in reporter.reports} == {steps}
    assert (parts.status, parts.steps) == ("completed", whole.steps) == ("completed", steps)
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-6)
    assert parts.metrics["train/loss"] == pytest.approx(whole.metrics["train/loss"], abs=1e-6)


@pytest.mark.parametrize(("phase", "answers"), [("loading", 0), ("loading", 1), ("scoring", 0), ("scoring", 2)])
def test_a_stop_asked_before_training_ends_the_run(tmp_path: Path, cache_dir: Path, phase: str, answers: int) -> None:
    """Nothing is trained by then, and nothing lost."""
    reporter = Recorder(stop_in=phase, after_asking=answers)
    # With an attention that no other run has, so that nothing is known of its reference yet.
    result = run(tmp_path, cache_dir, reporter, evaluation__batch_size=4, model__attention="eager")
    assert (result.status, result.error, result.steps) == ("cancelled", None, 0)
    assert reporter.phases[-1][0] == phase
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("answers", [0, 2])
@pytest.mark.parametrize("save_steps", [0, 3])
def test_a_stop_asked_in_the_last_evaluation_keeps_all_steps(
    tmp_path: Path, cache_dir: Path, answers: int, save_steps: int
) -> None:
    changes = {"evaluation__batch_size": 4, "training__save_steps": save_steps}
    whole = run(tmp_path / "whole", cache_dir, **changes)
    reporter = Recorder(stop_in="evaluating", after_asking=answers)
    stopped = run(tmp_path / "parts", cache_dir, reporter, **changes)
    assert (stopped.status, stopped.error, stopped.steps) == ("cancelled", None, 8)
    assert not held_out(stopped)
    assert (tmp_path / "parts" / "checkpoints" / "checkpoint-8" / "WHOLE").exists()
    parts = run(tmp_path / "parts", cache_dir, **changes)
    assert (parts.status, parts.steps) == ("completed", 8)
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-6)
    assert parts.metrics["train/loss"] == pytest.approx(whole.metrics["train/loss"], abs=1e-6)


def test_a_stop_asked_in_an_evaluation_on_the_way_keeps_its_step(tmp_path: Path, cache_dir: Path) -> None:
    changes = {"evaluation__batch_size": 4, "evaluation__every": 3}
    whole = run(tmp_path / "whole", cache_dir, **changes)
    # Asked once as training begins, then before each of an evaluation's four passes.
    stopped = run(tmp_path / "parts", cache_dir, Recorder(stop_in="training", after_asking=7), **changes)
    assert (stopped.status, stopped.error, stopped.steps) == ("cancelled", None, 6)
    reporter = Recorder()
    parts = run(tmp_path / "parts", cache_dir, reporter, **changes)
    assert reporter.reports[0][0] == 7
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-6)


def test_checkpoints_stay_until_the_result_is_on_disk(tmp_path: Path, cache_dir: Path) -> None:
    """A run killed before that goes on from the last of them."""
    reporter = Recorder()
    result = train(run_spec(tmp_path, cache_dir, run_config(training__save_steps=2)), reporter)
    assert result.status == "completed"
    assert (tmp_path / "checkpoints" / "checkpoint-6" / "WHOLE").exists()
    reporter.do_what_is_left()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("peft", ["lora", "none"])
def test_a_run_has_nothing_to_say_in_its_log(
    tmp_path: Path, cache_dir: Path, capfd: pytest.CaptureFixture[str], peft: str
) -> None:
    """Neither progress bars nor warnings that nobody here can act on."""
    world.policy(cache_dir)
    changes: dict[str, Any] = {} if peft == "lora" else {"peft": {"kind": "none"}}
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run(tmp_path, cache_dir, training__gradient_checkpointing=True, **changes)
    assert [str(warning.message) for warning in told] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("asked", [True, False])
def test_gradient_checkpointing_is_as_asked(tmp_path: Path, asked: bool) -> None:
    """Whatever transformers calls it."""
    training = training_of(
        bandit([0.0, 0.0]), [pair([0], [1])], tmp_path, {"name": "ipo", "tau": 0.1}, gradient_checkpointing=asked
    )
    trainer, _ = build(training)
    assert (trainer.args.gradient_checkpointing, trainer.args.activation_checkpointing) == (asked, asked)


def test_no_more_checkpoints_are_kept_than_asked_for(tmp_path: Path, cache_dir: Path) -> None:
    run(tmp_path, cache_dir, Recorder(stop_at=7), training__save_steps=1, training__keep_checkpoints=2)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["checkpoint-6", "checkpoint-7"]
    assert not list(tmp_path.rglob("README.md"))


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, cache_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    for step in (2, 4):
        (tmp_path / "checkpoints" / f"checkpoint-{step}").write_text("in the way")
    result = run(tmp_path, cache_dir, training__save_steps=2)
    assert result.status == "completed"
    assert capfd.readouterr().err.count("checkpoint not saved, the run goes on") == 1


def test_a_loss_that_is_no_number_fails_the_run_at_that_step(tmp_path: Path, cache_dir: Path) -> None:
    result = run(
        tmp_path, cache_dir, peft={"kind": "none"}, training__learning_rate=1e30, training__lr_scheduler="constant"
    )
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.startswith("NonFiniteLoss: the loss became nan at step 2")
    assert result.steps == 1


def test_faults_of_the_config_are_one_sentence(tmp_path: Path, cache_dir: Path) -> None:
    result = run(tmp_path, cache_dir, training__learning_rate=-1.0, method__beta=0.0)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.startswith("InvalidInput: ")
    assert "training.learning_rate" in result.error
    assert "method.beta" in result.error
    assert "\n" not in result.error


def test_a_model_that_is_not_there_fails_the_run_and_leaves_the_trace_in_the_log(
    tmp_path: Path, cache_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path, cache_dir, model__path=str(tmp_path / "nowhere"))
    assert result.status == "failed"
    assert result.error
    assert "Traceback" in capfd.readouterr().err
