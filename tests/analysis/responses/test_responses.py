"""The same prompt answered by the start and by each run, side by side; what policies wrote is never obeyed."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from analysis.errors import BadQuestion, NoRuns
from analysis.responses.answers import Responses, responses
from analysis.responses.view import as_json, html, markdown, show
from analysis.runs import Runs
from analysis.sources import read
from tests.analysis.comparison.test_tables import Tags
from tests.analysis.planted import answer, planted
from tests.fakes.finished_study import Finished, finished_study

NASTY = "\x1b[2J\x1b]0;owned\x07<img src=x onerror=alert(1)>\n```\n# not a heading\n\u202egnp"


def runs_of(folder: Path) -> Runs:
    return read([str(folder)], ("pairs", "answers"))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return runs_of(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, methods=("dpo", "ipo"), prompts=12))


@pytest.fixture
def nasty(tmp_path: Path) -> Responses:
    answers = [answer(0, prompt_text=NASTY, text=NASTY, start_text=NASTY, reward=None, kl=None, win=None)]
    return responses(
        runs_of(finished_study(tmp_path, [Finished(answers=answers, degenerate="\x1b[31mred")])), "1", "all"
    )


def test_start_and_best_runs_answer_the_first_prompts(runs: Runs):
    found = responses(runs, "2")
    assert [prompt.text for prompt in found.prompts] == ["question 0", "question 1"]
    assert [one.who for one in found.prompts[0].responses] == ["start", "dpo beta=0.1 seed 0", "ipo beta=0.1 seed 0"]
    assert [one.text for one in found.prompts[1].responses] == ["no", "dpo 0.1 says 1", "ipo 0.1 says 1"]
    assert any("best by eval/win_rate" in told for told in found.told)


def test_reward_length_and_kl_are_those_of_the_answers(runs: Runs):
    start, first, _ = responses(runs, "1", metric="eval/reward").prompts[0].responses
    row = runs.frame[runs.frame["run_id"] == first.run].iloc[0]
    assert first.reward == pytest.approx(row["answers.reward"][0])
    assert first.kl == pytest.approx(row["answers.kl"][0])
    assert (first.tokens, start.tokens, start.kl) == (12, 3, None)
    assert start.reward == pytest.approx(row["answers.start_reward"][0])


@pytest.mark.parametrize(
    ("asked", "places"),
    [("3", [0, 1, 2]), ("4,", [4]), ("7,0", [7, 0]), ("question 11", [11]), ("QUESTION 1", [1, 10, 11])],
)
def test_prompts_are_asked_for_by_number_place_or_words(runs: Runs, asked: str, places: list[int]):
    assert [prompt.number for prompt in responses(runs, asked).prompts] == places


def test_runs_are_chosen_by_their_ids(runs: Runs):
    ids = list(runs.frame["run_id"][:2])
    found = responses(runs, "1", ",".join(ids))
    assert [one.run for one in found.prompts[0].responses[1:]] == ids


def test_the_beginning_of_an_id_will_do(runs: Runs):
    assert responses(runs, "1", "t0001-s2").prompts[0].responses[1].run == "t0001-s2-00010002"


def test_all_runs_are_no_more_than_can_be_read(runs: Runs):
    found = responses(runs, "1", "all")
    assert len(found.prompts[0].responses) == 1 + 8
    assert "the first 8 of 12 runs; name others with --runs" in found.told


@pytest.mark.parametrize(
    ("prompts", "chosen", "told"),
    [
        ("99,", "best", "there are 12, counted from 0"),
        ("nowhere", "best", "stands in none of the 12 prompts"),
        ("1", "t0000-s7-00000007", "no such run; did you mean t0000-s"),
        ("1", " , ", "name runs by their ids"),
    ],
)
def test_what_is_not_there_is_told(runs: Runs, prompts: str, chosen: str, told: str):
    with pytest.raises(BadQuestion, match=told):
        responses(runs, prompts, chosen)


def test_runs_without_answers_are_told_how_to_get_some(tmp_path: Path):
    with pytest.raises(NoRuns, match=r"evaluation\.samples=64"):
        responses(runs_of(finished_study(tmp_path, [Finished(metrics={"eval/reward": 1.0})])))


def test_a_run_that_was_not_asked_is_left_out_and_told(tmp_path: Path):
    study = finished_study(
        tmp_path, [Finished(seed=0, answers=[answer(0), answer(1)]), Finished(seed=1, answers=[answer(1)])]
    )
    found = responses(runs_of(study), "2", "all")
    assert [len(prompt.responses) for prompt in found.prompts] == [2, 3]
    assert "dpo beta=0.1 seed 1 was not asked all of these prompts" in found.told


def test_starts_of_two_models_stand_beside_each_other(tmp_path: Path):
    other = {"model__name": "other", "model__path": "/models/other"}
    study = finished_study(
        tmp_path, [Finished(answers=[answer(0)]), Finished(answers=[answer(0, start_text="nay")], config=other)]
    )
    found = responses(runs_of(study), "1", "all")
    assert [one.who for one in found.prompts[0].responses[:2]] == ["start of tiny", "start of other"]


def test_another_run_as_opponent_is_named(tmp_path: Path):
    study = finished_study(tmp_path, [Finished(answers=[answer(0, opponent="t0001-s0-12345678")])])
    assert responses(runs_of(study), "1", "all").prompts[0].responses[0].who == "run t0001-s0-12345678"


def test_nothing_steers_a_terminal(nasty: Responses):
    out = io.StringIO()
    show(nasty, Console(file=out, width=100, force_terminal=False))
    assert "\x1b" not in out.getvalue()
    assert "\x07" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
    assert "\\x1b[2J" in out.getvalue()


def test_nothing_is_markup_in_html(nasty: Responses):
    page = Tags(html(nasty))
    assert page.tags <= {"section", "h3", "h4", "pre", "div", "article", "p"}
    assert "<img src=x onerror=alert(1)>" in page.text


def test_nothing_leaves_its_fence_in_markdown(nasty: Responses):
    lines = markdown(nasty).splitlines()
    fences = [place for place, line in enumerate(lines) if line.startswith("````")]
    assert len(fences) == 6  # prompt, start and run, each opened and closed
    inside = [place for place, line in enumerate(lines) if line == "# not a heading"]
    assert all(sum(fence < place for fence in fences) % 2 == 1 for place in inside)
    assert len(inside) == 3


def test_json_has_the_very_text(nasty: Responses):
    text = as_json(nasty)
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["prompts"][0]["responses"][1]["text"] == NASTY
