"""The comparison table: what people and programs read of a study."""

import csv
import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.objective import Objective
from orchestrator.published import Number, Published
from orchestrator.store import StudyFolder
from orchestrator.table import Table, make_table
from trainers.spec import RunResult, RunSpec

OBJECTIVE = Objective("eval/reward_accuracy", "maximize")


def spec(trial: int, seed: int, **params: str | float) -> RunSpec:
    return RunSpec("s", trial, seed, "dpo", params, {}, f"{trial}{seed}".ljust(64, "0"), Path(), Path())


def result(run: RunSpec, accuracy: float, margin: float = 1.0) -> RunResult:
    metrics = {"eval/reward_accuracy": accuracy, "eval/margin_nats": margin, "eval/pairs": 50.0}
    return RunResult(run.run_id, "completed", run.params, metrics, seconds=4.0)


@pytest.fixture
def table() -> Table:
    runs = {
        0: [spec(0, 0, method="dpo", beta=0.1), spec(0, 1, method="dpo", beta=0.1)],
        1: [spec(1, 0, method="ipo", beta=0.1), spec(1, 1, method="ipo", beta=0.1)],
        2: [spec(2, 0, method="a|b", beta=0.1), spec(2, 1, method="a|b", beta=0.1)],
    }
    ended = [
        result(runs[0][0], 0.60),
        result(runs[0][1], 0.64),
        result(runs[1][0], 0.90),
        RunResult(runs[1][1].run_id, "failed", error="the loss became nan\nat step 3 [bold]"),
    ]
    return make_table(runs, {r.run_id: r for r in ended}, ["method", "beta"], OBJECTIVE)


def read(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_a_row_has_mean_and_sample_standard_deviation_over_seeds(table: Table):
    """0.60 and 0.64: mean 0.62, deviation sqrt(2 · 0.02²) = 0.02828."""
    first = read(table)[0]
    assert float(first["eval/reward_accuracy"]) == pytest.approx(0.62)
    assert float(first["eval/reward_accuracy_sd"]) == pytest.approx(0.0282843, abs=1e-6)
    assert first["eval/reward_accuracy_n"] == "2"


def test_the_best_is_among_trials_whose_seeds_all_completed(table: Table):
    assert [row["best"] for row in read(table)] == ["best", "", ""]


def test_states_are_told(table: Table):
    assert [row["state"] for row in read(table)] == ["complete", "1 complete, 1 failed", "waiting"]


def test_the_reason_of_a_failure_is_in_the_table_on_one_line(table: Table):
    assert read(table)[1]["note"] == "the loss became nan at step 3 [bold]"
    assert "trial 1: the loss became nan at step 3" in table.markdown()


def test_markdown_keeps_its_columns_whatever_the_values(table: Table):
    rows = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_markdown_marks_the_best_in_bold(table: Table):
    assert "**0.620 ± 0.028**" in table.markdown()


def test_the_caption_says_what_the_numbers_are(table: Table):
    text = table.markdown()
    assert "over 2 seeds" in text
    assert "50 held-out pairs, which leave an accuracy a standard error of 0.07" in text
    assert "largest eval/reward_accuracy" in text


def test_text_of_a_run_is_not_taken_for_markup(table: Table):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table.rich(200)[0])
    assert "a|b" in console.export_text()


def test_a_narrow_terminal_gets_fewer_metrics_and_whole_numbers(table: Table):
    console = Console(width=80, record=True, file=io.StringIO())
    shown, (hidden,) = table.rich(80)
    console.print(shown)
    text = console.export_text()
    assert "0.620 ± 0.028" in text
    assert "…" not in text
    assert "eval/rejected_logratio (see table.md)" in hidden


def degenerate(*reasons: str | None) -> Table:
    """A trial with a better objective but such seeds, beside a sound one."""
    runs = {0: [spec(0, seed) for seed in range(len(reasons))], 1: [spec(1, seed) for seed in range(len(reasons))]}
    ended = [
        dataclasses.replace(result(run, 0.9), degenerate=why) for run, why in zip(runs[0], reasons, strict=True)
    ] + [result(run, 0.6) for run in runs[1]]
    return make_table(runs, {one.run_id: one for one in ended}, [], OBJECTIVE)


