"""Files of answers one by one: what is accepted, and that every fault is told with its line and what mends it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.answers import HELD, section, write
from trainers.data import Answer, Answers, Pair, load_answers
from trainers.data_config import Unpaired
from trainers.errors import InvalidInput

GOOD = {"prompt": "2+2?", "completion": "4", "label": True}
ASKED, SAID = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}


def load(folder: Path, answers: list[dict[str, Any]] | bytes, **changes: Any) -> Answers:
    return load_answers(Unpaired(**{**section(folder, answers), **changes}))


def faults(folder: Path, answers: list[dict[str, Any]] | bytes, **changes: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as caught:
        load(folder, answers, **changes)
    return caught.value.faults


@pytest.mark.parametrize(("label", "desirable"), [(True, True), (False, False), (1, True), (0, False)])
def test_a_label_is_true_or_false_or_1_or_0(tmp_path, label, desirable):
    assert load(tmp_path, [{**GOOD, "label": label}]).train == (Answer("2+2?", "4", desirable),)


@pytest.mark.parametrize("label", ["true", "", None, 2, -1, 0.5, 1.0, [True], {}])
def test_a_label_that_is_none_is_told_with_its_line(tmp_path, label):
    (told,) = faults(tmp_path, [GOOD, {**GOOD, "label": label}])
    assert told.startswith("answers.jsonl line 2: field 'label' must be true or false, or 1 or 0, got ")


def test_held_out_pairs_come_from_their_own_file(tmp_path):
    assert load(tmp_path, [GOOD]).heldout == (Pair("3+3?", "6", "7"),)


def test_fields_are_named_by_settings_each_file_by_its_own(tmp_path):
    held = write(tmp_path / "other.jsonl", [{"q": "a", "better": "b", "worse": "c"}])
    found = load(
        tmp_path, [{"ask": "a", "say": "b", "good": 1}], prompt_field="ask", completion_field="say", label_field="good",
        eval_path=str(held), eval_prompt_field="q", eval_chosen_field="better", eval_rejected_field="worse",
    )  # fmt: skip
    assert (found.train, found.heldout) == ((Answer("a", "b", True),), (Pair("a", "b", "c"),))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [ASKED], "completion": [SAID]},
        {"prompt": [ASKED], "completion": "4"},
        {"prompt": "2+2?", "completion": [SAID]},
        {"completion": [ASKED, SAID]},
    ],
)
def test_chat_messages_in_every_form_are_one_conversation(tmp_path, row):
    assert load(tmp_path, [{**row, "label": True}]).train == (Answer((ASKED,), (SAID,), True),)


def test_max_samples_keep_the_first_of_each_file(tmp_path):
    rows = [{**GOOD, "completion": str(number)} for number in range(5)]
    found = load(tmp_path, rows, max_train_samples=3, max_eval_samples=1)
    assert [answer.text for answer in found.train] == ["0", "1", "2"]


def test_a_compressed_file_is_read(tmp_path):
    path = tmp_path / "answers.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert len(load(tmp_path, [GOOD], path=str(path)).train) == 1


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "a"}, "no field 'completion', 'label'; it has 'prompt'; data.completion_field=NAME"),
        ({"prompt": "a", "label": True}, "no field 'completion'; it has 'prompt', 'label'; data.completion_field=NAME"),
        ({"prompt": "a", "completion": "b"}, "no field 'label'"),
        ({"completion": "b", "label": True}, "no field 'prompt'"),
        ({**GOOD, "completion": " \n"}, "completion is empty"),
        ({**GOOD, "prompt": ""}, "prompt is empty"),
        ({**GOOD, "completion": None}, "field 'completion' must be text, or a list of chat messages"),
        ({**GOOD, "completion": "\ud800"}, "completion holds half a surrogate pair"),
        (HELD, "a pair, chosen and rejected, where an answer by itself is asked for: use data=jsonl"),
    ],
)
def test_a_row_that_is_no_answer_is_told_with_its_line(tmp_path, row, told):
    (fault,) = faults(tmp_path, [GOOD, row])
    assert fault.startswith(f"answers.jsonl line 2: {told}")


def test_other_names_of_fields_are_recognised(tmp_path):
    (told,) = faults(tmp_path, [{"question": "a", "response": "b", "thumbs_up": True}])
    for setting in ("prompt_field=question", "completion_field=response", "label_field=thumbs_up"):
        assert f"data.{setting}" in told


def test_answers_in_the_file_of_held_out_pairs_are_told(tmp_path):
    held = write(tmp_path / "other.jsonl", [GOOD])
    told = faults(tmp_path, [GOOD], eval_path=str(held))
    assert told == ("other.jsonl line 1: an answer by itself where a pair, chosen and rejected, is asked for",)


def test_a_held_out_pair_s_missing_field_is_told_with_the_setting_of_that_file(tmp_path):
    held = write(tmp_path / "other.jsonl", [{"question": "a", "chosen": "b", "rejected": "c"}])
    (told,) = faults(tmp_path, [GOOD], eval_path=str(held))
    assert "data.eval_prompt_field=question reads another" in told


def test_faults_of_both_files_are_told_together(tmp_path):
    told = faults(tmp_path, b"{\n[1]\n", eval_path=str(tmp_path / "none.jsonl"))
    assert [fault.split(":")[0] for fault in told] == [
        "answers.jsonl line 1",
        "answers.jsonl line 2",
        "data.eval_path",
    ]


def test_an_empty_file_is_told(tmp_path):
    (told,) = faults(tmp_path, b"\n")
    assert "holds no answers" in told
