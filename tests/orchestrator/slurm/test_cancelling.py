"""How runs and their jobs are asked to end, and no others with them."""

from orchestrator.launchers.slurm import batches
from tests.fakes.cluster import BUSY, UNCLEAR, FakeCluster, begin, end, polls, wait
from tests.fakes.scheduler import Cancelled


def test_jobs_that_wait_are_taken_from_the_queue_in_one_call_for_each_array(cluster: FakeCluster) -> None:
    launcher = cluster.launcher(max_array=10)
    jobs = launcher.submit(cluster.specs(20))
    for job in jobs:
        job.cancel()
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == [Cancelled("17", None), Cancelled("18", None)]


def test_of_an_array_only_what_was_cancelled_is_taken(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    jobs = launcher.submit(cluster.specs(5))
    for job in (jobs[1], jobs[3]):
        job.cancel()
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == [Cancelled("17", (1, 3))]


def test_a_job_cancelled_twice_takes_no_other_with_it(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    first, _ = launcher.submit(cluster.specs(2))
    first.cancel()
    first.cancel(at_once=True)
    launcher.wait(0.5)
    assert [set(call.tasks or ()) for call in cluster.scheduler.cancelled] == [{0}]


def test_a_cancel_that_was_heard_late_takes_no_other_job_with_it(cluster: FakeCluster) -> None:
    """Meanwhile the cancelled job has ended by itself, and one that nobody cancelled is all that is left."""
    launcher = cluster.launcher()
    first, second = launcher.submit(cluster.specs(2))
    cluster.run(second)
    polls(launcher)
    cluster.scheduler.queue_silent = True
    first.cancel()
    launcher.wait(0.5)
    cluster.say(first, "RUNNING", "node1")
    begin(first.spec)
    end(first.spec, "cancelled")
    cluster.note(first, "over", [first])
    polls(launcher)
    assert first.done()
    cluster.scheduler.queue_silent = False
    launcher.wait(0.5)
    assert not [call for call in cluster.scheduler.cancelled if call.tasks is None or 1 in call.tasks]


def test_a_cancel_that_slurm_does_not_hear_is_repeated_and_told_once(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    polls(launcher)
    cluster.scheduler.queue_silent = True
    job.cancel()
    wait(launcher, 20)
    assert len([text for text in launcher.news() if "not cancelled yet" in text]) == 1
    cluster.scheduler.queue_silent = False
    wait(launcher, 60)
    assert cluster.scheduler.cancelled == [Cancelled("17", None)]


def test_a_run_that_has_begun_is_asked_through_its_folder(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    job.cancel()
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == []
    assert job.spec.folder.stop.exists()
    (batch,) = batches.open_batches(cluster.root)
    assert batch.stop_task(0).exists()


def test_a_run_that_has_begun_is_ended_at_once_through_the_scheduler(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    job.cancel(at_once=True)
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == [Cancelled("17", None)]


def test_a_job_that_is_back_in_the_queue_is_taken_from_it(cluster: FakeCluster) -> None:
    """It may wait there for days, and the study for it."""
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    cluster.note(job, "requeued", cause="time_limit")
    cluster.say(job, "PENDING", reason="BeginTime")
    polls(launcher)
    job.cancel()
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == [Cancelled("17", None)]


def test_a_job_that_slurm_queues_again_after_its_last_run_is_taken_from_the_queue(cluster: FakeCluster) -> None:
    """It has nothing left to do, and would keep the place of another."""
    launcher = cluster.launcher()
    jobs = launcher.submit(cluster.specs(2))
    cluster.run(jobs[0])
    cluster.end(jobs[0])
    cluster.say(jobs[0], "COMPLETING", "node1")
    polls(launcher)
    assert jobs[0].done()
    cluster.say(jobs[0], "PENDING", reason="BeginTime")
    wait(launcher, 120)
    assert {task for call in cluster.scheduler.cancelled for task in call.tasks or (0, 1)} == {0}


def test_one_run_of_a_job_is_asked_alone(cluster: FakeCluster) -> None:
    launcher = cluster.launcher(runs_per_job=2)
    first, _ = launcher.submit(cluster.specs(2))
    first.cancel(at_once=True)
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == []
    assert first.spec.folder.stop.exists()
    (batch,) = batches.open_batches(cluster.root)
    assert not batch.stop_task(0).exists()


def test_a_job_whose_last_run_is_cancelled_is_not_wanted_back(cluster: FakeCluster) -> None:
    """The other run has completed: without the batch's stop the job would go back into the queue, and begin again."""
    launcher = cluster.launcher(runs_per_job=2)
    _, second = cluster.half_done(launcher)
    second.cancel()
    (batch,) = batches.open_batches(cluster.root)
    assert batch.stop_task(0).exists()


def test_a_cancelled_run_is_cancelled_whatever_slurm_says(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    job.cancel(at_once=True)
    cluster.say(job, "FAILED", "node1", signal=9)
    wait(launcher, 120)
    assert (job.result().status, job.result().cause) == ("cancelled", None)


def test_a_run_cancelled_before_it_was_submitted_never_is(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [BUSY]
    (job,) = launcher.submit(cluster.specs(1))
    job.cancel()
    wait(launcher, 120)
    assert (job.result().status, job.result().error) == ("cancelled", "never submitted")
    assert len(cluster.scheduler.tried) == 1
    assert list(batches.open_batches(cluster.root)) == []


def test_an_array_that_may_have_been_submitted_is_looked_for_and_cancelled(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers, cluster.scheduler.accepted_unheard = [UNCLEAR], True
    (job,) = launcher.submit(cluster.specs(1))
    job.cancel()
    wait(launcher, 300)
    assert cluster.scheduler.cancelled == [Cancelled("17", None)]


def test_cancelling_what_is_over_is_no_error(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.end(job)
    polls(launcher)
    job.cancel(at_once=True)
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == []


def test_closing_cancels_what_was_to_be_cancelled_and_nothing_else(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    first, _ = launcher.submit(cluster.specs(2))
    first.cancel()
    launcher.close()
    assert cluster.scheduler.cancelled == [Cancelled("17", (0,))]