@pytest.mark.parametrize(
    ("reasons", "state"),
    [
        (("repetition",), "complete (degenerate: repetition)"),
        (("kl, empty", "kl"), "complete (degenerate: kl, empty)"),
        ((None, "length"), "complete (1 degenerate: length)"),
    ],
)
def test_a_degenerate_trial_is_marked_and_never_best(reasons: tuple[str | None, ...], state: str):
    table = degenerate(*reasons)
    assert [(row["state"], row["best"]) for row in read(table)] == [(state, ""), ("complete", "best")]
    assert "beyond a bound of evaluation.degenerate, and never best" in table.markdown()


def test_where_nothing_is_degenerate_nothing_is_said_of_it():
    assert "degenerate" not in degenerate(None).markdown()


def test_an_objective_of_ones_own_gets_a_column():
    run = spec(0, 0, beta=1.0)
    ended = RunResult(run.run_id, "completed", run.params, {"eval/kl": 0.25})
    table = make_table({0: [run]}, {run.run_id: ended}, ["beta"], Objective("eval/kl", "minimize"))
    assert read(table)[0]["eval/kl"] == "0.25"
    assert read(table)[0]["best"] == "best"


def test_a_study_without_results_has_a_table():
    table = make_table({0: [spec(0, 0, beta=1.0)]}, {}, ["beta"], OBJECTIVE)
    assert read(table)[0]["state"] == "waiting"
    assert "| 0 | 1 | waiting |" in table.markdown()


def test_the_time_of_a_run_counts_where_it_was_spent():
    """A run that another run's result served took no time of its own."""
    run = spec(0, 0, beta=1.0)
    served = RunResult(run.run_id, "completed", run.params, {}, seconds=9.0, same_as="t0009-s0-00000000")
    assert read(make_table({0: [run]}, {run.run_id: served}, ["beta"], OBJECTIVE))[0]["seconds"] == ""


def test_both_files_are_written(table: Table, tmp_path: Path):
    folder = StudyFolder(tmp_path)
    table.write(folder)
    assert folder.table_csv.read_text() == table.csv()
    assert folder.table_md.read_text() == table.markdown()


@pytest.fixture
def beside() -> Table:
    """Two trials, of the first of which another model's accuracy is published, and a judge's score."""
    runs = {n: [dataclasses.replace(spec(n, 0, beta=beta), config={"method": {"name": "dpo", "beta": beta}})]
            for n, beta in enumerate((0.1, 0.5))}  # fmt: skip
    ended = {run.run_id: result(run, 0.6) for (run,) in runs.values()}
    numbers = Published([
        Number("eval/reward_accuracy", "0.718", "7B", "a paper, table 2", {"beta": "0.10"}),
        Number("a judge", "degenerate", "", "a paper, table 1", {"method": "dpo", "beta": "0.1"}),
    ])  # fmt: skip
    return make_table(runs, ended, ["beta"], OBJECTIVE, metrics=["eval/kl"], beside=numbers)


def test_published_numbers_have_columns_of_their_own_blank_where_there_are_none(beside: Table):
    first, second = read(beside)
    assert first["published reward_accuracy (7B)"] == "0.718"
    assert first["published a judge"] == "degenerate"
    assert second["published reward_accuracy (7B)"] == second["published a judge"] == ""


def test_one_row_alone_is_marked_as_the_best_for_programs_only():
    run = spec(0, 0, beta=0.1)
    table = make_table({0: [run]}, {run.run_id: result(run, 0.6)}, ["beta"], OBJECTIVE)
    assert read(table)[0]["best"] == "best"
    assert "**" not in table.markdown()
    assert not any(line.startswith("* best") for line in table.captions())


def test_what_all_runs_have_in_common_and_no_column_says_is_told_below():
    config = {"method": {"name": "ipo", "tau": 0.5}, "model": {"name": "tiny"}, "reference": {"kind": "self"}}
    runs = {
        number: [dataclasses.replace(spec(number, 0, **{"training.epochs": epochs}), config=config)]
        for number, epochs in enumerate((1, 2))
    }
    table = make_table(runs, {}, ["training.epochs"], OBJECTIVE)
    assert "all: method=ipo, beta=0.5, model=tiny, reference=self" in table.captions()


def test_published_numbers_enter_no_mean_and_no_best(beside: Table):
    assert [float(row["eval/reward_accuracy"]) for row in read(beside)] == [0.6, 0.6]
    assert [row["best"] for row in read(beside)] == ["best", "best"]


