"""What the report of a set counts, by hand on a few pairs, and when it warns."""

import json

from trainers.data import Pair
from trainers.data_report import Lengths, describe


def test_duplicates_and_pairs_labelled_both_ways_are_counted():
    train = [Pair("p", "a", "b"), Pair("p", "b", "a"), Pair("p", "a", "b"), Pair("q", "a", "b")]
    report = describe(train, [])
    assert (report.duplicates, report.both_ways) == (1, 3)


def test_prompts_in_both_halves_are_counted_once():
    report = describe([Pair("p", "a", "b"), Pair("q", "a", "b")], [Pair("p", "c", "d"), Pair("p", "e", "f")])
    assert report.shared_prompts == 1


def test_length_bias_leaves_out_pairs_of_equal_length():
    report = describe([Pair("p", "aaa", "b"), Pair("p", "aa", "bb"), Pair("p", "a", "bb")], [])
    assert (report.chosen_longer, report.chosen_length) == (0.5, 2.0)


def test_length_bias_is_told_only_with_enough_pairs():
    few, many = ([Pair(f"p{n}", "longer", "short") for n in range(count)] for count in (10, 60))
    assert not describe(few, []).warnings()
    assert "longer one in 100% of 60 pairs" in describe(many, []).warnings()[0]


def test_shorter_chosen_answers_are_told_too():
    assert (
        "the rejected answer is the longer one"
        in describe([Pair(f"p{n}", "a", "bb") for n in range(60)], []).warnings()[0]
    )


def test_a_report_is_json():
    report = describe([Pair("p", "a", "b")], []).with_lengths(Lengths(1, 1, 0, 8, 7.5))
    assert json.loads(json.dumps(report.as_dict()))["truncated"] == 1
    assert "training.max_length" in report.warnings()[0]


def test_what_max_length_cuts_is_told_by_what_is_lost():
    """The end of an answer and the beginning of a prompt spoil different things."""
    both = describe([Pair(f"p{n}", "a", "b") for n in range(9)], []).with_lengths(Lengths(5, 4, 2, 8, 7.5))
    (told,) = both.warnings()
    assert (
        "5 of 9 pairs are longer than training.max_length: 4 lose the end of an answer, 2 the beginning of their"
        in told
    )
    (prompt_alone,) = describe([Pair("p", "a", "b")], []).with_lengths(Lengths(1, 0, 1, 8, 7.5)).warnings()
    assert "1 of 1 pairs are longer than training.max_length: 1 the beginning of its prompt" in prompt_alone
