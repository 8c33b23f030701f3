"""Which prompts are asked, what is answered, and what is kept for the runs that start alike."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.examined import evaluated, examined_config, pushed, subject
from tests.fakes.tiny_runs import pair
from trainers.data import Pair
from trainers.evaluation.answer_store import AnswerStore
from trainers.evaluation.answers import answers, start_answers
from trainers.evaluation.examine import Subject
from trainers.evaluation.pairs import HeldOut
from trainers.evaluation.prompts import Prompt, prompts, shown
from trainers.evaluation.room import with_room
from trainers.samples import Sample
from trainers.workload import asked_for

pytestmark = pytest.mark.slow


def asked(of: Subject) -> list[Prompt]:
    return prompts(of.held, asked_for(of.config))


def texts(found: list[Sample]) -> list[str]:
    return [answer.text for answer in found]


def said(of: Subject) -> list[Sample]:
    return answers(of.config, of.policy, asked(of), of.heed, of.world)


def before(of: Subject) -> list[Sample]:
    return start_answers(of.config, of.policy, asked(of), of.cache_dir, of.heed, of.world)


def test_the_first_distinct_prompts_are_asked_with_the_tokens_of_their_first_pair() -> None:
    written = [Pair(text, "b", "c") for text in "aabac"]
    held = HeldOut([pair([1], [2], prompt=[number]) for number in range(5)], written)
    found = prompts(held, 2)
    assert [(prompt.asked.text, prompt.asked.ids, prompt.place) for prompt in found] == [("a", [0], 0), ("b", [2], 2)]
    assert [prompt.place for prompt in prompts(held, 9)] == [0, 2, 4]
    assert prompts(HeldOut(held.pairs, None), 2) == []
    assert prompts(held, 0) == []


def test_a_conversation_is_shown_with_who_says_what() -> None:
    messages = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"})
    assert shown(messages) == "system: Be kind.\n\nuser: Hi"
    assert shown(messages[1:]) == "Hi"


@pytest.mark.parametrize(
    ("method", "data"),
    [("dpo", {"kind": "bandit", "pairs": "ab", "draws": None}), ("reward", None)],
)
def test_nobody_is_asked_who_writes_no_texts(method: str, data: dict[str, object] | None) -> None:
    changes = {"data": data} if data else {}
    assert asked_for(examined_config(name=method, **changes)) == 0


def test_the_same_policy_answers_alike_whatever_the_batch_and_however_many_are_asked(cache_dir: Path) -> None:
    whole = subject(examined_config(), cache_dir)
    found = said(whole)
    for batch, samples in ((1, 8), (3, 8), (8, 5)):
        config = examined_config(evaluation=evaluated(samples, sampling_batch=batch))
        assert texts(said(replace(whole, config=config))) == texts(found)[:samples]


def test_the_start_answers_by_itself_and_is_asked_once_for_all_runs(cache_dir: Path, tmp_path: Path) -> None:
    of = replace(subject(examined_config(), cache_dir), cache_dir=tmp_path)
    first = before(of)
    assert texts(first) != texts(said(of))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}
    other = subject(examined_config(name="ipo", seed=3), cache_dir)
    assert before(replace(other, cache_dir=tmp_path, policy=pushed(other.policy))) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()} == kept


def test_where_all_weights_are_trained_the_start_is_loaded_again(cache_dir: Path) -> None:
    of = subject(examined_config(peft={"kind": "none"}, evaluation=evaluated(5)), cache_dir)
    unmoved = said(of)
    pushed(of.policy, 0.1)
    assert texts(said(of)) != texts(unmoved)
    lora = subject(examined_config(evaluation=evaluated(5)), cache_dir)
    # fp32 weights in both: the same start, however it is trained.
    assert texts(before(of)) == texts(before(lora))


@pytest.mark.parametrize("changes", [{"temperature": 0.5}, {"max_new_tokens": 9}, {"samples": 7}])
def test_another_question_is_asked_anew(cache_dir: Path, changes: dict[str, float]) -> None:
    first = before(subject(examined_config(), cache_dir))
    count = len(list((cache_dir / "answers").iterdir()))
    found = before(subject(examined_config(evaluation=evaluated() | changes), cache_dir))
    assert len(list((cache_dir / "answers").iterdir())) >= count
    if "samples" in changes:
        assert found == first[:7]
    else:
        assert texts(found) != texts(first)


def test_at_temperature_0_each_token_is_the_likeliest(cache_dir: Path) -> None:
    config = examined_config(evaluation=evaluated(temperature=0.0))
    of = subject(config, cache_dir)
    assert texts(said(of)) == texts(before(of))


def test_no_answer_is_longer_than_it_may_be(cache_dir: Path) -> None:
    of = subject(examined_config(evaluation=evaluated(max_new_tokens=7)), cache_dir)
    assert {len(answer.ids) for answer in said(of)} == {7}
    short = subject(examined_config(training__max_length=60), cache_dir)
    for prompt, answer in zip(asked(short), said(short), strict=True):
        assert len(prompt.asked.ids) + len(answer.ids) <= 60


def kept_answers() -> list[Sample]:
    return [Sample([1, 2], "", -1.5, True), Sample([3], "", -0.5, False)]


def test_answers_are_found_again_by_their_question(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers", {"model": "a", "prompts": [1]})
    assert store.find() is None
    assert store.keep(kept_answers()) == kept_answers()
    assert AnswerStore(tmp_path / "answers", {"prompts": [1], "model": "a"}).find() == kept_answers()
    assert AnswerStore(tmp_path / "answers", {"prompts": [2], "model": "a"}).find() is None


def test_who_comes_second_takes_the_answers_of_the_first(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path, {})
    store.keep(kept_answers())
    assert store.keep([Sample([9], "", -1.0, True)]) == kept_answers()


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"question": {}, "answers": [], "digest": "0"}'])
def test_a_damaged_file_does_not_count_and_is_replaced(tmp_path: Path, damage: str) -> None:
    store = AnswerStore(tmp_path, {"model": "a"})
    store.keep(kept_answers())
    store.path.write_text(damage)
    assert store.find() is None
    store.keep(kept_answers())
    assert store.find() == kept_answers()


def test_an_edited_answer_does_not_count(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path, {"model": "a"})
    store.keep(kept_answers())
    told = json.loads(store.path.read_text())
    told["answers"][0]["ids"] = [7]
    store.path.write_text(json.dumps(told))
    assert store.find() is None


def test_where_nothing_can_be_written_the_run_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "answers").write_text("")
    assert AnswerStore(tmp_path / "answers", {}).keep(kept_answers()) == kept_answers()
    assert "cannot be written" in capfd.readouterr().err


def test_a_probability_that_is_no_number_is_not_kept(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path, {})
    store.keep([Sample([1], "", math.nan, True)])
    assert store.find() is None


def test_a_batch_that_does_not_fit_is_halved(cache_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import torch

    sizes = []

    def work(batch_size: int) -> str:
        sizes.append(batch_size)
        if batch_size > 2:
            raise torch.OutOfMemoryError
        return "done"

    of = subject(examined_config(), cache_dir)
    assert with_room(work, 9, of.world) == "done"
    assert sizes == [9, 4, 2]
    assert "2 answers a pass from here on" in capfd.readouterr().err
    with pytest.raises(torch.OutOfMemoryError):
        with_room(lambda _size: work(9), 1, of.world)