def test_a_published_number_stands_right_of_what_was_measured_in_bold_or_not(beside: Table):
    assert "| **0.600** | 0.718 |" in beside.markdown()
    assert "published, not measured here: a paper, table 2; a paper, table 1" in beside.markdown()


def test_metrics_that_are_asked_for_come_first(beside: Table):
    head = beside.markdown().splitlines()[0].split(" | ")
    assert head.index("kl") < head.index("reward acc")


def test_a_probability_that_has_collapsed_is_told(beside: Table):
    run = spec(0, 0, beta=1.0)
    ended = RunResult(run.run_id, "completed", run.params, {"eval/p_rejected": 2e-27, "eval/margin_nats": 0.001})
    table = make_table({0: [run]}, {run.run_id: ended}, ["beta"], OBJECTIVE, metrics=["eval/p_rejected"])
    assert "| 2.0e-27 |" in table.markdown()
    assert "| 0.00 |" in table.markdown()


@pytest.mark.parametrize(("kinds", "told"), [(("self", "self"), 0), (("self", "run"), 1)])
def test_measures_beside_different_references_are_told_to_be_so(kinds: tuple[str, str], told: int):
    runs = {
        number: [dataclasses.replace(spec(number, 0, beta=0.1), config={"reference": {"kind": kind}})]
        for number, kind in enumerate(kinds)
    }
    table = make_table(runs, {}, ["beta"], OBJECTIVE)
    assert sum("references differ (run, self)" in line for line in table.captions()) == told


def test_a_key_that_a_trial_has_not_is_told_apart_from_none():
    runs = {0: [spec(0, 0, method="dpo", beta=0.1)], 1: [spec(1, 0, method="sft")]}
    made = make_table(runs, {}, ["method", "beta"], OBJECTIVE)
    assert [line.split(" | ")[1:3] for line in made.markdown().splitlines()[2:4]] == [["dpo", "0.1"], ["sft", "-"]]
    assert [row["beta"] for row in read(made)] == ["0.1", ""]


def test_a_pruned_trial_is_a_row_with_what_it_had_come_to_and_never_the_best():
    runs = {0: [spec(0, 0, beta=0.1)], 1: [spec(1, 0, beta=0.5)], 2: [spec(2, 0, beta=1.0)]}
    ended = [
        result(runs[0][0], 0.6),
        dataclasses.replace(result(runs[1][0], 0.9), status="pruned"),
        result(runs[2][0], 0.5),
    ]
    table = make_table(runs, {one.run_id: one for one in ended}, ["beta"], OBJECTIVE)
    rows = read(table)
    assert [(row["state"], row["eval/reward_accuracy"], row["best"]) for row in rows] == [
        ("complete", "0.6", "best"), ("pruned", "0.9", ""), ("complete", "0.5", ""),
    ]  # fmt: skip


def test_a_trial_that_was_pruned_with_its_second_seed_shows_the_first():
    runs = {0: [spec(0, 0), spec(0, 1)], 1: [spec(1, 0), spec(1, 1)]}
    ended = [result(runs[0][0], 0.9), dataclasses.replace(result(runs[0][1], 0.2), status="pruned")]
    ended += [result(run, 0.6) for run in runs[1]]
    first, second = read(make_table(runs, {one.run_id: one for one in ended}, [], OBJECTIVE))
    assert (first["state"], first["eval/reward_accuracy"], first["best"]) == ("1 complete, 1 pruned", "0.9", "")
    assert second["best"] == "best"


def test_under_several_objectives_every_trial_that_no_other_beats_is_marked_in_each():
    both = Objective("eval/reward_accuracy", "maximize", (Objective("eval/margin_nats", "minimize"),))
    runs = {number: [spec(number, 0)] for number in range(3)}
    ended = [result(runs[0][0], 0.9, 3.0), result(runs[1][0], 0.6, 1.0), result(runs[2][0], 0.5, 2.0)]
    table = make_table(runs, {one.run_id: one for one in ended}, [], both)
    assert [row["best"] for row in read(table)] == ["best", "best", ""]
    rows = table.markdown().splitlines()[2:5]
    assert [row.count("**") // 2 for row in rows] == [2, 2, 0]
    assert "largest eval/reward_accuracy against smallest eval/margin_nats" in table.markdown()
