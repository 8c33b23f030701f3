"""Files of pairs: what is accepted, and that every fault is told in words, with its line and what mends it."""

import contextlib
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.judged_pairs import judged_pairs
from trainers.data import Pair, Pairs, load_pairs
from trainers.data_config import HubPairs, Jsonl, Orca
from trainers.data_files import read_rows
from trainers.data_pairs import RowFault
from trainers.errors import InvalidInput


def jsonl(path: Path, **changes: Any) -> Jsonl:
    defaults: dict[str, Any] = {
        "kind": "jsonl", "path": str(path), "eval_path": None, "eval_fraction": 0.3, "split_seed": 0,
        "prompt_field": "prompt", "chosen_field": "chosen", "rejected_field": "rejected",
        "max_train_samples": None, "max_eval_samples": None,
    }  # fmt: skip
    return Jsonl(**{**defaults, **changes})


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Q{number}?", "chosen": f"yes {number}", "rejected": "no"} for number in range(count)]


def write(folder: Path, content: list[dict[str, Any]] | bytes) -> Path:
    path = folder / "pairs.jsonl"
    lines = content if isinstance(content, bytes) else "".join(json.dumps(row) + "\n" for row in content).encode()
    path.write_bytes(lines)
    return path


def load(path: Path, **changes: Any) -> Pairs:
    return load_pairs(jsonl(path, **changes), Path("unused"))


def faults(path: Path, **changes: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        load(path, **changes)
    return "\n".join(caught.value.faults)


def test_no_prompt_is_in_both_halves(tmp_path):
    pairs = load(write(tmp_path, rows(20) + rows(20)))
    assert not {pair.prompt for pair in pairs.train} & {pair.prompt for pair in pairs.heldout}
    assert len(pairs.train) + len(pairs.heldout) == 40


@pytest.mark.parametrize(("count", "held"), [(2, 1), (5, 1), (20, 2), (41, 4), (300, 30)])
def test_a_tenth_of_the_pairs_is_held_out_also_of_few(tmp_path, count, held):
    pairs = load(write(tmp_path, rows(count)), eval_fraction=0.1)
    assert len(pairs.heldout) == held


def test_whole_prompts_are_held_out_as_near_to_the_share_as_they_allow(tmp_path):
    """Ten prompts of five pairs each: a tenth is one prompt."""
    many = [{**row, "chosen": f"{row['chosen']} {n}"} for row in rows(10) for n in range(5)]
    assert len(load(write(tmp_path, many), eval_fraction=0.1).heldout) == 5


def test_another_seed_holds_out_other_prompts(tmp_path):
    path = write(tmp_path, rows(60))
    assert load(path, split_seed=0).heldout != load(path, split_seed=1).heldout


def test_max_samples_keep_the_first_of_each_half(tmp_path):
    path = write(tmp_path, rows(40))
    whole, cut = load(path), load(path, max_train_samples=3, max_eval_samples=2)
    assert (cut.train, cut.heldout) == (whole.train[:3], whole.heldout[:2])


def test_a_byte_order_mark_and_blank_lines_are_no_faults(tmp_path):
    body = b"\n  \n".join(json.dumps(row).encode() for row in rows(12))
    pairs = load(write(tmp_path, b"\xef\xbb\xbf" + body + b"\n\n"))
    assert pairs.report.pairs == 12


def test_an_eval_file_is_held_out_whole(tmp_path):
    path = write(tmp_path, rows(4))
    other = tmp_path / "eval.jsonl"
    other.write_bytes(path.read_bytes())
    report = load(path, eval_path=str(other)).report
    assert (report.train_pairs, report.heldout_pairs, report.shared_prompts) == (4, 4, 4)


def test_chat_messages_are_kept_as_messages(tmp_path):
    chat = [{"role": "user", "content": "hi"}]
    row = {"prompt": chat, "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"}
    pair = load(write(tmp_path, [row]), eval_path=str(tmp_path / "pairs.jsonl")).train[0]
    assert pair == Pair(tuple(chat), ({"role": "assistant", "content": "a"},), ({"role": "assistant", "content": "b"},))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"prompt": "a", "chosen": }', "line 2: not JSON: Expecting value at column 27"),
        (b'["a"]', "line 2: a JSON object is asked for, got ['a']"),
        (b'{"prompt": "\xff"}', "line 2: not UTF-8: byte 0xff at byte 13"),
        (b'{"question": "a", "chosen": "b", "rejected": "c"}', "no field 'prompt'"),
        (b'{"question": "a", "chosen": "b", "rejected": "c"}', "data.prompt_field=question"),
        (b'{"prompt": 3, "chosen": "b", "rejected": "c"}', "field 'prompt' must be text, or a list of chat messages"),
        (b'{"prompt": "a", "chosen": " \\n", "rejected": "c"}', "line 2: chosen is empty"),
        (b'{"prompt": "a", "chosen": "b", "rejected": "b"}', "line 2: chosen and rejected are equal: 'b'"),
        (b'{"prompt": "\\ud800", "chosen": "b", "rejected": "c"}', "half a surrogate pair"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b'{"prompt": "a\x00"}', "line 2: not JSON"),
    ],
)
def test_a_fault_in_a_line_names_line_and_reason(tmp_path, line, told):
    path = write(tmp_path, json.dumps(rows(1)[0]).encode() + b"\n" + line + b"\n")
    assert told in faults(path)


