"""Policies of finished runs, measured once more: the same numbers as those that the run itself left."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from trainers import checkpoints, world
from trainers.spec import FINAL, EvaluationFolder, RunResult, RunSpec
from trainers.train import train

pytestmark = pytest.mark.slow

FULL: dict[str, Any] = {"kind": "none"}
NF4: dict[str, Any] = {"kind": "nf4", "double_quant": True}
BELOW: dict[str, Any] = {"kind": "lora", "r": 4, "alpha": 16, "dropout": 0.1, "target_modules": "all-linear"}
EVALUATION = {"every": 0, "samples_every": 4, "batch_size": 8, "samples": 8, "sampling_batch": 8, "max_new_tokens": 24}
# Settings, and with what they begin.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("dpo", {}),
    "dora": ("dpo", {"peft": {**BELOW, "use_dora": True}}),
    "all weights": ("dpo", {"peft": FULL}),
    "4 bits": ("dpo", {"quantization": NF4}),
    "reference=none": ("orpo", {"reference": {"kind": "none"}}),
    "reference=moving, all weights": ("trdpo", {"peft": FULL}),
    "reference=model": ("ipo", {"reference": {"kind": "model", "path": "builtin:tiny", "revision": None}}),
    "on unpaired answers": ("kto", {}),
    "unconditional scores": ("sppo", {}),
    "a reward model": ("reward", {}),
    "in stages": ("sdpo", {}),
}


def settings(cache_dir: Path, **changes: Any) -> dict[str, Any]:
    given = {"model__path": str(world.policy(cache_dir)), "training__learning_rate": 5e-3, "training__max_steps": 6}
    return {**given, "evaluation": EVALUATION, **changes}


def trained(
    folder: Path,
    cache_dir: Path,
    name: str = "dpo",
    needs: tuple[str, ...] = (),
    reporter: Recorder | None = None,
    **changes: Any,
) -> RunSpec:
    config = run_config(name, **settings(cache_dir, **changes))
    spec = replace(run_spec(folder, cache_dir, config), needs=needs)
    spec.write()
    reporter = reporter or Recorder()
    result = train(spec, reporter)
    reporter.do_what_is_left()
    assert result.error is None
    result.write(spec.folder)
    return spec


def evaluated(spec: RunSpec, policy: str = FINAL, reporter: Recorder | None = None, **changes: Any) -> RunResult:
    config = {**spec.config, "evaluation": {**spec.config["evaluation"], **changes}}
    step = replace(spec, step="evaluation", needs=(spec.run_dir.name,), policy=policy, config=config)
    step = step.at(spec.run_dir.parent / "evaluation-1a2b3c4d")
    return train(step, reporter or Recorder())


def left(folder: EvaluationFolder) -> dict[str, Any]:
    """Everything but versions, which name what was imported."""
    said = json.loads(folder.metrics.read_text())
    parts = {"metrics": said["metrics"], "degenerate": said["degenerate"], "settings": said["settings"]}
    if folder.answers.exists():
        parts["answers"] = [json.loads(line) for line in folder.answers.read_text().splitlines()]
    if folder.pairs.exists():
        parts["pairs"] = pq.read_table(folder.pairs).to_pylist()
    return parts


@pytest.mark.parametrize("way", list(RUNS))
def test_a_policy_measured_later_has_the_numbers_that_its_run_left(way: str, tmp_path: Path, cache_dir: Path) -> None:
    name, changes = RUNS[way]
    spec = trained(tmp_path / "run", cache_dir, name, **changes)
    before = left(spec.folder.evaluation)
    spec.folder.evaluation.metrics.unlink()
    result = evaluated(spec)
    assert (result.status, result.error) == ("completed", None)
    assert left(spec.folder.evaluation) == before


@pytest.mark.parametrize("group", ["start", "reference"])
@pytest.mark.parametrize("below", [{}, {"peft": FULL}], ids=["on an adapter", "on all weights"])
@pytest.mark.parametrize("above", [{"peft": BELOW}, {"peft": FULL}], ids=["adapter", "all weights"])
def test_one_that_needed_another_run_has_its_numbers_too(
    group: str, below: dict[str, Any], above: dict[str, Any], tmp_path: Path, cache_dir: Path
) -> None:
    first = trained(tmp_path / "t0000-s0-1a2b3c4d", cache_dir, "sft", **below)
    named: dict[str, Any] = {"kind": "run", "run": {"method": "sft"}, "of": first.fingerprint}
    folder, kept = tmp_path / "t0001-s0-5e6f7a8b", {"training__save_steps": 4, "training__save_checkpoints": True}
    reporter = Recorder()
    spec = trained(folder, cache_dir, needs=(first.run_dir.name,), reporter=reporter, **{group: named}, **above, **kept)
    before = left(spec.folder.evaluation)
    assert evaluated(spec).error is None
    assert left(spec.folder.evaluation) == before
    assert evaluated(spec, "checkpoint-4").error is None
    assert_measured_at(4, spec, reporter)


def test_without_what_is_kept_between_runs_the_numbers_are_the_same_but_for_rounding(
    tmp_path: Path, cache_dir: Path
) -> None:
    spec = trained(tmp_path / "run", cache_dir, reference={"kind": "self"})
    before = left(spec.folder.evaluation)
    result = evaluated(replace(spec, cache_dir=tmp_path / "empty"))
    assert result.error is None
    after = left(spec.folder.evaluation)
    assert [answer["text"] for answer in after["answers"]] == [answer["text"] for answer in before["answers"]]
    assert all(
        math.isclose(after["metrics"][name], value, rel_tol=1e-4, abs_tol=1e-5)
        for name, value in before["metrics"].items()
        if value is not None
    )


def assert_measured_at(step: int, spec: RunSpec, reporter: Recorder) -> None:
    """That its checkpoint has, as far as that was measured, what was measured then."""
    (then,) = [values for at, values in reporter.reports if at == step and "eval/kl" in values]
    place = spec.folder.evaluation_of(f"checkpoint-{step}")
    now = left(place)["metrics"]
    assert {name: now[name] for name in then if name.startswith("eval/")} == {
        name: value for name, value in then.items() if name.startswith("eval/")
    }
    assert json.loads(place.metrics.read_text())["policy"] == f"checkpoint-{step}"


@pytest.mark.parametrize(
    "changes", [{}, {"peft": FULL}, {"quantization": NF4}], ids=["adapter", "all weights", "4 bits"]
)
def test_a_checkpoint_has_the_numbers_that_were_measured_at_its_step(
    changes: dict[str, Any], tmp_path: Path, cache_dir: Path
) -> None:
    kept = {"training__save_steps": 4, "training__save_checkpoints": True, "evaluation": {**EVALUATION, "every": 4}}
    reporter = Recorder()
    spec = trained(tmp_path / "run", cache_dir, reporter=reporter, **kept, **changes)
    final = left(spec.folder.evaluation)
    assert evaluated(spec, "checkpoint-4").error is None
    assert_measured_at(4, spec, reporter)
    assert left(spec.folder.evaluation) == final


def test_a_run_in_stages_has_checkpoints_of_its_stages(tmp_path: Path, cache_dir: Path) -> None:
    kept = {"training__save_steps": 4, "training__save_checkpoints": True}
    spec = trained(tmp_path / "run", cache_dir, "sdpo", **kept)
    names = [str(path.relative_to(spec.folder.checkpoints)) for path in checkpoints.whole(spec.folder.checkpoints)]
    assert evaluated(spec, names[-1]).error is None
    assert spec.folder.evaluation_of(names[-1]).metrics.exists()


def test_other_settings_are_heeded(tmp_path: Path, cache_dir: Path) -> None:
    spec = trained(tmp_path / "run", cache_dir)
    assert evaluated(spec, samples=4, temperature=0.5).metrics["eval/answers"] == 4
    said = json.loads(spec.folder.evaluation.metrics.read_text())
    assert (said["settings"]["samples"], said["settings"]["temperature"]) == (4, 0.5)


def test_a_stop_leaves_what_was_there(tmp_path: Path, cache_dir: Path) -> None:
    spec = trained(tmp_path / "run", cache_dir)
    before = left(spec.folder.evaluation)
    for patience in (0, 1, 3):
        result = evaluated(spec, reporter=Recorder(stop_in="evaluating", after_asking=patience), samples=4)
        assert result.status == "cancelled"
        assert left(spec.folder.evaluation) == before


def test_without_weights_it_says_so_before_anything_is_loaded(tmp_path: Path, cache_dir: Path) -> None:
    spec = trained(tmp_path / "run", cache_dir, training__save_final=False)
    reporter = Recorder()
    result = evaluated(spec, reporter=reporter)
    assert result.status == "failed"
    assert "there are no weights" in (result.error or "")
    assert [phase for phase, _ in reporter.phases] == ["loading"]


def test_another_policy_s_adapter_is_refused(tmp_path: Path, cache_dir: Path) -> None:
    first = trained(tmp_path / "t0000-s0-1a2b3c4d", cache_dir, "sft")
    start = {"kind": "run", "run": {"method": "sft"}, "of": first.fingerprint}
    spec = trained(tmp_path / "t0001-s0-5e6f7a8b", cache_dir, needs=(first.run_dir.name,), start=start)
    shutil.rmtree(spec.folder.adapter)
    shutil.copytree(first.folder.adapter, spec.folder.adapter)
    assert "holds no adapter of this policy" in (evaluated(spec).error or "")
