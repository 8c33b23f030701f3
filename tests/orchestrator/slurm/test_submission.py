"""How runs become arrays, and what is done where the scheduler does not take them."""

import itertools
import shutil

from orchestrator import retries
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.scheduler import Refused
from orchestrator.retries import NO_RETRIES
from tests.fakes.cluster import BUSY, LIMIT, UNCLEAR, FakeCluster, begin, end, polls, wait


def arrays(cluster: FakeCluster) -> list[list[list[str]]]:
    """The tasks of each array that was accepted."""
    return [[list(task) for task in request.batch.tasks] for request in cluster.scheduler.accepted.values()]


def test_runs_become_arrays_no_larger_than_the_cluster_takes(cluster: FakeCluster) -> None:
    specs = cluster.specs(25)
    jobs = cluster.launcher(max_array=10).submit(specs)
    assert [len(tasks) for tasks in arrays(cluster)] == [10, 10, 5]
    assert [job.spec for job in jobs] == specs
    assert [job.id for job in jobs][9:12] == ["17_9", "18_0", "18_1"]


def test_runs_that_need_the_same_share_an_array(cluster: FakeCluster) -> None:
    some, others = cluster.specs(3, gpus=1), cluster.specs(2, first=3, gpus=2)
    mixed = [some[0], others[0], some[1], others[1], some[2]]
    jobs = cluster.launcher().submit(mixed)
    assert [len(tasks) for tasks in arrays(cluster)] == [3, 2]
    assert [request.gpus for request in cluster.scheduler.accepted.values()] == [1, 2]
    assert [job.spec for job in jobs] == mixed


def test_short_runs_share_a_job(cluster: FakeCluster) -> None:
    specs = cluster.specs(5)
    jobs = cluster.launcher(runs_per_job=2, max_array=2).submit(specs)
    names = [spec.run_id for spec in specs]
    assert arrays(cluster) == [[names[0:2], names[2:4]], [names[4:5]]]
    assert [job.id for job in jobs] == ["17_0", "17_0", "17_1", "17_1", "18_0"]


def test_jobs_that_wait_or_run_take_the_place_of_others(cluster: FakeCluster) -> None:
    launcher = cluster.launcher(max_submitted=3, runs_per_job=2)
    assert (launcher.capacity, launcher.free) == (6, 6)
    launcher.submit(cluster.specs(4))
    assert launcher.free == 2


def test_a_job_that_has_ended_makes_room_once_the_scheduler_has_done_with_it(cluster: FakeCluster) -> None:
    launcher = cluster.launcher(max_submitted=1)
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.end(job)
    cluster.say(job, "COMPLETING", "node1")
    polls(launcher)
    assert job.done()
    assert launcher.free == 0
    cluster.say(job, "COMPLETED", "node1")
    polls(launcher)
    assert launcher.free == 1


def test_a_batch_is_written_down_before_sbatch_is_asked(cluster: FakeCluster) -> None:
    found: list[str] = []
    cluster.scheduler.on_accepted = lambda request: found.extend(
        batch.name for batch in batches.open_batches(cluster.root)
    )
    cluster.launcher().submit(cluster.specs(1))
    assert found == [request.batch.name for request in cluster.scheduler.accepted.values()]


def test_a_stop_of_an_earlier_attempt_is_forgotten(cluster: FakeCluster) -> None:
    (spec,) = cluster.specs(1)
    spec.folder.stop.touch()
    cluster.launcher().submit([spec])
    assert not spec.folder.stop.exists()


def test_a_busy_scheduler_is_tried_again_less_and_less(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [BUSY] * 8
    (job,) = launcher.submit(cluster.specs(1))
    assert job.state == "not submitted yet: slurmctld is busy"
    wait(launcher, 1800)
    times = [time for time, _ in cluster.scheduler.tried]
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(times)]
    assert pauses == [30, 60, 120, 240, 300, 300, 300, 300]
    assert (job.id, job.state) == ("17_0", "pending (Priority)")


