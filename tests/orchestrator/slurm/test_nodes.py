"""Which nodes are blamed for what fails on them."""

import pytest

from orchestrator.launchers.slurm.nodes import NodeWatch, hardware
from trainers.spec import Cause, RunResult, Status


def result(run: int, cause: Cause | None = None, status: Status = "failed") -> RunResult:
    return RunResult(f"r{run}", status, cause=cause, error="it broke")


def good(run: int) -> RunResult:
    return result(run, None, "completed")


def told(watch: NodeWatch, node: str, *results: RunResult) -> list[bool]:
    return [watch.note(node, one) for one in results]


@pytest.mark.parametrize(
    "error",
    [
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "RuntimeError: CUDA error: unspecified launch failure",
        "RuntimeError: No CUDA GPUs are available: no CUDA-capable device is detected",
        "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment",
        "DistBackendError: NCCL error in: ProcessGroupNCCL.cpp",
        "OSError: [Errno 5] Input/output error: '/data/x'",
        "OSError: [Errno 116] Stale file handle",
        "killed by signal 7 (Bus error)",
    ],
)
def test_what_broken_machines_say_is_the_machines(error: str) -> None:
    assert hardware(RunResult("r", "failed", error=error))


@pytest.mark.parametrize(
    "error",
    [
        "ValueError: no such thing",
        "RuntimeError: CUDA error: device-side assert triggered",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "AcceleratorError: CUDA error: out of memory",
        None,
    ],
)
def test_what_runs_do_wrong_is_their_own(error: str | None) -> None:
    assert not hardware(RunResult("r", "failed", error=error))


def test_a_run_that_completed_does_not_blame_its_node() -> None:
    assert not hardware(RunResult("r", "completed", error="NCCL error, and all was well"))


@pytest.mark.parametrize("cause", ["node_failure", "killed", "lost"])
def test_a_node_on_which_runs_die_in_a_row_is_bad(cause: Cause) -> None:
    """Where others do well meanwhile; it is told once."""
    watch = NodeWatch(3)
    assert told(watch, "n1", result(0, cause)) == [False]
    told(watch, "n2", good(9))
    assert told(watch, "n1", *(result(run, cause) for run in (1, 2, 3, 4))) == [False, True, False, False]
    assert watch.bad == {"n1"}


def test_errors_in_a_row_blame_a_node_where_others_do_well_elsewhere_meanwhile() -> None:
    watch = NodeWatch(3)
    assert told(watch, "n1", result(0, "error")) == [False]
    told(watch, "n2", good(10))
    assert told(watch, "n1", *(result(run, "error") for run in (1, 2))) == [False, True]


def test_errors_alone_blame_no_node_where_nothing_does_well() -> None:
    """A mistake in all runs of a sweep."""
    watch = NodeWatch(3)
    for node in ("n1", "n2"):
        assert not any(told(watch, node, *(result(run, "error") for run in range(9))))


def test_a_run_that_completes_there_ends_the_row() -> None:
    watch = NodeWatch(3)
    for run in range(10):
        assert not any(told(watch, "n1", result(2 * run, "lost"), result(2 * run + 1, "lost"), good(100 + run)))


def test_one_run_that_fails_again_and_again_is_one_run() -> None:
    watch = NodeWatch(2)
    assert not any(told(watch, "n1", *(result(7, "killed") for _ in range(9))))


@pytest.mark.parametrize("cause", ["time_limit", "preempted", "out_of_memory", "disk_full", "busy"])
def test_ends_that_say_nothing_of_the_node_are_not_counted(cause: Cause) -> None:
    watch = NodeWatch(1)
    assert not any(told(watch, "n1", *(result(run, cause) for run in range(3))))


def test_cancelled_runs_say_nothing_of_the_node() -> None:
    assert not any(told(NodeWatch(1), "n1", result(1, "node_failure", "cancelled"), result(2, None, "cancelled")))


def test_no_node_is_blamed_where_that_is_not_wanted_or_none_is_known() -> None:
    assert not any(told(NodeWatch(None), "n1", *(result(run, "lost") for run in range(9))))
    assert not any(told(NodeWatch(1), "", *(result(run, "lost") for run in range(9))))


def test_runs_that_err_on_every_node_do_not_make_every_node_bad() -> None:
    """A part of a sweep that fails by its values, as with too high a learning rate, must leave nodes for the rest."""
    watch = NodeWatch(3)
    nodes = ("n1", "n2", "n3")
    for run, node in enumerate(nodes):
        told(watch, node, good(run))
    for number, node in enumerate(nodes):
        told(watch, node, *(result(100 + 10 * number + run, "error") for run in range(3)))
    assert watch.bad < set(nodes)
