"""What a run trains on, by what its method learns from: on the built-in tokenizer byte b has id b, the end is 257."""

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.answers import section, write
from tests.fakes.tiny_runs import run_config
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.schedule import total_steps
from trainers.splits import load_splits
from trainers.world_build import EOS_ID, _new_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return _new_tokenizer()


def config(folder: Path, method: str, labels: str, **changes: Any) -> RunConfig:
    """A run on an answer for each of `labels`, + or -: "a0" to "Q0", and so on; and one held-out pair."""
    rows = [{"prompt": f"Q{n}", "completion": f"a{n}", "label": label == "+"} for n, label in enumerate(labels)]
    pairs = [{"prompt": "H", "chosen": "c", "rejected": "r"}]
    return check(run_config(method, data=section(folder, rows, pairs), **changes))


def test_kto_learns_from_every_answer_as_it_is(tmp_path, tokenizer):
    splits = load_splits(config(tmp_path, "kto", "+-+"), tokenizer, tmp_path)
    assert splits.desirable == [True, False, True]
    assert [(bytes(pair.prompt_ids), pair.chosen_ids) for pair in splits.pairs["train"]] == [
        (f"Q{n}".encode(), [*f"a{n}".encode(), EOS_ID]) for n in range(3)
    ]


def test_beside_each_answer_stands_one_to_another_prompt_each_once(tmp_path, tokenizer):
    pairs = load_splits(config(tmp_path, "kto", "+-" * 20), tokenizer, tmp_path).pairs["train"]
    assert all(pair.chosen_ids != pair.rejected_ids for pair in pairs)
    assert sorted(pair.rejected_ids for pair in pairs) == sorted(pair.chosen_ids for pair in pairs)


def test_the_seed_decides_what_stands_beside(tmp_path, tokenizer):
    first, again, other = (
        load_splits(config(tmp_path, "kto", "+-" * 20, seed=seed), tokenizer, tmp_path).pairs["train"]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_what_stands_beside_a_long_prompt_is_cut_to_max_length(tmp_path, tokenizer):
    made = config(tmp_path, "kto", "+-", training__max_length=14)
    rows = [
        {"prompt": "long prompt", "completion": "a", "label": 1},
        {"prompt": "p", "completion": "bcdefg", "label": 0},
    ]
    write(tmp_path / "answers.jsonl", rows)
    beside = load_splits(made, tokenizer, tmp_path).pairs["train"][0].rejected_ids
    assert bytes(beside) == b"bcd"


def test_sft_learns_from_the_desirable_answers_alone(tmp_path, tokenizer):
    splits = load_splits(config(tmp_path, "sft", "+-+"), tokenizer, tmp_path)
    assert [bytes(pair.prompt_ids) for pair in splits.pairs["train"]] == [b"Q0", b"Q2"]
    assert splits.desirable is None


@pytest.mark.parametrize("method", ["kto", "sft"])
def test_held_out_are_the_pairs_of_their_file(tmp_path, tokenizer, method):
    (held,) = load_splits(config(tmp_path, method, "+-"), tokenizer, tmp_path).pairs["heldout"]
    assert (held.prompt_ids, held.chosen_ids, held.rejected_ids) == ([72], [99, EOS_ID], [114, EOS_ID])


@pytest.mark.parametrize(
    ("method", "rows", "accumulation", "steps"),
    [("kto", 16, 1, 2), ("kto", 17, 1, 3), ("kto", 17, 2, 2), ("kto", 15, 2, 1), ("sft", 16, 1, 4), ("sft", 17, 2, 3)],
)
def test_a_step_of_kto_is_two_answers_for_each_pair(tmp_path, method, rows, accumulation, steps):
    """Batches of four pairs: eight answers, or four demonstrations."""
    made = config(tmp_path, method, "+-", training__gradient_accumulation=accumulation)
    assert total_steps(made, rows) == steps
