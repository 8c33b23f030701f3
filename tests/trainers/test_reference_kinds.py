"""What a reference is made of is known when a study is planned, and what is wrong with it told then, all at once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import Source, composer, run_sections
from trainers import inputs, reference_kinds
from trainers.at_hand import missing
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.errors import InvalidInput, NotAtHand
from trainers.reference_kinds import Part


def config(*overrides: str) -> RunConfig:
    inputs._digest.cache_clear()
    with composer(Source()) as compose:
        return check(run_sections(compose.compose(overrides).sound()))


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"1")
    return folder


def adapter(folder: Path, base: str | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (folder / "adapter_model.safetensors").write_bytes(b"1")
    return folder


def run_of(folder: Path, base: str) -> Path:
    """The folder of a run that trained an adapter on that model."""
    adapter(folder / "adapter", "/where/it/was/then")
    (folder / "spec.json").write_text(json.dumps({"config": {"model": {"path": base, "revision": None}}}))
    return folder


def only(*overrides: str) -> Part:
    (part,) = reference_kinds.parts(config(*overrides))
    return part


def faults(*overrides: str) -> list[str]:
    """Without those of a model that is too large for a machine."""
    return missing(config(*overrides))


@pytest.mark.parametrize("kind", ["self", "none"])
def test_the_policys_start_is_the_policy_itself(kind: str) -> None:
    chosen = config("method=orpo", f"reference={kind}")
    (part,) = reference_kinds.parts(chosen)
    assert (part.path, part.adapter, part.own) == ("builtin:tiny", None, True)
    assert reference_kinds.serves(chosen, part)


def test_the_runs_own_model_by_its_path_is_the_policys_start(tmp_path: Path) -> None:
    own = model(tmp_path / "own")
    chosen = config("model=hf", f"model.path={own}", "reference=model", f"reference.path={own}/")
    assert reference_kinds.serves(chosen, reference_kinds.parts(chosen)[0])


@pytest.mark.parametrize(("quantization", "serves"), [("same", True), ("nf4", True), ("none", False)])
def test_other_bits_than_the_policys_are_another_model(quantization: str, serves: bool) -> None:
    chosen = config("quantization=nf4", f"reference.quantization={quantization}")
    assert reference_kinds.serves(chosen, reference_kinds.parts(chosen)[0]) == serves


def test_an_adapter_without_a_base_of_its_own_is_put_on_the_runs_model(tmp_path: Path) -> None:
    part = only("reference=adapter", f"reference.path={adapter(tmp_path / 'a')}")
    assert (part.path, part.adapter, part.own) == ("builtin:tiny", tmp_path / "a", True)


def test_an_adapter_of_another_model_is_put_on_that(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    chosen = ("reference=adapter", f"reference.path={adapter(tmp_path / 'a', str(base))}")
    assert (only(*chosen).path, only(*chosen).own) == (str(base), False)
    assert faults(*chosen) == []


def test_an_adapter_whose_base_is_not_at_hand_is_told(tmp_path: Path) -> None:
    (fault,) = faults("reference=adapter", f"reference.path={adapter(tmp_path / 'a', '/no/such/base')}")
    assert f"the base model of the adapter {tmp_path / 'a'} is not at hand" in fault
    assert "/no/such/base: there is no such folder" in fault


def test_an_adapter_whose_base_is_not_at_hand_yet_keeps_no_plan_from_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (fault,) = faults("reference=adapter", f"reference.path={adapter(tmp_path / 'a', 'nobody/base')}")
    assert isinstance(fault, NotAtHand)


def test_of_a_run_the_adapter_is_taken_and_the_base_that_its_spec_names(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "builtin:tiny")
    for path in (run, run / "adapter"):
        part = only("reference=checkpoint", f"reference.path={path}")
        assert (part.path, part.adapter, part.own) == ("builtin:tiny", run / "adapter", True)


def test_of_a_run_with_whole_weights_the_model_is_taken(tmp_path: Path) -> None:
    trained = model(tmp_path / "run" / "model")
    assert only("reference=checkpoint", f"reference.path={tmp_path / 'run'}").path == str(trained)


def test_of_a_run_that_has_not_ended_the_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        adapter(tmp_path / "run" / "checkpoints" / f"checkpoint-{step}")
    for step in (5, 10):
        (tmp_path / "run" / "checkpoints" / f"checkpoint-{step}" / "WHOLE").touch()
    found = only("reference=checkpoint", f"reference.path={tmp_path / 'run'}").adapter
    assert found == tmp_path / "run" / "checkpoints" / "checkpoint-10"


def test_of_a_run_in_stages_the_newest_checkpoint_of_the_last_stage_is_taken(tmp_path: Path) -> None:
    """Steps are counted in each stage anew, and a stage that has just begun has none."""
    run = run_of(tmp_path / "run", "builtin:tiny")
    shutil.rmtree(run / "adapter")
    checkpoints = run / "checkpoints"
    for stage, step in ((2, 50), (10, 5), (10, 7)):
        adapter(checkpoints / f"stage-{stage}" / f"checkpoint-{step}", "/where/it/was/then")
    for at in ("stage-2/checkpoint-50", "stage-10/checkpoint-5"):
        (checkpoints / at / "WHOLE").touch()
    (checkpoints / "stage-11").mkdir()
    for path, found in [
        (run, "stage-10/checkpoint-5"),
        (checkpoints, "stage-10/checkpoint-5"),
        (checkpoints / "stage-2", "stage-2/checkpoint-50"),
        (checkpoints / "stage-2" / "checkpoint-50", "stage-2/checkpoint-50"),
    ]:
        part = only("reference=checkpoint", f"reference.path={path}")
        assert (part.adapter, part.path) == (checkpoints / found, "builtin:tiny")


def test_which_checkpoint_it_is_is_settled_when_the_run_is_planned(tmp_path: Path) -> None:
    at = adapter(tmp_path / "run" / "checkpoints" / "checkpoint-5")
    (at / "WHOLE").touch()
    chosen = config("reference=checkpoint", f"reference.path={tmp_path / 'run'}")
    settled = inputs.resolved(chosen)
    assert settled["reference"]["path"] == str(at)
    known = inputs.digests(chosen)
    later = adapter(tmp_path / "run" / "checkpoints" / "checkpoint-10")
    (later / "WHOLE").touch()
    assert inputs.changed(check(settled), known) == []


def test_a_mixture_names_two_of_any_kind(tmp_path: Path) -> None:
    run, other = run_of(tmp_path / "run", "builtin:tiny"), model(tmp_path / "other")
    named = ("reference=mixture", f"reference.first={run}", f"reference.second={other}", "reference.weight=0.25")
    first, second = reference_kinds.parts(config(*named))
    assert (first.weight, first.adapter, first.own) == (0.25, run / "adapter", True)
    assert (second.weight, second.path, second.own) == (0.75, str(other), False)
    hub = reference_kinds.parts(config("reference=mixture", "reference.second=owner/name"))
    assert [(part.path, part.own) for part in hub] == [("builtin:tiny", True), ("owner/name", False)]


@pytest.mark.parametrize("weight", ["0", "1", "1.5"])
def test_a_weight_that_leaves_one_of_the_two_out_is_refused(weight: str) -> None:
    with pytest.raises(InvalidInput, match=r"reference\.weight: input should be"):
        config("reference=mixture", "reference.second=/x", f"reference.weight={weight}")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["adapter", "path=/no/such"], "reference.path=/no/such: there is no such folder; reference=adapter wants"),
        (["adapter", "path=/"], "no adapter_config.json with adapter_model.safetensors there; use reference=model"),
        (["checkpoint", "path=owner/name"], "reference=checkpoint wants the folder of a run"),
        (["checkpoint", "path=/"], "has the run completed, and with training.save_final=true?"),
        (["model", "path=/no/such"], "reference.path=/no/such: there is no such folder, and it is no hub id"),
    ],
)
def test_what_is_not_there_is_told_by_its_key(overrides: list[str], told: str) -> None:
    kind, path = overrides
    (fault,) = faults(f"reference={kind}", f"reference.{path}")
    assert told in fault


def test_both_faults_of_a_mixture_are_told(tmp_path: Path) -> None:
    found = faults("reference=mixture", "reference.first=/no/such", "reference.second=/no/other")
    assert [fault.partition("=")[0] for fault in found] == ["reference.first", "reference.second"]


def test_an_adapter_stored_as_a_pickle_is_refused(tmp_path: Path) -> None:
    (adapter(tmp_path / "a") / "adapter_model.safetensors").rename(tmp_path / "a" / "adapter_model.bin")
    (fault,) = faults("reference=adapter", f"reference.path={tmp_path / 'a'}")
    assert "no adapter_config.json with adapter_model.safetensors there" in fault


def test_the_folder_of_a_run_in_place_of_its_adapters_is_hinted_at(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "builtin:tiny")
    (fault,) = faults("reference=adapter", f"reference.path={run}")
    assert fault.endswith(f"did you mean {run / 'adapter'}?")


def test_weights_stored_in_4_bits_have_no_others(tmp_path: Path) -> None:
    own = model(tmp_path / "own")
    stored = ("model=hf", f"model.path={own}", "model.prequantized=true", "model.parameters_b=0.1")
    (fault,) = faults(*stored, "reference.quantization=none")
    assert fault.startswith("reference.quantization=none: the weights of model=hf are stored in 4 bits")


def identity(*overrides: str) -> dict[str, Any]:
    return inputs.identity(config(*overrides))["reference"]


def test_what_a_kind_does_not_use_is_no_part_of_what_a_run_is() -> None:
    """An experiment's file may set them, whatever kind is chosen over it."""
    unused = ("++reference.path=unused", "++reference.second=unused", "++reference.weight=0.5")
    assert identity() == identity(*unused) == {"kind": "self"}
    assert identity("method=orpo", "reference=none", *unused, "++reference.quantization=nf4") == {"kind": "none"}
    assert identity("reference.quantization=nf4") == {"kind": "self", "quantization": "nf4"}
    hub = identity("reference=model", "reference.path=owner/name", "++reference.weight=0.5")
    assert hub == {"kind": "model", "path": "owner/name", "revision": None}


def test_weights_of_references_count_by_content(tmp_path: Path) -> None:
    base, at = model(tmp_path / "base"), adapter(tmp_path / "a", str(tmp_path / "base"))
    overrides = ("reference=mixture", f"reference.first={at}", f"reference.second={base}")
    seen = [identity(*overrides)]
    (at / "adapter_model.safetensors").write_bytes(b"2")
    seen.append(identity(*overrides))
    (base / "model.safetensors").write_bytes(b"2")
    seen.append(identity(*overrides))
    assert seen[0] != seen[1] != seen[2]
    assert set(seen[0]) == {"kind", "first", "first_base", "second", "weight"}


def test_a_base_model_that_has_changed_is_told(tmp_path: Path) -> None:
    base, at = model(tmp_path / "base"), adapter(tmp_path / "a", str(tmp_path / "base"))
    chosen = config("reference=adapter", f"reference.path={at}")
    known = inputs.digests(chosen)
    assert inputs.resolved(chosen)["reference"]["path"] == str(at)
    (base / "config.json").write_text('{"other": 1}')
    inputs._digest.cache_clear()
    (fault,) = inputs.changed(chosen, known)
    assert fault.startswith(f"reference.path_base={at} has changed since the study was made")
