"""What the controller finds in a run's data before anything is trained."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainers.config import RunConfig
from trainers.data import Pair, inspect, tokenise
from trainers.data_checks import lengths
from trainers.errors import InvalidInput
from trainers.world_build import _new_tokenizer

TOKENIZER = {
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
    "pre_tokenizer": {"type": "Whitespace"},
}


@pytest.fixture
def configured(repository):
    return lambda **changes: config(repository / "conf", changes)


def config(conf: Path, changes: dict[str, Any]) -> RunConfig:
    """The defaults of conf/ with sections changed: data={...}, model={...}, training={...}."""

    def read(group: str, option: str) -> dict[str, Any]:
        values = yaml.safe_load((conf / group / f"{option}.yaml").read_text())
        values.pop("defaults", None)
        return values

    sections: dict[str, Any] = {
        "method": {"name": "hinge", "beta": 0.1}, "reference": {"kind": "self"}, "quantization": {"kind": "none"},
        "model": {**read("model", "hf"), **read("model", "tiny")["model"]}, "data": read("data", "toy"),
        "peft": read("peft", "lora"), "training": read("training", "default"), "tracking": read("tracking", "disabled"),
        "evaluation": read("evaluation", "default"), "seed": 0,
    }  # fmt: skip
    if "data" in changes:
        sections["data"] = read("data", changes["data"].pop("option"))
    sections["tracking"] = {"mode": "disabled", "project": "p", "entity": None, "base_url": None}
    for name, values in changes.items():
        sections[name] = {**sections[name], **values}
    return RunConfig.model_validate(sections)


def pairs_file(folder: Path, count: int = 40, prompt: Any = "Q{}?") -> str:
    path = folder / "pairs.jsonl"
    asked = [prompt.format(n) if isinstance(prompt, str) else [{**prompt, "content": f"Q{n}"}] for n in range(count)]
    path.write_text("".join(json.dumps({"prompt": q, "chosen": "yes " * 5, "rejected": "no"}) + "\n" for q in asked))
    return str(path)


def faults(config: RunConfig) -> str:
    with pytest.raises(InvalidInput) as caught:
        inspect(config)
    return "\n".join(caught.value.faults)


def test_the_built_in_world_is_left_to_the_run(configured):
    assert inspect(configured()) is None


def test_cut_pairs_are_counted_in_bytes_for_the_built_in_model(configured, tmp_path):
    """Q7? and five times "yes " are 23 bytes, 24 with the end of sequence; Q10? and so on one more."""
    data = {"option": "jsonl", "path": pairs_file(tmp_path)}
    report = inspect(configured(data=data, training={"max_length": 24}))
    assert report is not None
    assert report.truncated == 30


def test_cut_pairs_are_counted_with_a_local_models_tokenizer(configured, tmp_path):
    """Q7 a?yes yes yes yes yes is Q7 a ? and five yes: eight words, nine tokens with the end of sequence."""
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    changes = {
        "data": {"option": "jsonl", "path": pairs_file(tmp_path, prompt="Q{} a? ")},
        "model": {"path": str(tmp_path)},
    }
    assert [cut(configured, changes, length) for length in (8, 9)] == [40, 0]


def test_counting_and_cutting_agree_on_what_is_lost(configured, tmp_path):
    """The plan counts without the tokenizer's ids what the run then cuts."""
    rows = [("p" * 30, "a" * 40, "b"), ("p" * 30, "a" * 5, "b"), ("pp", "a" * 40, "b" * 50), ("p", "a", "b")]
    pairs = [Pair(*row) for row in rows]
    for max_length in (8, 9, 20, 31, 36, 40, 80):
        cut = tokenise(pairs, _new_tokenizer(), max_length)
        counted = lengths([(len(p), len(p + a) + 1, len(p + b) + 1) for p, a, b in rows], max_length)
        assert counted.truncated == sum(pair.truncated for pair in cut)
        assert counted.answers_cut == sum(pair.answer_cut for pair in cut)
        assert counted.prompts_cut == sum(pair.prompt_cut for pair in cut)
        sizes = [len(pair.prompt_ids + answer) for pair in cut for answer in (pair.chosen_ids, pair.rejected_ids)]
        assert (counted.longest_tokens, counted.mean_tokens) == (max(sizes), sum(sizes) / len(sizes))


def test_prompts_that_lose_their_beginning_are_counted_apart(configured, tmp_path):
    """Prompts of 40 and 41 bytes, answers of 20: max_length 30 leaves an answer half of it, and the prompt the rest."""
    data = {"option": "jsonl", "path": pairs_file(tmp_path, prompt="Q{}" + "?" * 38)}
    report = inspect(configured(data=data, training={"max_length": 30}))
    assert report is not None
    assert (report.truncated, report.answers_cut, report.prompts_cut) == (40, 40, 40)
    report = inspect(configured(data={**data, "option": "jsonl"}, training={"max_length": 45}))
    assert report is not None
    assert (report.truncated, report.answers_cut, report.prompts_cut) == (40, 0, 40)


def cut(configured: Any, changes: dict[str, Any], length: int) -> int | None:
    report = inspect(configured(**{**changes, "data": dict(changes["data"])}, training={"max_length": length}))
    return None if report is None else report.truncated


def test_fewer_pairs_than_a_batch_name_both_numbers(configured, tmp_path):
    data = {"option": "jsonl", "path": pairs_file(tmp_path, 9), "eval_fraction": 0.5}
    told = faults(configured(data=data, training={"batch_size": 8, "gradient_accumulation": 4}))
    assert "train pairs do not fill one batch of 32" in told


def test_chat_data_for_a_model_without_template_is_told(configured, tmp_path):
    data = {"option": "jsonl", "path": pairs_file(tmp_path, prompt={"role": "user"})}
    (tmp_path / "tokenizer_config.json").write_text("{}")
    model = {"name": "mine", "path": str(tmp_path)}
    assert "model.chat_template=FILE" in faults(configured(data=dict(data), model=model))
    assert inspect(configured(data=dict(data))) is not None  # the built-in model has one


def test_a_set_of_the_hub_that_cannot_be_had_is_told(configured):
    """The tests run with HF_HUB_OFFLINE."""
    told = faults(configured(data={"option": "hh", "path": "nobody/such-pairs"}))
    assert "data.path=nobody/such-pairs" in told
    assert "HF_HOME" in told


def test_a_file_that_changed_is_read_again(configured, tmp_path):
    counts = []
    for count in (20, 30):
        report = inspect(configured(data={"option": "jsonl", "path": pairs_file(tmp_path, count)}))
        counts.append(report.pairs if report else None)
    assert counts == [20, 30]


def test_importing_data_imports_nothing_heavy():
    code = (
        "import sys, trainers.data, trainers.footprint; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
