"""Where a run begins is known when a study is planned, and what cannot be begun at is told then."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from orchestrator.config import Source, composer, run_sections
from trainers import inputs, reference_kinds, start_kinds
from trainers.at_hand import missing
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.errors import InvalidInput
from trainers.footprint import estimate
from trainers.machine import Machine
from trainers.start_kinds import Weights

LAPTOP = Machine(ram_bytes=16 * 10**9)
LLAMA = {
    "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 16,
    "intermediate_size": 16, "architectures": ["LlamaForCausalLM"],
}  # fmt: skip


def config(*overrides: str) -> RunConfig:
    inputs._digest.cache_clear()
    with composer(Source()) as compose:
        return check(run_sections(compose.compose(overrides).sound()))


def model(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    (folder / "model.safetensors").write_bytes(b"1")
    return folder


def adapter(folder: Path, base: str | None = None, tensor: str = "q_proj.lora_A.weight", **said: Any) -> Path:
    folder.mkdir(parents=True)
    known = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, **said}
    (folder / "adapter_config.json").write_text(json.dumps(known))
    save_file({f"base_model.model.{tensor}": torch.zeros(4, 8)}, folder / "adapter_model.safetensors")
    return folder


def run_of(folder: Path, base: str, start: dict[str, Any] | None = None, **spec: Any) -> Path:
    """The folder of a run that trained an adapter on that model."""
    adapter(folder / "adapter", "/where/it/was/then")
    sections = {"model": {"path": base, "revision": None}, **({"start": start} if start else {})}
    (folder / "spec.json").write_text(json.dumps({"config": sections, **spec}))
    return folder


def faults(*overrides: str) -> list[str]:
    return missing(config(*overrides))


def the_fault(*overrides: str) -> str:
    (fault,) = faults(*overrides)
    return fault


def test_a_run_begins_at_its_models_weights() -> None:
    assert start_kinds.weights(config()) == Weights("builtin:tiny", None)


def test_an_adapter_is_begun_at_on_the_runs_model(tmp_path: Path) -> None:
    at = adapter(tmp_path / "a")
    asked = config("start=adapter", f"start.path={at}")
    assert start_kinds.weights(asked) == Weights("builtin:tiny", None, at)
    assert faults("start=adapter", f"start.path={at}") == []


def test_of_a_run_its_adapter_or_model_is_taken(tmp_path: Path) -> None:
    run = run_of(tmp_path / "lora", "builtin:tiny")
    assert start_kinds.weights(config("start=checkpoint", f"start.path={run}")).adapter == run / "adapter"
    base, whole = model(tmp_path / "base"), model(tmp_path / "full" / "model")
    asked = ("model=hf", f"model.path={base}", "start=checkpoint", f"start.path={tmp_path / 'full'}")
    assert start_kinds.weights(config(*asked)) == Weights(str(whole), None)
    assert faults(*asked) == []


def test_the_policys_start_is_the_reference_self(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "builtin:tiny")
    asked = config("start=checkpoint", f"start.path={run}")
    (part,) = reference_kinds.parts(asked)
    assert (part.adapter, part.own, part.merged) == (run / "adapter", True, False)
    assert reference_kinds.serves(asked, part)
    (whole,) = reference_kinds.parts(config("start=checkpoint", f"start.path={run}", "peft=none"))
    assert whole.merged


def test_the_same_run_by_its_path_is_the_policys_start_and_the_bare_model_is_not(tmp_path: Path) -> None:
    base, begins = model(tmp_path / "base"), ("start=checkpoint", f"start.path={tmp_path / 'run'}")
    run_of(tmp_path / "run", str(base))
    own = ("model=hf", f"model.path={base}", *begins)
    same = config(*own, "reference=checkpoint", f"reference.path={tmp_path / 'run' / 'adapter'}")
    bare = config(*own, "reference=model", f"reference.path={base}")
    served = [reference_kinds.serves(asked, reference_kinds.parts(asked)[0]) for asked in (same, bare)]
    assert served == [True, False]


def test_a_run_that_began_elsewhere_has_its_adapter_on_what_was_below(tmp_path: Path) -> None:
    """What was put on an adapter is kept together with it for the model; what was put on whole weights is for these."""
    base, whole = model(tmp_path / "base"), model(tmp_path / "runs" / "full" / "model")
    (whole.parent / "spec.json").write_text("{}")
    first = run_of(tmp_path / "runs" / "first", str(base))
    begun = {
        "adapter": run_of(tmp_path / "runs" / "a", str(base), {"kind": "run", "of": "1"}, needs=["first"]),
        "model": run_of(tmp_path / "runs" / "b", str(base), {"kind": "run", "of": "1"}, needs=["full"]),
        "path": run_of(tmp_path / "runs" / "c", str(base), {"kind": "checkpoint", "path": str(whole)}),
    }
    assert first.is_dir()
    paths = {}
    for kind, run in begun.items():
        asked = config("model=hf", f"model.path={base}", "reference=checkpoint", f"reference.path={run}")
        paths[kind] = reference_kinds.parts(asked)[0].path
    assert paths == {"adapter": str(base), "model": str(whole), "path": str(whole)}


def gone_below(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and a run that put an adapter on other weights, which are gone."""
    base = model(tmp_path / "base")
    run = run_of(tmp_path / "run", str(base), {"kind": "checkpoint", "path": "/gone/model"})
    shutil.rmtree(run / "adapter")
    adapter(run / "adapter", "/gone/model")
    return base, run


