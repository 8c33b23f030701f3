"""What a run may ask of a cluster."""

from typing import Any

import pytest

from orchestrator.resources import first, run_resources


def test_what_is_not_asked_for_is_left_out() -> None:
    assert run_resources({"resources": {"gpus": 1, "mem_gb": 64, "nodes": None}}) == ({"gpus": 1, "mem_gb": 64.0}, [])


@pytest.mark.parametrize("config", [{}, {"resources": None}, {"resources": {}}])
def test_a_run_may_ask_for_nothing(config: dict[str, Any]) -> None:
    assert run_resources(config) == ({}, [])


def test_no_gpu_is_an_answer() -> None:
    assert run_resources({"resources": {"gpus": 0}}) == ({"gpus": 0}, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gpus", -1),
        ("gpus", 0.5),
        ("nodes", 0),
        ("cpus", 0),
        ("mem_gb", 0),
        ("mem_gb", float("inf")),
        ("time_min", float("nan")),
        ("time_min", -5),
        ("partition", "a b"),
        ("partition", "a\n#SBATCH --wrap=x"),
        ("constraint", "'a'"),
        ("gpu", 1),
    ],
)
def test_what_no_cluster_has_is_a_fault_that_names_its_key(key: str, value: Any) -> None:
    found, faults = run_resources({"resources": {key: value}})
    assert found == {}
    assert [fault.split(":")[0] for fault in faults] == [f"resources.{key}"]


def test_all_faults_are_told_together() -> None:
    _, faults = run_resources({"resources": {"gpus": -1, "cpus": 0}})
    assert len(faults) == 2


def test_nothing_is_a_value_that_comes_first() -> None:
    """0 GPUs from a launcher are not made up for by the run's."""
    assert first(None, 0, 4) == 0
    assert first(None, None) is None