def test_all_missing_fields_are_told_with_their_settings(tmp_path):
    told = faults(write(tmp_path, [{"instruction": "a", "winner": "b", "loser": "c"}]))
    for setting in ("prompt_field=instruction", "chosen_field=winner", "rejected_field=loser"):
        assert f"data.{setting}" in told


def test_a_fault_of_many_lines_is_told_once_with_the_first_lines(tmp_path):
    told = faults(write(tmp_path, [{**row, "chosen": "no"} for row in rows(25)]))
    assert told == "pairs.jsonl lines 1, 2, 3 and 22 more: chosen and rejected are equal: 'no'"


@pytest.mark.parametrize(("count", "told"), [(1, "line 1:"), (2, "lines 1 and 2:"), (3, "lines 1, 2 and 3:")])
def test_few_lines_are_all_named(tmp_path, count, told):
    assert told in faults(write(tmp_path, [{**row, "chosen": "no"} for row in rows(count)]))


def test_what_only_the_first_line_holds_is_told_of_it(tmp_path):
    told = faults(write(tmp_path, [{"prompt": number, "chosen": "a", "rejected": "b"} for number in range(5)]))
    assert told.startswith("pairs.jsonl lines 1, 2, 3 and 2 more: field 'prompt' must be text")
    assert told.endswith(", got 0 in line 1")


def test_different_faults_of_lines_are_told_apart(tmp_path):
    told = faults(write(tmp_path, [{"question": "a", "chosen": "b", "rejected": "c"}, {"prompt": "p"}] * 4))
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "pairs.jsonl lines 1, 3, 5 and 1 more",
        "pairs.jsonl lines 2, 4, 6 and 1 more",
    ]


def test_faults_without_end_are_counted(tmp_path):
    """Each line names fields of its own."""
    reader = itertools.count().__next__

    def read(row: object) -> object:
        raise RowFault(f"fault {reader()}")

    with pytest.raises(InvalidInput) as caught:
        read_rows(write(tmp_path, rows(15)), "data.path", read)
    assert len(caught.value.faults) == 11
    assert caught.value.faults[-1] == "pairs.jsonl: and 5 more lines with other faults"


def test_control_characters_of_a_row_do_not_reach_a_message(tmp_path):
    text = "\x1b[31m\x00\u202e" * 50
    told = faults(write(tmp_path, [{"prompt": "a", "chosen": text, "rejected": text}]))
    assert told.isprintable()
    assert len(told) < 200


