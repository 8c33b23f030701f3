"""What a cluster would refuse is told before anything is submitted; what cannot be asked is a note."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from orchestrator.launchers.slurm.check import Findings, check, read_limit, read_sinfo
from tests.orchestrator.slurm.programs import Programs
from tests.orchestrator.slurm.test_make import settings, spec_that_asks

SINFO = "main*|up|1-00:00:00|2|4|8000|gpu:a100:2(S:0)\nbig|up|infinite|3|64|256000|(null)\nold|down|infinite|1|4|800|\n"
TRAINING = {"training": {"batch_size": 4, "gradient_accumulation": 1}}


@pytest.fixture
def cluster(programs: Programs) -> Programs:
    """A cluster that answers."""
    programs.tell("sbatch")
    programs.tell("sinfo", SINFO)
    programs.tell("sacctmgr", "lab|normal,long\nother|normal\n")
    return programs


def found(folder: Path, asks: dict[str, Any] | None = None, **changes: Any) -> Findings:
    spec = dataclasses.replace(spec_that_asks(folder, **(asks or {})), config=TRAINING)
    return check(settings(**changes), folder / "out", [spec])


def test_what_a_partition_has_is_no_fault(cluster: Programs, tmp_path: Path) -> None:
    assert found(tmp_path, gpus_per_run=2, cpus_per_run=4, mem_gb=7.5, time_min=1440.0) == Findings()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"partition": "nope"}, "no such partition (there are main, big, old)"),
        ({"partition": "old"}, "partition old is not up"),
        ({"time_min": 1441.0}, "has a limit of 1440 minutes"),
        ({"cpus_per_run": 5}, "a job needs 5, and no node of partition main has more than 4"),
        ({"mem_gb": 8.0}, "a job needs 8 GiB, and no node of partition main has more than 7.8 GiB"),
        ({"partition": "big", "gpus_per_run": 1}, "a job needs 1, and no node of partition big has more than 0"),
        ({"nodes": 3}, "launcher.nodes=3: partition main has 2"),
        ({"account": "nobody"}, "you have no such account (you have lab, other)"),
        ({"qos": "fast"}, "you may not use it (you may use normal, long)"),
    ],
)
def test_what_no_node_or_account_allows_is_a_fault(
    cluster: Programs, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    faults = found(tmp_path, **changes).faults
    assert any(told in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"runs_at_a_time": 3}, "a job has launcher.runs_per_job=1 runs in all"),
        ({"nodes": 2, "runs_per_job": 2}, "has its job to itself"),
        ({"controller": "slurm", "detach": True}, "no controller that could become a job"),
        ({"cluster": "local", "controller": "slurm"}, "no queue for a controller"),
        ({"cluster": "local", "nodes": 2}, "this machine alone"),
        ({"more_memory": 1.5}, "give launcher.mem_gb too"),
        ({"extra": ["--array=0-9"]}, "the launcher's own"),
        ({"extra": ["-J mine"]}, "the launcher's own"),
        ({"ranks_per_node": 3}, "cannot be shared evenly by the 3 ranks"),
    ],
)
def test_settings_that_clash_are_faults_on_any_cluster(
    tmp_path: Path, programs: Programs, changes: dict[str, Any], told: str
) -> None:
    faults = found(tmp_path, **changes).faults
    assert any(told in fault for fault in faults), faults


def test_a_models_own_needs_are_checked_as_well(cluster: Programs, tmp_path: Path) -> None:
    faults = found(tmp_path, {"nodes": 2, "gpus": 4}, runs_per_job=2).faults
    assert any("has its job to itself" in fault for fault in faults)
    assert any("a job needs 4" in fault for fault in faults)


def test_without_sbatch_there_is_a_note(programs: Programs, tmp_path: Path) -> None:
    """`plan` works on a laptop too."""
    told = found(tmp_path)
    assert not told.faults
    assert "use a login node" in told.notes[0]


def test_a_silent_cluster_is_a_note(cluster: Programs, tmp_path: Path) -> None:
    cluster.tell("sinfo", error="slurm_load_partitions: Unable to contact slurm controller", code=1)
    told = found(tmp_path, partition="nope")
    assert not told.faults
    assert "could not be checked" in told.notes[0]


def test_accounting_that_does_not_know_the_user_is_a_note(cluster: Programs, tmp_path: Path) -> None:
    cluster.tell("sacctmgr", "")
    told = found(tmp_path, account="nobody")
    assert not told.faults
    assert "does not list you" in told.notes[0]


@pytest.mark.parametrize(
    ("text", "minutes"), [("1-12:30:00", 2190.0), ("2:00:00", 120.0), ("1:30", 1.5), ("infinite", None), ("n/a", None)]
)
def test_limits_are_read_as_slurm_writes_them(text: str, minutes: float | None) -> None:
    assert read_limit(text) == minutes


def test_nodes_of_several_kinds_are_one_partition() -> None:
    made = read_sinfo("a*|up|infinite|2|4|8000|(null)\na*|up|infinite|1|64+|256000+|gpu:8\nrubbish\n")
    assert list(made) == ["a"]
    assert (made["a"].nodes, made["a"].gpus) == (3, 8)
    assert made["a"].cpus >= 64