def test_whole_weights_below_an_adapter_that_are_gone_are_told(tmp_path: Path) -> None:
    base, run = gone_below(tmp_path)
    own = ("model=hf", f"model.path={base}")
    assert "the weights that it was put on are gone: /gone/model" in the_fault(
        *own, "start=checkpoint", f"start.path={run}"
    )
    told = the_fault(*own, "reference=checkpoint", f"reference.path={run}")
    assert "/gone/model: there is no such folder" in told


def test_a_start_that_is_gone_matters_not_to_the_adapter_that_holds_it(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "builtin:tiny", {"kind": "checkpoint", "path": "/gone/adapter"})
    assert faults("start=checkpoint", f"start.path={run}") == []
    assert start_kinds.weights(config("start=checkpoint", f"start.path={run}")).path == "builtin:tiny"


def test_along_a_chain_the_weights_below_stay_what_they_are(tmp_path: Path) -> None:
    """Whole weights, an adapter on them, and a run that began at that."""
    base, whole = model(tmp_path / "base"), model(tmp_path / "runs" / "full" / "model")
    (whole.parent / "spec.json").write_text("{}")
    run_of(tmp_path / "runs" / "t1-11111111", str(base), {"kind": "run", "of": "1"}, needs=["full"])
    run_of(tmp_path / "runs" / "t2", str(base), {"kind": "run", "of": "11111111ff"}, needs=["x-2", "t1-11111111"])
    asked = config("model=hf", f"model.path={base}", "start=checkpoint", f"start.path={tmp_path / 'runs' / 't2'}")
    begins = start_kinds.weights(asked)
    assert begins == Weights(str(whole), None, tmp_path / "runs" / "t2" / "adapter")
    assert start_kinds.faults(asked) == []
    assert set(inputs.digests(asked)) == {"model.path", "start.path", "start.path_base"}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["adapter", "/no/such"], "start.path=/no/such: there is no such folder; start=adapter wants"),
        (["checkpoint", "/no/such"], "start=checkpoint wants the folder of a run"),
        (["adapter", "/"], "use start=checkpoint for the folder of a run, or model.path for a whole model"),
        (["checkpoint", "/"], "has the run completed, and with training.save_final=true?"),
    ],
)
def test_what_is_not_there_is_told_once_though_it_is_the_reference_too(overrides: list[str], told: str) -> None:
    kind, path = overrides
    assert told in the_fault(f"start={kind}", f"start.path={path}")


@pytest.mark.parametrize(
    ("said", "peft", "told"),
    [
        ({"use_dora": True}, "lora", "a DoRA adapter: no adapter can be put on such a one"),
        ({"use_dora": True}, "none", ""),
        ({"modules_to_save": ["embed_tokens"]}, "lora", "more than plain LoRA (modules_to_save)"),
        ({"bias": "all"}, "lora", "more than plain LoRA (bias=all)"),
        ({"init_lora_weights": "pissa"}, "lora", "more than plain LoRA (init_lora_weights=pissa)"),
        ({"use_rslora": True}, "lora", ""),
        ({}, "dora", "DoRA cannot be put on an adapter"),
        ({}, "rslora", ""),
        ({"peft_type": "IA3"}, "none", "peft says it is IA3"),
        ({"task_type": "SEQ_CLS"}, "none", "an adapter of a model that rates (SEQ_CLS)"),
        ({"tensor": "lm_head.lora_A.weight"}, "lora", "it changes the model's head"),
        ({"tensor": "lm_head.lora_A.weight"}, "none", ""),
        ({"tensor": "embed_tokens.weight"}, "lora", "it holds more than LoRA's two matrices a layer"),
    ],
)
def test_an_adapter_that_cannot_be_begun_at_is_told(tmp_path: Path, said: Any, peft: str, told: str) -> None:
    at = adapter(tmp_path / "a", **said)
    found = faults("start=adapter", f"start.path={at}", f"peft={peft}")
    assert [told in fault for fault in found] == ([True] if told else [])