def test_what_keeps_jobs_from_being_submitted_is_told_once(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [BUSY] * 4
    launcher.submit(cluster.specs(1))
    wait(launcher, 500)
    assert launcher.news() == ["not submitted yet, will be tried again: slurmctld is busy", "1 run submitted as job 17"]


def test_an_array_too_large_for_a_limit_is_halved(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.room = 6
    jobs = launcher.submit(cluster.specs(8))
    assert sorted(len(tasks) for tasks in arrays(cluster)) in ([4, 2], [2, 4], [1, 1, 4])
    assert sum(len(tasks) for tasks in arrays(cluster)) <= 6
    submitted = [job for job in jobs if not job.id.startswith("?")]
    named = {job.id: job.spec.run_id for job in submitted}
    assert named == {
        f"{job_id}_{index}": run_ids[0]
        for job_id, request in cluster.scheduler.accepted.items()
        for index, run_ids in enumerate(request.batch.tasks)
    }


def test_what_a_limit_kept_out_is_submitted_when_there_is_room(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.room = 2
    jobs = launcher.submit(cluster.specs(5))
    cluster.scheduler.room = None
    wait(launcher, 60)
    assert sorted(run for tasks in arrays(cluster) for task in tasks for run in task) == sorted(
        job.spec.run_id for job in jobs
    )


def test_a_full_limit_does_not_make_a_storm_of_submissions(cluster: FakeCluster) -> None:
    """Another study of the same user may have taken all the room for hours."""
    cluster.scheduler.room = 0
    cluster.launcher().submit(cluster.specs(32))
    assert len(cluster.scheduler.tried) <= 12


def test_jobs_in_the_queue_are_not_given_up_when_the_disk_fills_while_an_array_is_halved(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [LIMIT]
    jobs_folder = batches.jobs_folder(cluster.root)

    def no_more_folders(request: object) -> None:
        jobs_folder.rename(cluster.root / "elsewhere")
        jobs_folder.touch()

    cluster.scheduler.on_accepted = no_more_folders
    jobs = launcher.submit(cluster.specs(4))
    assert len(arrays(cluster)) == 1
    assert [job.done() for job in jobs] == [False, False, True, True]


def test_what_is_refused_for_good_has_failed(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [Refused("Invalid partition")]
    jobs = launcher.submit(cluster.specs(2))
    assert [(job.result().status, job.result().error, job.result().cause) for job in jobs] == [
        ("failed", "could not start: sbatch: Invalid partition", None)
    ] * 2
    assert list(batches.open_batches(cluster.root)) == []
    assert launcher.free == 500


def test_what_is_refused_does_not_keep_other_arrays_back(cluster: FakeCluster) -> None:
    cluster.scheduler.answers = [Refused("Invalid partition")]
    jobs = cluster.launcher(max_array=1).submit(cluster.specs(2))
    assert [job.done() for job in jobs] == [True, False]


def test_a_run_whose_folder_is_gone_does_not_keep_the_others_back(cluster: FakeCluster) -> None:
    specs = cluster.specs(3)
    shutil.rmtree(specs[1].run_dir)
    jobs = cluster.launcher().submit(specs)
    assert [job.done() for job in jobs] == [False, True, False]


def test_a_submission_whose_answer_was_lost_is_found_and_not_repeated(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers, cluster.scheduler.accepted_unheard = [UNCLEAR], True
    (job,) = launcher.submit(cluster.specs(1))
    assert job.id == "?_0"
    wait(launcher, 600)
    assert job.id == "17_0"
    assert len(cluster.scheduler.tried) == 1
    assert next(batches.open_batches(cluster.root)).job_id() == "17"


def test_a_submission_that_never_arrived_is_repeated_once_that_is_certain(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [UNCLEAR]
    (job,) = launcher.submit(cluster.specs(1))
    wait(launcher, 600)
    (first, _), (second, _) = cluster.scheduler.tried
    assert second - first >= 60
    assert job.id == "17_0"


def test_while_nobody_answers_an_unclear_submission_is_not_repeated(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [UNCLEAR]
    cluster.scheduler.queue_silent = True
    launcher.submit(cluster.specs(1))
    wait(launcher, 3600)
    assert len(cluster.scheduler.tried) == 1


def test_more_memory_is_asked_for_after_each_time_that_it_was_too_little(cluster: FakeCluster) -> None:
    (spec,) = cluster.specs(1, mem_gb=8.0)
    for _ in range(2):
        begin(spec)
        full = end(spec, "failed", "out_of_memory", "MemoryError: full")
        retry = retries.decide(spec, full, NO_RETRIES.model_copy(update={"out_of_memory": 3}), more_memory=1.5)
        assert retry is not None
        retries.adjust(spec.folder, retry)
    cluster.launcher().submit([spec])
    (request,) = cluster.scheduler.accepted.values()
    assert request.mem_gb == 18.0
