"""What a report says of runs."""

from pathlib import Path

import pytest

from analysis.errors import BadQuestion
from analysis.report.content import Content
from tests.analysis.report.conftest import content_of
from tests.fakes.finished_study import Finished, changed
from tests.fakes.report_study import report_runs


def history(*values: float | None, name: str = "train/loss") -> list[dict[str, float | None]]:
    return [{"step": step, "time": 0.0, name: value} for step, value in enumerate(values, start=1)]


def answer(prompt: str, text: str, **more: object) -> dict[str, object]:
    return {"prompt": prompt, "prompt_text": f"asked {prompt}", "text": text, "tokens": 3, **more}


def test_runs_are_ranked_by_the_first_known_metric_from_best_to_worst(tmp_path: Path):
    runs = [Finished(beta=beta, metrics={"eval/reward": -beta, "eval/kl": 1.0}) for beta in (0.1, 0.5, 0.3)]
    ranking = content_of(tmp_path, runs).ranking
    assert ranking.metric == "eval/reward"
    assert [(row.rank, row.cell) for row in ranking.rows] == [(1, 0), (2, 1), (3, 2)]
    assert ranking.verdict == (
        "No setting can be told from the others in dpo on tiny with 1 seed; highest mean: beta=0.1."
    )


def test_a_metric_that_is_better_when_low_is_ranked_from_low_to_high(tmp_path: Path):
    runs = [Finished(beta=beta, metrics={"eval/kl": 1 / beta, "eval/reward": 0.0}) for beta in (0.1, 0.5)]
    content = content_of(tmp_path, runs, metric="eval/kl")
    assert [content.cells[row.cell].strength for row in content.ranking.rows] == [0.5, 0.1]
    assert content.ranking.verdict.endswith("lowest mean: beta=0.5.")


def test_degenerate_and_failed_settings_stand_last_without_a_rank(tmp_path: Path):
    runs = [
        Finished(beta=0.1, metrics={"eval/reward": 9.0}, degenerate="repetition 0.9"),
        Finished(beta=0.2, metrics={"eval/reward": 1.0}),
        Finished(beta=0.3, status="failed", error="the loss became nan"),
    ]
    rows = content_of(tmp_path, runs).ranking.rows
    assert [(row.cell, row.rank) for row in rows] == [(1, 1), (0, None), (2, None)]
    assert [row.note for row in rows] == ["", "degenerate: repetition 0.9", "1 of 1 failed"]


def test_a_metric_that_no_run_has_is_told_with_those_there_are(tmp_path: Path):
    with pytest.raises(BadQuestion, match=r"eval/wins: no completed run has this metric; there are eval/reward$"):
        content_of(tmp_path, [Finished(metrics={"eval/reward": 1.0})], metric="eval/wins")


def test_runs_without_any_score_have_an_empty_ranking(tmp_path: Path):
    content = content_of(tmp_path, [Finished(status="failed", error="out of memory"), Finished(seed=1, status=None)])
    assert content.ranking.verdict == "Nothing can be ranked: no setting has a sound run with a score."
    assert [(each.status, each.message, each.runs) for each in content.failures] == [
        ("failed", "out of memory", [0]), ("missing", "has no result yet", [1]),
    ]  # fmt: skip


def test_failures_of_one_reason_are_told_together(tmp_path: Path):
    runs = [Finished(seed=seed, status="failed", error="disk full" if seed else "nan") for seed in range(3)]
    runs.append(Finished(seed=3, metrics={"eval/reward": 1.0}, degenerate="no end"))
    failures = content_of(tmp_path, runs).failures
    assert [(each.status, each.message, each.runs) for each in failures] == [
        ("failed", "disk full", [1, 2]), ("failed", "nan", [0]), ("degenerate", "no end", [3]),
    ]  # fmt: skip


def test_doubts_are_told(tmp_path: Path):
    runs = [Finished(metrics={"eval/reward": 1.0}, history=history(1.0)), Finished(seed=1, history=history(1.0))]
    assert content_of(tmp_path, runs).told == [
        "1 of 1 settings have one seed only, so that nothing tells how much seeds differ.",
        "1 completed runs have no eval/reward.",
    ]