@pytest.mark.parametrize(
    ("name", "told"), [("none.jsonl", "there is no file"), (".", "is a folder"), ("\0", "cannot be read")]
)
def test_a_path_that_is_no_file_is_told(tmp_path, name, told):
    assert told in faults(Path(f"{tmp_path}/{name}"))


def test_an_empty_file_is_told(tmp_path):
    assert "holds no pairs" in faults(write(tmp_path, b"\n\n"))


def test_faults_of_both_files_are_told_together(tmp_path):
    told = faults(tmp_path / "a.jsonl", eval_path=str(tmp_path / "b.jsonl"))
    assert "data.path" in told
    assert "data.eval_path" in told


def test_mangled_files_raise_nothing_but_invalid_input(tmp_path):
    """Whatever happens to a file's bytes, either its pairs load or its faults are told."""
    seed = random.randrange(10**6)
    print("seed", seed)
    dice = random.Random(seed)
    sound = write(tmp_path, rows(12)).read_bytes()
    for _ in range(300):
        content = bytearray(sound)
        for _ in range(dice.randint(1, 8)):
            at = dice.randrange(len(content))
            content[at : at + dice.randint(0, 9)] = dice.randbytes(dice.randint(0, 5))
        with contextlib.suppress(InvalidInput):
            load(write(tmp_path, bytes(content)))


def test_transcripts_are_split_at_their_last_turn(tmp_path):
    before = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    lines = [{"chosen": f"{before} {n}", "rejected": f"{before} no"} for n in range(2)]
    other = [{"chosen": "\n\nHuman: x\n\nAssistant: 1", "rejected": "\n\nHuman: y\n\nAssistant: 2"}]
    pairs = load_pairs(hub_format(tmp_path, "hh", lines, other), Path("unused"))
    assert pairs.train[0] == Pair(before, " 0", " no")
    assert pairs.report.differing_prompts == 1


def test_ultrafeedback_conversations_end_in_the_answer(tmp_path):
    asked, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    line = {"prompt": "q", "chosen": [asked, answer], "rejected": [asked, {**answer, "content": "b"}]}
    pair = load_pairs(hub_format(tmp_path, "ultrafeedback", [line], [line]), Path("unused")).train[0]
    assert (pair.prompt, pair.chosen) == ((asked,), (answer,))


def test_rows_of_published_sets_that_teach_nothing_are_left_out(tmp_path):
    """These sets are known to hold some; a user cannot mend them."""
    turn = "\n\nHuman: a\n\nAssistant:"
    good, equal = {"chosen": turn + " 1", "rejected": turn + " 2"}, {"chosen": turn + " 1", "rejected": turn + " 1"}
    empty = {"chosen": turn + " ", "rejected": turn + " 1"}
    report = load_pairs(hub_format(tmp_path, "hh", [good, equal, empty], [good]), Path("unused")).report
    assert (report.train_pairs, report.left_out) == (1, 2)


def test_an_empty_system_message_is_left_out(tmp_path):
    lines = [{"system": "", "question": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(9)]
    path = write(tmp_path, lines)
    data = Orca(kind="orca", path=str(path), revision=None, train_split="train", eval_split=None, eval_fraction=0.5,
                split_seed=0, max_train_samples=None, max_eval_samples=None)  # fmt: skip
    assert all(len(pair.prompt) == 1 for pair in load_pairs(data, Path("unused")).train)


def hub_format(folder: Path, kind: Any, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> HubPairs:
    for name, lines in (("train", train), ("test", test)):
        write(folder, lines).rename(folder / f"{name}.jsonl")
    return HubPairs(kind=kind, path=str(folder), revision=None, train_split="train", eval_split="test",
                    max_train_samples=None, max_eval_samples=None)  # fmt: skip


def test_a_file_of_pairs_that_people_judged_loads(repository, tmp_path):
    path = judged_pairs(repository, tmp_path)
    report = load(path, eval_fraction=0.1).report
    assert report.pairs == len([line for line in path.read_text().splitlines() if line.strip()])
