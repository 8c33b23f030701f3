"""What becomes of jobs whose controller is gone."""

from typing import Any

from orchestrator.launchers.base import Job
from orchestrator.launchers.slurm import batches
from tests.fakes.cluster import FakeCluster, allocation, polls, resources, wait
from trainers.spec import RunResult, RunSpec


def left(cluster: FakeCluster, count: int = 1, **changes: Any) -> tuple[list[RunSpec], list[Job]]:
    """Runs, and their jobs as a controller knew them that is gone now."""
    specs = cluster.specs(count)
    return specs, cluster.launcher(**changes).submit(specs)


def test_jobs_in_the_queue_are_taken_over(cluster: FakeCluster) -> None:
    specs, _ = left(cluster, 3)
    launcher = cluster.launcher()
    jobs = launcher.adopt(specs)
    assert [job.id for job in jobs] == ["17_0", "17_1", "17_2"]
    polls(launcher)
    assert jobs[0].state == "pending (Priority)"
    assert launcher.free == 497


def test_a_run_that_ended_meanwhile_is_heard_of(cluster: FakeCluster) -> None:
    specs, (before,) = left(cluster)
    cluster.run(before)
    result = cluster.end(before)
    launcher = cluster.launcher()
    (job,) = launcher.adopt(specs)
    wait(launcher, 5)
    assert job.result() == result


def test_a_job_that_died_meanwhile_is_told_of(cluster: FakeCluster) -> None:
    specs, (before,) = left(cluster)
    cluster.run(before)
    cluster.say(before, "NODE_FAIL", "node1")
    launcher = cluster.launcher()
    (job,) = launcher.adopt(specs)
    wait(launcher, 120)
    assert job.result().cause == "node_failure"


def test_a_batch_whose_id_was_never_written_down_is_found_by_its_name(cluster: FakeCluster) -> None:
    """Its controller died between sbatch and the note."""
    specs, _ = left(cluster, 2)
    (batch,) = batches.open_batches(cluster.root)
    (batch.folder / "submitted.json").unlink()
    jobs = cluster.launcher().adopt(specs)
    assert [job.id for job in jobs] == ["17_0", "17_1"]
    assert batch.job_id() == "17"


def test_a_batch_that_never_reached_slurm_is_left_to_be_submitted_anew(cluster: FakeCluster) -> None:
    """Its controller died before sbatch. It is waited for while sbatch may still be under way, a minute."""
    specs = cluster.specs(1)
    batches.create(cluster.root, "study", [[specs[0].run_id]], {}, allocation(resources(specs[0])))
    began = cluster.clock()
    assert cluster.launcher().adopt(specs) == []
    assert 55 <= cluster.clock() - began <= 65
    assert list(batches.open_batches(cluster.root)) == []


def test_a_batch_that_could_not_be_looked_for_at_first_is_left_to_be_submitted_anew(cluster: FakeCluster) -> None:
    """Slurm was silent when the controller began."""
    specs = cluster.specs(1)
    batches.create(cluster.root, "study", [[specs[0].run_id]], {}, allocation(resources(specs[0])))
    cluster.scheduler.queue_silent = True
    launcher = cluster.launcher()
    (job,) = launcher.adopt(specs)
    wait(launcher, 120)
    assert not job.done()
    cluster.scheduler.queue_silent = False
    wait(launcher, 120)
    assert (job.result().status, job.result().error) == ("cancelled", "never submitted")


def test_a_silent_scheduler_is_not_asked_for_a_batch_at_every_turn(cluster: FakeCluster) -> None:
    specs = cluster.specs(1)
    batches.create(cluster.root, "study", [[specs[0].run_id]], {}, allocation(resources(specs[0])))
    cluster.scheduler.queue_silent = True
    launcher = cluster.launcher()
    launcher.adopt(specs)
    wait(launcher, 600)
    assert cluster.scheduler.calls["find"] <= 25


def test_of_a_run_that_was_tried_again_the_newest_job_counts(cluster: FakeCluster) -> None:
    """The older batch is still open, because of another run."""
    specs = cluster.specs(2)
    launcher = cluster.launcher()
    jobs = launcher.submit(specs)
    cluster.run(jobs[0])
    cluster.say(jobs[0], "NODE_FAIL", "node1")
    polls(launcher, 2)
    launcher.submit(specs[:1])
    adopted = cluster.launcher().adopt(specs)
    assert {job.spec.run_id: job.id for job in adopted} == {specs[0].run_id: "18_0", specs[1].run_id: "17_1"}


def test_batches_that_are_over_are_not_taken_up_again(cluster: FakeCluster) -> None:
    specs = cluster.specs(1)
    launcher = cluster.launcher()
    (job,) = launcher.submit(specs)
    cluster.run(job)
    cluster.end(job)
    polls(launcher)
    assert cluster.launcher().adopt(specs) == []


def test_runs_that_nobody_asks_for_are_not_taken_up(cluster: FakeCluster) -> None:
    left(cluster, 2)
    assert cluster.launcher().adopt(cluster.specs(1, first=10)) == []


def test_jobs_in_the_queue_whose_runs_nobody_asks_for_are_left_alone(cluster: FakeCluster) -> None:
    """Another command on the same study may have asked for them."""
    specs, _ = left(cluster, 2)
    launcher = cluster.launcher()
    launcher.adopt(specs[:1])
    wait(launcher, 120)
    launcher.close()
    assert cluster.scheduler.cancelled == []


def test_a_job_that_obeyed_a_stop_before_its_run_began_is_cancelled(cluster: FakeCluster) -> None:
    """`cancel` without a controller: the job began, saw the stop, and ended 1, which Slurm calls FAILED."""
    specs, (before,) = left(cluster)
    RunResult(specs[0].run_id, "cancelled", attempts=0, error="cancelled before it had begun").write(specs[0].folder)
    cluster.note(before, "over", [before])
    cluster.say(before, "FAILED", "node1")
    launcher = cluster.launcher()
    (job,) = launcher.adopt(specs)
    wait(launcher, 120)
    assert (job.result().status, job.result().cause) == ("cancelled", None)