def test_a_damaged_adapter_is_told(tmp_path: Path) -> None:
    at = adapter(tmp_path / "a")
    (at / "adapter_model.safetensors").write_bytes(b"nothing")
    assert "adapter_model.safetensors is damaged" in the_fault("start=adapter", f"start.path={at}")


@pytest.mark.parametrize(
    ("of", "on", "told"),
    [
        ("owner/one", "owner/one", False),
        ("owner/one", "owner/other", True),
        ("one", "other", True),
        ("one", "one", False),
        # A copy of the hub's, or of a folder that was elsewhere: nobody can tell.
        ("owner/one", "one", False),
        ("/gone/one", "one", False),
        ("builtin:tiny", "one", True),
    ],
)
def test_an_adapter_of_surely_another_model_is_told(tmp_path: Path, of: str, on: str, told: bool) -> None:
    paths = {name: str(model(tmp_path / name)) if "/" not in name else name for name in {"one", "other", of, on}
             if ":" not in name}  # fmt: skip
    at = adapter(tmp_path / "a", paths.get(of, of))
    asked = config("model=hf", f"model.path={paths.get(on, on)}", "start=adapter", f"start.path={at}")
    assert ["an adapter of" in fault for fault in start_kinds.faults(asked)] == [True] * told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"hidden_size": 16}, "a model of another make than model.path="),
        ({"model_type": "mistral"}, "a model of another make than model.path="),
        ({"architectures": ["LlamaForSequenceClassification"]}, "a model that rates, not one that writes"),
        ({"quantization_config": {"load_in_4bit": True}}, "model.prequantized=true"),
    ],
)
def test_whole_weights_of_another_kind_are_told(tmp_path: Path, changes: Any, told: str) -> None:
    base, whole = model(tmp_path / "base"), model(tmp_path / "whole", **changes)
    found = faults("model=hf", f"model.path={base}", "start=checkpoint", f"start.path={whole}")
    assert [told in fault for fault in found] == ([True] if told else [])


def test_a_reward_model_begins_at_its_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="method=reward trains no policy"):
        config("method=reward", "start=adapter", f"start.path={adapter(tmp_path / 'a')}")


def test_what_a_run_begins_at_is_part_of_what_it_is_by_content(tmp_path: Path) -> None:
    at, copy = adapter(tmp_path / "a"), adapter(tmp_path / "b")
    by_path = [inputs.identity(config("start=adapter", f"start.path={path}"))["start"] for path in (at, copy)]
    assert by_path[0] == by_path[1]
    assert inputs.identity(config("start=checkpoint", f"start.path={at}"))["start"] == by_path[0]
    adapter(tmp_path / "c", r=8)
    assert inputs.identity(config("start=adapter", f"start.path={tmp_path / 'c'}"))["start"] != by_path[0]


def test_a_run_that_begins_at_its_model_is_the_run_it_was_before_there_was_a_choice() -> None:
    asked = config()
    assert "start" not in inputs.identity(asked)
    older = {key: value for key, value in inputs.resolved(asked).items() if key != "start"}
    assert inputs.identity(check(older)) == inputs.identity(asked)


def test_a_start_that_has_changed_is_told(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "builtin:tiny")
    asked = config("start=checkpoint", f"start.path={run}")
    known, settled = inputs.digests(asked), inputs.resolved(asked)["start"]
    assert settled["path"] == str(run / "adapter")
    (run / "adapter" / "adapter_config.json").write_text("{}")
    inputs._digest.cache_clear()
    (fault,) = inputs.changed(asked, known)
    assert fault.startswith(f"start.path={run} has changed since the study was made")


def test_the_frozen_adapter_takes_memory_too(tmp_path: Path) -> None:
    alone, above, merged = (
        estimate(config(*words), LAPTOP)
        for words in (
            [],
            ["start=adapter", f"start.path={adapter(tmp_path / 'a')}"],
            ["start=adapter", f"start.path={tmp_path / 'a'}", "peft=none"],
        )
    )
    assert alone is not None
    assert above is not None
    assert merged is not None
    assert (above.most("adapter"), merged.most("adapter")) == (alone.most("adapter") + 4 * 32, 0)


def test_a_run_held_to_another_one_is_estimated_with_that_model_beside_it() -> None:
    alone, held, both = (
        estimate(config(*words), LAPTOP)
        for words in (
            [],
            ["reference=run", "reference.run={method:sft}", "reference.of=abc"],
            ["reference=run", "reference.run={method:sft}", "reference.of=abc",
             "start=run", "start.run={method:sft}", "start.of=abc"],
        )
    )  # fmt: skip
    assert alone is not None
    assert held is not None
    assert both is not None
    assert [one.most("reference") for one in (alone, held, both)] == [0, alone.most("weights"), 0]
