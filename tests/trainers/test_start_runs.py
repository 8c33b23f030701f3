"""Whole runs that begin where another one ended: what they start as, are held to, leave behind, and go on from."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.fakes.tiny_runs import Recorder, method, run_config, run_spec
from tests.trainers.test_distributed import Ranks
from trainers import data, reference_step, world
from trainers.config_check import check
from trainers.evaluation.pairs import metrics
from trainers.evaluation.scorer import score
from trainers.models import load_base, load_tokenizer
from trainers.spec import RunResult, RunSpec
from trainers.train import train

pytestmark = pytest.mark.slow

FULL: dict[str, Any] = {"kind": "none"}
NF4: dict[str, Any] = {"kind": "nf4", "double_quant": True}
BELOW = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
DORA = {**BELOW, "use_dora": True}
# One step of next to nothing.
STILL = {"training__learning_rate": 1e-12, "training__max_steps": 1}
# (how the run that is begun at was trained, how the one that begins there is)
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora on lora": ({}, {}),
    "lora on lora in 4 bits": ({"quantization": NF4}, {"quantization": NF4}),
    "lora on whole weights": ({"peft": FULL}, {}),
    "all weights on lora": ({}, {"peft": FULL}),
    "all weights on dora": ({"peft": DORA}, {"peft": FULL}),
    "all weights on whole weights": ({"peft": FULL}, {"peft": FULL}),
}


def settings(cache_dir: Path, **changes: Any) -> dict[str, Any]:
    return {"model__path": str(world.policy(cache_dir)), "training__learning_rate": 5e-3, **changes}


def spec_of(folder: Path, cache_dir: Path, name: str, **changes: Any) -> RunSpec:
    spec = run_spec(folder, cache_dir, run_config(name, **settings(cache_dir, **changes)))
    spec.write()
    return spec


def carried_out(spec: RunSpec, reporter: Recorder | None = None) -> RunResult:
    reporter = reporter or Recorder()
    result = train(spec, reporter)
    reporter.do_what_is_left()
    assert result.error is None
    return result


def sft(folder: Path, cache_dir: Path, **changes: Any) -> Path:
    """A run that has moved far from where it began."""
    carried_out(spec_of(folder, cache_dir, "sft", **{"training__learning_rate": 2e-2, **changes}))
    return folder


def begun_at(run: Path) -> dict[str, Any]:
    return {"kind": "checkpoint", "path": str(run)}


def held_out(result: RunResult) -> dict[str, Any]:
    return {name: value for name, value in result.metrics.items() if name.startswith("eval/")}


def heldout_scores(folder: Path, cache_dir: Path, **changes: Any) -> Any:
    """Of an adapter, or a model, as anybody would load it: the one on the model that it is said to be of."""
    config = check(run_config(**settings(cache_dir, **changes)))
    tokenizer = load_tokenizer(config, cache_dir)
    pairs = data.tokenise(data.load_pairs(config.data, cache_dir).heldout, tokenizer, config.training.max_length)
    if (folder / "config.json").exists():
        model = AutoModelForCausalLM.from_pretrained(folder)
    else:
        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        model = PeftModel.from_pretrained(load_base(config, base, None, cache_dir), folder)
    return score(model, pairs, 16, tokenizer.pad_token_id)


def left_by(run: Path) -> Path:
    return next(folder for folder in (run / "adapter", run / "model") if folder.exists())


@pytest.mark.parametrize("way", WAYS)
def test_what_a_run_leaves_is_what_it_reported_beside_where_it_began(way: str, tmp_path: Path, cache_dir: Path) -> None:
    below, above = WAYS[way]
    first = sft(tmp_path / "first", cache_dir, **below)
    result = carried_out(spec_of(tmp_path / "second", cache_dir, "dpo", start=begun_at(first), **above))
    bits = {key: value for key, value in above.items() if key == "quantization"}
    ended, began = (heldout_scores(left_by(run), cache_dir, **bits) for run in (tmp_path / "second", first))
    found = metrics(ended, began)
    assert abs(found["eval/chosen_logratio"]) > 0.02
    for name, value in found.items():
        assert result.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize("way", WAYS)
def test_at_its_first_step_a_run_is_its_own_reference(way: str, tmp_path: Path, cache_dir: Path) -> None:
    below, above = WAYS[way]
    first = sft(tmp_path / "first", cache_dir, **below)
    start = {"start": begun_at(first), **above, **STILL}
    result = carried_out(spec_of(tmp_path / "second", cache_dir, "dpo", **start))
    assert result.metrics["train/loss"] == pytest.approx(0.6931, abs=1e-3)
    for name in ("eval/margin_nats", "eval/chosen_logratio"):
        assert result.metrics[name] == pytest.approx(0, abs=1e-3)
    start["reference"] = {"kind": "model", "path": str(world.policy(cache_dir))}
    beside_model = carried_out(spec_of(tmp_path / "third", cache_dir, "sft", **start))
    assert abs(beside_model.metrics["eval/chosen_logratio"] or 0.0) > 0.02


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("dpo", "lora on lora"),
        ("dpo", "lora on lora in 4 bits"),
        ("dpo", "lora on whole weights"),
        ("dpo", "all weights on lora"),
        ("orpo", "lora on lora"),
        ("sdpo", "lora on lora"),
        ("trdpo", "lora on lora"),
    ],
)
def test_a_run_that_goes_on_ends_as_if_it_had_never_stopped(
    name: str, way: str, tmp_path: Path, cache_dir: Path
) -> None:
    below, above = WAYS[way]
    start = {"start": begun_at(sft(tmp_path / "first", cache_dir, **below)), **above}
    whole = carried_out(spec_of(tmp_path / "whole", cache_dir, name, **start))
    stopped = carried_out(spec_of(tmp_path / "parts", cache_dir, name, **start), Recorder(stop_at=5))
    assert (stopped.status, stopped.steps) == ("cancelled", 5)
    parts = carried_out(spec_of(tmp_path / "parts", cache_dir, name, **start))
    assert (parts.status, parts.steps) == ("completed", whole.steps)
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-5)


class Killed(Recorder):
    """Ends the process's run as a signal would, at a step."""

    def report(self, step: int, values: Any) -> bool:
        if step == 5:
            raise KeyboardInterrupt
        return super().report(step, values)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path, cache_dir: Path) -> None:
    start = {"start": begun_at(sft(tmp_path / "first", cache_dir)), "training__save_steps": 2}
    whole = carried_out(spec_of(tmp_path / "whole", cache_dir, "dpo", **start))
    spec = spec_of(tmp_path / "parts", cache_dir, "dpo", **start)
    with pytest.raises(KeyboardInterrupt):
        train(spec, Killed())
    reporter = Recorder()
    parts = carried_out(spec, reporter)
    assert min(step for step, _ in reporter.reports) == 5
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-5)


