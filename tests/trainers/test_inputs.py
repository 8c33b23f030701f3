"""What a run reads from this machine belongs to what it is."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import Source, composer, run_sections
from trainers import inputs
from trainers.config import RunConfig
from trainers.config_check import check


def config(*overrides: str) -> RunConfig:
    with composer(Source()) as compose:
        return check(run_sections(compose.compose(overrides).sound()))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights").write_text("1")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("{}\n")
    return path


def identity(*overrides: str) -> str:
    inputs._digest.cache_clear()
    return json.dumps(inputs.identity(config(*overrides)), sort_keys=True)


def test_a_change_of_a_models_file_is_seen_and_what_lies_below_is_not(model: Path):
    """A model's files lie at the top of its folder; outputs may lie below."""
    before = identity("model=hf", f"model.path={model}")
    (model / "sub" / "weights").write_text("other")
    assert identity("model=hf", f"model.path={model}") == before
    (model / "config.json").write_text("other")
    assert identity("model=hf", f"model.path={model}") != before


def test_of_a_data_folder_the_files_that_are_read_count(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    for split in ("train", "test"):
        (tmp_path / "deep" / f"{split}.jsonl").write_text("{}")
    overrides = ["data=hh", f"data.path={tmp_path}"]
    before = identity(*overrides)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "study.yaml").write_text("written meanwhile")
    assert identity(*overrides) == before
    (tmp_path / "deep" / "test.jsonl").write_text("other")
    assert identity(*overrides) != before


@pytest.mark.parametrize("key", ["chat_template", "tokenizer"])
def test_template_and_tokenizer_count_by_content(pairs: Path, key: str):
    before = identity(f"model.{key}={pairs}")
    pairs.write_text("other")
    assert identity(f"model.{key}={pairs}") != before


@pytest.mark.parametrize("name", ["answers", "held"])
def test_answers_and_their_held_out_pairs_count_by_content(tmp_path: Path, name: str):
    files = {key: tmp_path / f"{key}.jsonl" for key in ("answers", "held")}
    for file in files.values():
        file.write_text("{}\n")
    overrides = ["method=kto", "data=unpaired", f"data.path={files['answers']}", f"data.eval_path={files['held']}"]
    before = identity(*overrides)
    files[name].write_text("other")
    assert identity(*overrides) != before


def test_a_path_below_the_home_folder_counts_by_content(pairs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(pairs.parent))
    overrides = ["data=jsonl", "data.path='~/pairs.jsonl'"]
    before = identity(*overrides)
    pairs.write_text("other")
    assert identity(*overrides) != before
    assert inputs.resolved(config(*overrides))["data"]["path"] == str(pairs)


def test_labels_and_unused_keys_do_not_count():
    assert identity() == identity("model.name=other", "model.parameters_b=1", "++reference.path=unused")


def test_a_hub_id_is_left_as_it_is():
    overrides = ["model=hf", "model.path=owner/name"]
    assert inputs.digests(config(*overrides)) == {}
    assert inputs.resolved(config(*overrides))["model"]["path"] == "owner/name"


def test_what_changed_since_is_told_by_its_key(pairs: Path):
    made = config("data=jsonl", f"data.path={pairs}")
    known = inputs.digests(made)
    assert inputs.changed(made, known) == []
    pairs.write_text("other")
    inputs._digest.cache_clear()
    (fault,) = inputs.changed(made, known)
    assert fault.startswith(f"data.path={pairs} has changed since the study was made")
    pairs.unlink()
    (fault,) = inputs.changed(made, known)
    assert "is gone" in fault


def odd(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "odd"
    made: dict[str, Any] = {
        "fifo": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "folder of loops": lambda: (path.mkdir(), (path / "a").symlink_to(path / "a")),
        "nothing": lambda: None,
    }
    made[kind]()
    return path


@pytest.mark.parametrize("kind", ["fifo", "loop", "folder of loops", "nothing"])
def test_what_is_no_file_raises_nothing_here(tmp_path: Path, kind: str):
    """The checks of data and model say what is wrong with it."""
    identity("data=jsonl", f"data.path={odd(tmp_path, kind)}")


def test_a_name_that_no_file_can_have_raises_nothing_here():
    identity("data=jsonl", f"data.path={'x' * 5000}")
    identity("data=jsonl", "data.path='~nosuchuser/x'")
