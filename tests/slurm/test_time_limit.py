"""Runs that are longer than their jobs may be: they go on in the next job, from where they were."""

from tests.slurm.conftest import OnCluster


def test_a_limit_of_a_minute_on_a_run_of_three(on_cluster: OnCluster):
    """Signal, flag, checkpoint, queue: with the shortest limit that Slurm knows."""
    process = on_cluster.sweep("launcher.time_min=1", "-m", "beta=1,2", steps=1800)
    on_cluster.complete(process, 2, timeout_s=500)
    for spec in on_cluster.specs():
        causes = on_cluster.causes(spec.run_id)
        assert len(causes) > 2
        assert set(causes[:-1]) == {"time_limit"}, on_cluster.tell()
    assert len(on_cluster.job_ids()) == 1


def test_a_run_that_never_gets_anywhere_is_given_up(on_cluster: OnCluster):
    """A limit of retries ends what would go on for ever."""
    words = ["launcher.time_min=1", "launcher.retries.time_limit=1", "-m", "beta=1,2"]
    code, text = on_cluster.finish(on_cluster.sweep(*words, steps=18000), timeout_s=400)
    assert code == 1, text
    assert "which is the limit of launcher.retries" in text
    for spec in on_cluster.specs():
        assert on_cluster.causes(spec.run_id) == ["time_limit", "time_limit"]