def test_a_checkpoint_of_such_a_run_serves_others_as_it_is(tmp_path: Path, cache_dir: Path) -> None:
    first = sft(tmp_path / "first", cache_dir)
    spec = spec_of(tmp_path / "second", cache_dir, "dpo", start=begun_at(first))
    train(spec, Recorder(stop_at=6))
    checkpoint = spec.folder.checkpoints / "checkpoint-6"
    expected = metrics(*(heldout_scores(at, cache_dir) for at in (checkpoint, first / "adapter")))
    start = {"start": begun_at(checkpoint), **STILL}
    itself = carried_out(spec_of(tmp_path / "itself", cache_dir, "dpo", reference=begun_at(checkpoint), **start))
    beside = carried_out(spec_of(tmp_path / "beside", cache_dir, "dpo", reference=begun_at(first), **start))
    assert abs(expected["eval/chosen_logratio"]) > 0.02
    assert itself.metrics["eval/chosen_logratio"] == pytest.approx(0, abs=1e-4)
    assert beside.metrics["eval/chosen_logratio"] == pytest.approx(expected["eval/chosen_logratio"], abs=1e-4)


def test_a_run_begins_at_the_one_of_its_study_that_it_needs_and_is_held_to_another(
    tmp_path: Path, cache_dir: Path
) -> None:
    names = {role: f"t000{number}-s0-{number}0000000" for number, role in enumerate(("start", "reference", "copy"))}
    sft(tmp_path / names["start"], cache_dir)
    carried_out(spec_of(tmp_path / names["reference"], cache_dir, "ipo"))
    RunResult(names["copy"], "completed", same_as=names["start"]).write(
        spec_of(tmp_path / names["copy"], cache_dir, "sft").folder
    )
    both = {
        "start": {"kind": "run", "run": {"method": "sft"}, "of": "20000000abc"},
        "reference": {"kind": "run", "run": {"method": "ipo"}, "of": "10000000abc"},
    }
    spec = spec_of(tmp_path / "dpo", cache_dir, "dpo", **both, **STILL)
    result = carried_out(replace(spec, needs=(names["reference"], names["copy"])))
    began, reference = (heldout_scores(left_by(tmp_path / names[role]), cache_dir) for role in ("start", "reference"))
    expected = metrics(began, reference)
    for name in ("eval/margin_nats", "eval/chosen_logratio", "eval/policy_accuracy"):
        assert result.metrics[name] == pytest.approx(expected[name], abs=1e-3)


@pytest.mark.parametrize("way", ["lora on lora", "lora on whole weights", "all weights on lora"])
def test_a_chain_of_three_ends_as_it_reported(way: str, tmp_path: Path, cache_dir: Path) -> None:
    below, above = WAYS[way]
    first = sft(tmp_path / "first", cache_dir, **below)
    carried_out(spec_of(tmp_path / "second", cache_dir, "dpo", start=begun_at(first), **above))
    third = {"start": begun_at(tmp_path / "second"), "reference": begun_at(first)}
    result = carried_out(spec_of(tmp_path / "third", cache_dir, "ipo", **third))
    ended, reference = (heldout_scores(left_by(run), cache_dir) for run in (tmp_path / "third", first))
    for name, value in metrics(ended, reference).items():
        assert result.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


