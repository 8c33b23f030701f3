"""Runs of several processes that train together: on one node, and across two; they stop together and go on together."""

import subprocess

import pytest

from tests.slurm.conftest import OnCluster, until

# Enough steps to be signalled in the middle.
SMALL = [
    "data.max_train_samples=64",
    "data.max_eval_samples=32",
    "training.logging_steps=1",
    "launcher.cpus_per_run=2",
]


def sweep(on_cluster: OnCluster, steps: int, *words: str) -> subprocess.Popen[str]:
    return on_cluster.sweep(*SMALL, *words, steps=steps, target="trainers.train:train")


def test_two_processes_of_a_run_do_what_one_does(on_cluster: OnCluster):
    code, text = on_cluster.finish(sweep(on_cluster, 4, "launcher.ranks_per_node=2", "-m", "beta=0.1,0.5"))
    assert code == 0, text
    together = {run_id: result.metrics for run_id, result in on_cluster.results().items()}
    assert on_cluster.completed().total() == 2
    on_cluster.out, on_cluster.study = on_cluster.out.parent / "alone", on_cluster.out.parent / "alone" / "s"
    code, text = on_cluster.finish(sweep(on_cluster, 4, "-m", "beta=0.1,0.5"))
    assert code == 0, text
    for run_id, result in on_cluster.results().items():
        assert result.metrics["eval/margin_nats"] == pytest.approx(together[run_id]["eval/margin_nats"], abs=1e-3)


def test_processes_on_two_nodes_are_signalled_and_go_on(on_cluster: OnCluster):
    """All save one checkpoint at the same step, the job is queued again, and the run completes in its next life."""
    process = sweep(on_cluster, 60, "launcher.nodes=2", "launcher.ranks_per_node=1")

    def begun() -> bool:
        return any(path.read_text().count("\n") > 4 for path in on_cluster.study.glob("runs/*/metrics.jsonl"))

    until(begun, 120, "no run is under way")
    (spec,) = on_cluster.specs()
    on_cluster.cluster.run("scancel", "--signal=USR2", on_cluster.job_of(spec))
    code, text = on_cluster.finish(process)
    assert code == 0, text
    assert on_cluster.completed().total() == 1
    assert on_cluster.causes(spec.run_id) == ["preempted", None], on_cluster.tell()
    assert on_cluster.results()[spec.run_id].steps == 60