def test_a_curve_leaves_out_what_was_not_logged_at_a_step(tmp_path: Path):
    lines = [*history(3.0, None, 1.0), {"step": 3, "time": 0.0, "eval/reward": 7.0}]
    curves = content_of(tmp_path, [Finished(metrics={"eval/reward": 7.0}, history=lines)]).curves
    found = {curve.metric: (list(curve.steps), list(curve.values)) for curve in curves}
    assert found == {"eval/reward": ([3], [7.0]), "train/loss": ([1, 3], [3.0, 1.0])}


def test_infinite_values_of_a_curve_are_left_out(tmp_path: Path):
    content = content_of(tmp_path, [Finished(history=history(1.0, float("inf"), 3.0))])
    assert list(content.curves[0].values) == [1.0, 3.0]


def test_bookkeeping_of_the_trainer_is_no_curve(tmp_path: Path):
    lines = [{"step": 1, "time": 0.0, "train/epoch": 0.1, "train/num_tokens": 10, "train/loss": 1.0}]
    assert [curve.metric for curve in content_of(tmp_path, [Finished(history=lines)]).curves] == ["train/loss"]


def test_answers_to_one_prompt_stand_together_best_setting_first(tmp_path: Path):
    runs = [
        Finished(beta=beta, metrics={"eval/reward": beta}, answers=[answer("aa", f"at {beta}", start_text="start")])
        for beta in (0.1, 0.5)
    ]
    (prompt,) = content_of(tmp_path, runs).responses.prompts
    assert prompt.text == "asked aa"
    assert prompt.start is not None
    assert prompt.start.text == "start"
    assert [(run, each.text) for run, each in prompt.answers.items()] == [(1, "at 0.5"), (0, "at 0.1")]


def test_a_run_that_did_not_answer_a_prompt_is_missing_there_alone(tmp_path: Path):
    runs = [
        Finished(seed=0, answers=[answer("aa", "x"), answer("bb", "y")]),
        Finished(seed=1, answers=[answer("bb", "z")]),
    ]
    prompts = content_of(tmp_path, runs).responses.prompts
    assert [sorted(prompt.answers) for prompt in prompts] == [[0], [0, 1]]


def test_too_many_answers_are_left_out_and_told(tmp_path: Path):
    long = "é" * 6000
    runs = [Finished(beta=0.1 + place / 100, metrics={"eval/reward": 1.0 * place},
                     answers=[answer(f"{i:02x}", long) for i in range(64)]) for place in range(8)]  # fmt: skip
    responses = content_of(tmp_path, runs).responses
    assert responses.told == "The answers of 5 of 8 runs are in this page."
    assert set(responses.prompts[0].answers) == {7, 6, 5, 4, 3}


def test_a_damaged_token_study_is_told_and_left_out(tmp_path: Path):
    sound = report_runs(("dpo",), (0.1,), (0,))[0].tokens
    assert sound is not None
    damaged = [{**sound, "lowered": 3}, {**sound, "raised": [{"token": "a", "mean_logratio": "x"}]}, {"eos": None}]
    runs = [Finished(seed=seed, tokens=each) for seed, each in enumerate([sound, *damaged])]
    content = content_of(tmp_path, runs)
    assert [study.run for study in content.tokens] == [0]
    assert "The token studies of 3 runs are damaged, and left out." in content.told


def test_eos_is_a_score_of_its_own(small: Content):
    metric = small.metric("tokens/eos_logratio")
    assert (metric.label, metric.unit) == ("log-ratio of EOS", "nats")
    assert all("tokens/eos_logratio" in cell.scores for cell in small.cells if cell.scores)


def test_what_runs_lack_is_left_out(tmp_path: Path):
    content = content_of(tmp_path, [Finished(metrics={"eval/reward": 1.0})])
    assert not any((content.curves, content.tokens, content.responses.prompts))


def test_the_study_is_told_as_its_folder_has_it(small: Content):
    (study,) = small.studies
    assert (study.name, study.command) == ("study", "python -m orchestrator study=study")
    assert small.title == "study"


def test_runs_of_several_studies_go_by_their_names(tmp_path: Path):
    from analysis.report.gather import gather
    from analysis.sources import read
    from tests.fakes.finished_study import finished_study

    run = Finished(metrics={"eval/reward": 1.0})
    roots = [str(finished_study(tmp_path, [changed(run, seed=seed)], name)) for seed, name in enumerate(("one", "two"))]
    content = gather(read(roots))
    assert content.title == "one, two"
    assert len(content.cells) == 1