def test_a_run_whose_start_left_no_weights_says_so(tmp_path: Path, cache_dir: Path) -> None:
    spec = spec_of(tmp_path / "dpo", cache_dir, "dpo", start={"kind": "run", "run": {"method": "sft"}, "of": "1"})
    result = train(spec, Recorder())
    assert "start=run: no run of the study was found for it" in str(result.error)
    (tmp_path / "t0000-s0-1").mkdir()
    result = train(replace(spec, needs=("t0000-s0-1",)), Recorder())
    assert "start.path" in str(result.error)
    assert "has the run completed" in str(result.error)


def empty(folder: Path, cache_dir: Path) -> Path:
    """A cache with the built-in world alone."""
    cache = folder / "cache"
    if not cache.exists():
        cache.mkdir()
        (cache / "world").symlink_to(cache_dir / "world")
    return cache


def computed(spec: RunSpec) -> int:
    """Answers of its reference that nobody had scored yet."""
    return sum(tally.computed for tally in reference_step.prepare([spec], lambda _: None))


@pytest.mark.parametrize("way", ["lora on lora", "lora on lora in 4 bits", "lora on whole weights"])
def test_the_start_is_looked_up_by_all_that_are_held_to_it(way: str, tmp_path: Path, cache_dir: Path) -> None:
    """By a run that begins there, ahead of it by the command, and by one that is held to it alone."""
    below, above = WAYS[way]
    first = sft(tmp_path / "first", cache_dir, **below)
    specs = [
        spec_of(tmp_path / "dpo", cache_dir, "dpo", start=begun_at(first), **above),
        spec_of(tmp_path / "held", cache_dir, "ipo", reference=begun_at(first), **above),
        spec_of(tmp_path / "bare", cache_dir, "dpo", **above),
    ]
    begins, held, bare = (replace(spec, cache_dir=empty(tmp_path, cache_dir)) for spec in specs)
    carried_out(begins)
    # The bare model is another one; what the run has scored is what the command and the other run would.
    assert [computed(begins), computed(held), computed(bare)] == [0, 0, 96]


def test_a_merged_start_is_not_taken_for_one_that_is_not(tmp_path: Path, cache_dir: Path) -> None:
    first = sft(tmp_path / "first", cache_dir)
    specs = [
        spec_of(tmp_path / f"{n}", cache_dir, "dpo", start=begun_at(first), peft=peft)
        for n, peft in enumerate((FULL, BELOW, FULL))
    ]
    runs = [replace(spec, cache_dir=empty(tmp_path, cache_dir)) for spec in specs]
    assert [computed(spec) for spec in runs] == [96, 96, 0]


def test_samples_are_compared_with_where_the_run_began(tmp_path: Path, cache_dir: Path) -> None:
    first = sft(tmp_path / "first", cache_dir)
    toy = {"evaluation__samples": 8, **STILL}
    result = carried_out(spec_of(tmp_path / "dpo", cache_dir, "dpo", start=begun_at(first), **toy))
    assert result.metrics["eval/kl"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("way", ["lora on lora", "all weights on lora"])
def test_methods_that_sample_are_held_to_where_they_began(way: str, tmp_path: Path, cache_dir: Path) -> None:
    below, above = WAYS[way]
    own = {"rounds": 2, "prompts_per_round": 4, "answers": 2, "max_new_tokens": 40, "reward_model": "builtin:gold"}
    start = {"start": begun_at(sft(tmp_path / "first", cache_dir, **below)), "method": method("rloo", **own), **above}
    result = carried_out(spec_of(tmp_path / "rloo", cache_dir, "rloo", **start, **STILL))
    assert result.metrics["train/kl"] == pytest.approx(0, abs=1e-4)


def test_two_ranks_compute_what_one_does(tmp_path: Path, cache_dir: Path, repository: Path) -> None:
    start = {"start": begun_at(sft(tmp_path / "first", cache_dir)), "training__save_steps": 2}
    spec_of(tmp_path / "ranks", cache_dir, "dpo", **start)
    result = Ranks(tmp_path / "ranks", repository).carry_out()
    alone = carried_out(spec_of(tmp_path / "alone", cache_dir, "dpo", **start))
    assert (result.status, result.error) == ("completed", None)
    assert held_out(result) == pytest.approx(held_out(alone), abs=1e-4)


def test_only_the_adapter_in_training_is_trained(tmp_path: Path, cache_dir: Path) -> None:
    """Of what is kept for the model alone, the first ranks are those of the start."""
    first = sft(tmp_path / "first", cache_dir)
    carried_out(spec_of(tmp_path / "dpo", cache_dir, "dpo", start=begun_at(first)))
    start, both = (adapter_tensors(run) for run in (first, tmp_path / "dpo"))
    for name, tensor in start.items():
        if "lora_A" in name:
            assert torch.equal(both[name][:4], 2.0 * tensor)


def adapter_tensors(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(run / "adapter" / "adapter_model.safetensors"))
