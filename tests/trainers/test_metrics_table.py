"""The table of metrics: it knows every metric that a run may have."""

import pytest

from trainers.metric_names import EVAL_METRICS, SAMPLE_METRICS
from trainers.metrics_table import METRICS, known


@pytest.mark.parametrize("name", [*EVAL_METRICS, *SAMPLE_METRICS])
def test_each_metric_that_is_measured_has_a_row(name: str):
    assert known(name) is not None


def test_a_standard_error_is_no_better_for_being_large():
    error = known("eval/win_rate_se")
    assert error is not None
    assert error.better is None
    assert error.depends == METRICS["eval/win_rate"].depends


def test_what_stands_in_for_a_metric_is_itself_in_the_table():
    assert {name for metric in METRICS.values() for name in metric.instead} <= METRICS.keys()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("eval/reward_accuracy.medium", "eval/reward_accuracy"),
        ("train/rewards/margins", "train/rewards/"),
        ("train/rewards/accuracies", "train/rewards/accuracies"),
        ("train/loss", "loss"),
        ("train/loss_mean", "loss"),
        ("train/eval_loss", "loss"),
        ("train/logps/chosen", "train/"),
    ],
)
def test_families_and_buckets_are_found_by_name(name: str, row: str):
    found = known(name)
    assert found is not None
    assert found.name == row


def test_a_metric_of_ones_own_is_unknown():
    assert known("eval/of_my_own") is None
