"""Which runs are tried again, how often, and with what changed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ledger, retries
from orchestrator.retries import MEMORY_TIMES, NO_RETRIES, Retry, RetryLimits, adjusted, decide, halved
from tests.contracts.small_runs import spec_in
from trainers.spec import Cause, RunResult, RunSpec

LIMITS = RetryLimits(node_failure=5, preempted=100, time_limit=100, out_of_memory=3, disk_full=5, killed=3, lost=3)
RETRIED: tuple[Cause, ...] = ("node_failure", "preempted", "time_limit", "out_of_memory", "disk_full", "killed", "lost")
CONFIG = {"training": {"batch_size": 8, "gradient_accumulation": 1}, "evaluation": {"batch_size": 16}}


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return dataclasses.replace(spec_in(tmp_path), config=CONFIG)


def attempt(
    spec: RunSpec, number: int, cause: Cause | None, status: str = "failed", steps: int = 0, error: str | None = None
) -> RunResult:
    """An attempt that has ended, in the ledger as well."""
    result = RunResult(spec.run_id, status, spec.params, {}, steps, attempts=number, error=error, cause=cause)  # type: ignore[arg-type]
    ledger.note_began(spec.folder, number)
    ledger.note_ended(spec.folder, result)
    return result


@pytest.mark.parametrize("cause", RETRIED)
def test_a_run_is_tried_again_as_often_as_its_cause_may_be(spec: RunSpec, cause: Cause) -> None:
    limits = LIMITS.model_copy(update={cause: 2})
    told = [decide(spec, attempt(spec, number, cause, steps=number), limits) for number in (1, 2, 3)]
    assert [retry is not None for retry in told] == [True, True, False]


def test_an_error_of_the_runs_own_stands(spec: RunSpec) -> None:
    assert decide(spec, attempt(spec, 1, "error"), LIMITS) is None


@pytest.mark.parametrize("status", ["completed", "pruned"])
def test_a_run_that_is_done_is_not_tried_again(spec: RunSpec, status: str) -> None:
    assert decide(spec, attempt(spec, 1, "lost", status), LIMITS) is None


def test_a_run_that_a_person_cancelled_is_not_tried_again(spec: RunSpec) -> None:
    assert decide(spec, attempt(spec, 1, None, "cancelled"), LIMITS) is None


def test_causes_are_counted_apart(spec: RunSpec) -> None:
    for number, cause in enumerate(("killed", "killed", "killed"), 1):
        attempt(spec, number, cause)  # type: ignore[arg-type]
    assert decide(spec, attempt(spec, 4, "lost"), LIMITS) == Retry()


def test_where_nothing_may_be_retried_nothing_is(spec: RunSpec) -> None:
    for number, cause in enumerate(RETRIED, 1):
        assert decide(spec, attempt(spec, number, cause), NO_RETRIES) is None


def test_a_person_who_asks_anew_gives_all_its_retries_back(spec: RunSpec) -> None:
    limits = LIMITS.model_copy(update={"killed": 1})
    attempt(spec, 1, "killed")
    assert decide(spec, attempt(spec, 2, "killed"), limits) is None
    ledger.note_anew(spec.folder)
    assert decide(spec, attempt(spec, 3, "killed"), limits) == Retry()


def test_a_folder_that_another_process_holds_is_waited_for(spec: RunSpec) -> None:
    """It says nothing of the run, and no attempt was made."""
    result = RunResult(spec.run_id, "failed", cause="busy")
    assert decide(spec, result, NO_RETRIES) == Retry()


def test_a_ledger_that_cannot_be_written_does_not_make_retries_endless(spec: RunSpec) -> None:
    """As on a full disk, which is a cause to try again itself."""
    spec.folder.attempts.mkdir()
    told = [decide(spec, attempt(spec, number, "disk_full"), LIMITS) for number in range(1, 21)]
    assert told[-1] is None


def test_a_run_that_gets_on_between_time_limits_goes_on(spec: RunSpec) -> None:
    told = [decide(spec, attempt(spec, n, "time_limit", "cancelled", steps=10 * n), LIMITS) for n in range(1, 8)]
    assert told == [Retry()] * 7


def test_a_run_that_time_limits_end_at_the_same_step_is_given_up(spec: RunSpec) -> None:
    told = [decide(spec, attempt(spec, n, "time_limit", "cancelled", steps=7), LIMITS) for n in (1, 2, 3)]
    assert told == [Retry(), Retry(), None]


def test_other_ends_in_between_do_not_make_a_run_stuck(spec: RunSpec) -> None:
    causes: list[Cause] = ["time_limit", "preempted", "time_limit", "time_limit"]
    told = [decide(spec, attempt(spec, n, cause, "cancelled"), LIMITS) for n, cause in enumerate(causes, 1)]
    assert told == [Retry()] * 4


def test_a_run_out_of_memory_halves_its_micro_batch(spec: RunSpec) -> None:
    retry = decide(spec, attempt(spec, 1, "out_of_memory"), LIMITS)
    assert retry == Retry(
        {"training.batch_size": 4, "training.gradient_accumulation": 2, "evaluation.batch_size": 8}, here=True
    )


def test_each_retry_halves_what_the_last_one_left(spec: RunSpec) -> None:
    sizes = []
    for number in (1, 2, 3):
        retry = decide(spec, attempt(spec, number, "out_of_memory"), LIMITS)
        assert retry is not None
        retries.adjust(spec.folder, retry)
        training = adjusted(spec).config["training"]
        sizes.append((training["batch_size"], training["gradient_accumulation"]))
    assert sizes == [(4, 2), (2, 4), (1, 8)]


def test_a_micro_batch_of_one_example_cannot_be_halved(spec: RunSpec) -> None:
    spec = dataclasses.replace(spec, config={"training": {"batch_size": 1, "gradient_accumulation": 8}})
    assert decide(spec, attempt(spec, 1, "out_of_memory"), LIMITS) is None


def test_a_machines_full_memory_asks_for_more_of_it_where_that_is_wanted(spec: RunSpec) -> None:
    """Which takes another job."""
    result = attempt(spec, 1, "out_of_memory", error="its job 17_3 ended as OUT_OF_MEMORY on node1")
    assert decide(spec, result, LIMITS, more_memory=1.5) == Retry({MEMORY_TIMES: 1.5}, here=False)


def test_a_gpus_full_memory_halves_the_micro_batch_all_the_same(spec: RunSpec) -> None:
    result = attempt(spec, 1, "out_of_memory", error="OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
    retry = decide(spec, result, LIMITS, more_memory=1.5)
    assert retry is not None
    assert retry.adjustments["training.batch_size"] == 4


@given(batch=st.integers(1, 512), accumulation=st.integers(1, 64))
def test_halving_keeps_the_pairs_of_each_step(batch: int, accumulation: int) -> None:
    changes = halved({"training": {"batch_size": batch, "gradient_accumulation": accumulation}})
    if batch == 1:
        assert changes == {}
    else:
        smaller = changes["training.batch_size"]
        assert 1 <= smaller <= batch / 2
        assert smaller * changes["training.gradient_accumulation"] == batch * accumulation


def test_a_batch_of_six_is_halved_and_then_thirded() -> None:
    assert halved({"training": {"batch_size": 6, "gradient_accumulation": 1}})["training.batch_size"] == 3
    assert halved({"training": {"batch_size": 3, "gradient_accumulation": 2}})["training.batch_size"] == 1


@pytest.mark.parametrize("written", ["", "[]", "{", '{"other.key": 1, "training.unknown": 2, "training": 3}'])
def test_adjustments_that_fit_nothing_change_nothing(spec: RunSpec, written: str) -> None:
    spec.folder.adjusted.write_text(written)
    assert adjusted(spec).config == CONFIG


def test_adjusting_leaves_the_spec_as_it_was(spec: RunSpec) -> None:
    before: Mapping[str, Any] = {key: dict(value) for key, value in CONFIG.items()}
    retries.adjust(spec.folder, Retry({"training.batch_size": 4}))
    assert adjusted(spec).config["training"]["batch_size"] == 4
    assert spec.config == before


def test_a_retry_without_adjustments_writes_nothing(spec: RunSpec) -> None:
    retries.adjust(spec.folder, Retry())
    assert not spec.folder.adjusted.exists()


def test_each_cause_but_the_runs_own_has_a_limit() -> None:
    assert set(RetryLimits.model_fields) == set(get_args(Cause)) - {"error", "busy"}
