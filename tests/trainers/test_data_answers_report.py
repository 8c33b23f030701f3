"""What the report of single answers counts, by hand on a few of them, and when it warns."""

import json
from typing import Any

import pytest

from tests.fakes.tiny_runs import run_config
from trainers.config_check import check
from trainers.data import Answer, Pair
from trainers.data_answers_report import AnswersReport, describe_answers, unbalanced
from trainers.data_report import Lengths

GOOD, BAD = Answer("p", "a", desirable=True), Answer("p", "a", desirable=False)
OTHER = Answer("q", "a", desirable=True)


def test_the_kinds_are_counted_apart():
    report = describe_answers([GOOD, OTHER, BAD], [Pair("r", "a", "b")])
    assert (report.desirable, report.undesirable, report.heldout.heldout_pairs) == (2, 1, 1)
    assert report.summary() == "2 desirable, 1 undesirable answer, 1 pair held out"


def test_the_same_answer_labelled_both_ways_is_no_duplicate():
    report = describe_answers([GOOD, BAD, OTHER], [])
    assert (report.duplicates, report.both_labels) == (0, 2)
    assert "2 of 3 answers are labelled both ways" in report.warnings()[0]


def test_an_answer_that_stands_there_three_times_has_two_duplicates():
    report = describe_answers([GOOD, GOOD, GOOD, OTHER], [])
    assert (report.duplicates, report.both_labels) == (2, 0)
    assert "2 of 4 answers repeat" in report.warnings()[0]


def test_prompts_of_held_out_pairs_are_counted_once():
    report = describe_answers([GOOD, BAD, OTHER], [Pair("p", "c", "d"), Pair("p", "e", "f")])
    assert report.shared_prompts == 1
    assert "1 prompts stand in both" in " ".join(report.warnings())


def test_what_is_wrong_with_held_out_pairs_is_told_as_theirs():
    (warning,) = describe_answers([GOOD], [Pair("r", "c", "d"), Pair("r", "d", "c")]).warnings()
    assert warning.startswith("held out: 2 of 2 pairs are labelled both ways")


def test_cut_answers_and_cut_pairs_are_told_apart():
    report = describe_answers([GOOD], [Pair("r", "c", "d")])
    answers, pairs = report.with_lengths(Lengths(1, 1, 0, 8, 7.5), heldout=Lengths(1, 0, 1, 8, 7.5)).warnings()
    assert answers.startswith("1 of 1 answers are longer than training.max_length: 1 lose the end of an answer")
    assert pairs.startswith("held out: 1 of 1 pairs are longer than training.max_length: 1 the beginning of its prompt")


def test_a_report_is_json():
    report = describe_answers([GOOD], [Pair("r", "c", "d")])
    assert json.loads(json.dumps(report.as_dict()))["heldout"]["heldout_pairs"] == 1


def told(good: int, bad: int, **weights: Any) -> list[str]:
    report = describe_answers([GOOD] * good + [BAD] * bad, [])
    return unbalanced(check(run_config("kto", **{f"method__{key}": value for key, value in weights.items()})), report)


def test_three_good_for_one_bad_answer_names_the_weights_that_make_up_for_it():
    """300 x 1 / (100 x u) is 1 for u = 3, and 4/3 for u = 9/4."""
    (warning,) = told(300, 100)
    assert "300 desirable answers against 100 undesirable ones, weighed 1 and 1, count 3 to 1" in warning
    assert "method.undesirable_weight=2.25 to 3 makes up for it" in warning


def test_too_few_good_answers_ask_for_a_larger_weight_of_those():
    """100 x d / (300 x 2) is 1 for d = 6, and 4/3 for d = 8."""
    (warning,) = told(100, 300, undesirable_weight=2.0)
    assert "method.desirable_weight=6 to 8 makes up for it" in warning


@pytest.mark.parametrize(
    ("good", "bad", "weights"),
    [
        (300, 100, {"undesirable_weight": 3.0}),
        (300, 100, {"undesirable_weight": 2.25}),
        (300, 100, {"desirable_weight": 0.33}),
        (100, 120, {}),
        (100, 300, {"undesirable_weight": 0.0}),
    ],
    ids=["made up for", "as far as advised", "in few digits", "nearly balanced", "one kind left out on purpose"],
)
def test_what_is_balanced_or_meant_is_not_told(good, bad, weights):
    assert told(good, bad, **weights) == []


def test_methods_without_weights_are_not_told():
    report: AnswersReport = describe_answers([GOOD] * 300 + [BAD], [])
    assert unbalanced(check(run_config("sft")), report) == []
