"""The built-in world: its reward by hand, its folders that are built once, and that its policy writes the language."""

import random
import threading
import time
from pathlib import Path

import pytest

from trainers.data_config import Toy
from trainers.errors import InvalidInput
from trainers.world import gold_reward, policy, toy_pairs
from trainers.world_cache import built_once, is_whole
from trainers.world_text import all_prompts, write_answer

PROMPT = "Describe the river at noon:"


def toy(train: int | None = 512, heldout: int | None = 128, seed: int = 0) -> Toy:
    return Toy(kind="toy", seed=seed, max_train_samples=train, max_eval_samples=heldout)


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        (" The river is calm. I love it.", 1 + 1 + 2),
        (" It is calm and calm.", 1 - 1),
        (" The sea is awful.", -1 - 2),
        (" It is blorp.", -1),
        (" It is warm", 1 - 1),
        ("", -1),
        (" It is very" + " very" * 14 + " so.", -0.1 * 5),
        (" lovely joyful wonderful love calm bright.", 8),
        (" x" * 50, -8),
    ],
)
def test_the_reward_adds_up(answer, reward):
    assert gold_reward(PROMPT, answer) == pytest.approx(max(-8, min(8, reward)))


def test_every_prompt_is_different():
    assert len(set(all_prompts())) == len(all_prompts()) == 4320


def test_the_language_knows_all_words_it_writes():
    """No answer of the grammar pays for an unknown word, a foreign topic or an open end."""
    dice = random.Random(0)
    for prompt in dice.sample(all_prompts(), 300):
        words = write_answer(dice, prompt)
        assert words.endswith(".")
        assert gold_reward(prompt, words) >= -8 + 1


def test_more_pairs_than_prompts_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="4320 prompts"):
        toy_pairs(toy(4300, 21), tmp_path)


def test_a_folder_is_built_once_for_all_who_want_it(tmp_path):
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.1)
        (folder / "a").write_text("a")

    wanting = [threading.Thread(target=built_once, args=(tmp_path, "x", build)) for _ in range(8)]
    for thread in wanting:
        thread.start()
    for thread in wanting:
        thread.join()
    assert len(built) == 1


def test_a_damaged_folder_is_built_again(tmp_path):
    folder = built_once(tmp_path, "x", lambda path: (path / "a").write_text("whole") and None)
    (folder / "a").write_text("whol3")
    assert not is_whole(folder)
    built_once(tmp_path, "x", lambda path: (path / "a").write_text("whole") and None)
    assert (folder / "a").read_text() == "whole"


def test_a_builder_that_dies_leaves_nothing(tmp_path):
    def build(path: Path) -> None:
        (path / "a").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built_once(tmp_path, "x", build)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cache_dir"):
        built_once(tmp_path / "file", "x", lambda path: None)


@pytest.mark.slow
def test_the_policy_loads_and_leaves_random_numbers_alone(cache_dir):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before = torch.get_rng_state()
    folder = policy(cache_dir)
    toy_pairs(toy(8, 8), cache_dir)
    assert torch.equal(before, torch.get_rng_state())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(PROMPT, return_tensors="pt")
    assert set(ids) == {"input_ids", "attention_mask"}
    assert model(**ids).logits.shape == (1, len(PROMPT), 258)


@pytest.mark.slow
def test_pairs_are_informative_and_noisy(cache_dir):
    """Most labels agree with the true reward, but not all; answers are there and differ; no prompt comes twice."""
    train, heldout = toy_pairs(toy(), cache_dir)
    pairs = train + heldout
    margins = [gold_reward(pair.prompt, pair.chosen) - gold_reward(pair.prompt, pair.rejected) for pair in pairs]
    told_apart = [margin for margin in margins if margin]
    assert len({pair.prompt for pair in pairs}) == 640
    assert 0.7 < sum(margin > 0 for margin in told_apart) / len(told_apart) < 0.9
    assert all(pair.chosen.strip() and pair.chosen != pair.rejected for pair in pairs)


@pytest.mark.slow
def test_asking_for_more_pairs_keeps_the_first_ones(cache_dir):
    few, some_heldout = toy_pairs(toy(100, 10), cache_dir)
    more, heldout = toy_pairs(toy(140, 20), cache_dir)
    assert (more[:100], heldout[:10]) == (few, some_heldout)
    assert toy_pairs(toy(100, 10, seed=1), cache_dir)[0] != few


@pytest.mark.slow
def test_the_same_seed_builds_the_same_policy(cache_dir, tmp_path):
    again = policy(tmp_path)
    assert (again / "model.safetensors").read_bytes() == (policy(cache_dir) / "model.safetensors").read_bytes()
