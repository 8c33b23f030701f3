"""What the launcher concludes from folders, notes and a scheduler that may be silent, wrong, or late."""

import itertools
import os

import pytest

from orchestrator import ledger
from orchestrator.launchers.slurm.jobs import SlurmJob
from orchestrator.launchers.slurm.scheduler import State
from tests.fakes.cluster import POLL_S, FakeCluster, begin, end, key, polls, wait


def test_a_job_that_waits_tells_why(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    assert job.state == "submitted"
    polls(launcher, 3)
    assert job.state == "pending (Priority)"


def test_a_job_that_has_begun_has_no_state_of_its_own(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    assert job.state == ""
    assert not job.done()


def test_the_result_of_a_run_is_taken_from_its_folder(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    result = cluster.end(job)
    polls(launcher)
    assert job.result() == result


def test_a_run_that_failed_by_itself_is_failed_as_it_says(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    result = cluster.end(job, "failed", "error", "ValueError: no such thing")
    polls(launcher, 2)
    assert job.result() == result


def test_runs_of_a_job_end_one_by_one(cluster: FakeCluster) -> None:
    launcher = cluster.launcher(runs_per_job=2)
    first, second = cluster.half_done(launcher)
    assert (first.done(), second.done()) == (True, False)


def test_a_run_that_ended_in_a_job_that_waits_again_for_its_others_is_heard_of(cluster: FakeCluster) -> None:
    launcher = cluster.launcher(runs_per_job=2)
    first, second = launcher.submit(cluster.specs(2))
    cluster.run(first)
    polls(launcher)
    result = end(first.spec)
    begin(second.spec)
    end(second.spec, "cancelled", "time_limit")
    cluster.note(first, "requeued", [first], "time_limit")
    cluster.say(first, "PENDING", reason="BeginTime")
    polls(launcher, 3)
    assert not second.done()
    assert first.done()
    assert first.result() == result


def test_a_note_written_within_a_tick_of_the_file_systems_clock_is_read(cluster: FakeCluster) -> None:
    """Some clusters' file systems count seconds."""
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    assert isinstance(job, SlurmJob)
    path = job.task.sent.batch.task(job.task.index)
    before = path.stat()
    cluster.end(job, "failed", "error", "ValueError: no such thing")
    cluster.scheduler.silent = True
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    polls(launcher, 3)
    assert job.done()


def test_an_older_result_is_not_taken_for_the_new_attempts(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (spec,) = cluster.specs(1)
    begin(spec)
    end(spec, "failed", "error", "an older one")
    (job,) = launcher.submit([spec])
    cluster.say(job, "RUNNING", "node1")
    cluster.note(job, "running")
    polls(launcher, 3)
    assert not job.done()


def test_a_run_that_completed_in_a_job_given_up_for_lost_has_completed(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (spec,) = cluster.specs(1)
    begin(spec)
    result = end(spec)
    (job,) = launcher.submit([spec])
    cluster.say(job, "RUNNING", "node1")
    polls(launcher)
    assert job.result() == result


def test_a_run_that_is_tried_again_in_its_job_is_not_over(cluster: FakeCluster) -> None:
    """Its first attempt left a failed result, and the second is under way."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    end(job.spec, "failed", "out_of_memory", "MemoryError")
    polls(launcher, 2)
    begin(job.spec)
    polls(launcher, 2)
    assert not job.done()


def test_one_question_a_poll_however_many_jobs(cluster: FakeCluster) -> None:
    launcher = cluster.launcher(max_array=4)
    jobs = launcher.submit(cluster.specs(40))
    for job in jobs:
        cluster.say(job, "RUNNING", "node1")
    polls(launcher, 5)
    assert cluster.scheduler.calls["states"] == 5
    assert cluster.scheduler.calls["still_alive"] == 0


def test_the_scheduler_is_asked_no_more_often_than_told(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.say(job, "RUNNING", "node1")
    wait(launcher, 300)
    assert cluster.scheduler.calls["states"] <= 11


def test_waiting_ends_when_a_run_does(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    launcher.wait(1)
    cluster.end(job)
    began = cluster.clock()
    launcher.wait(1000)
    assert job.done()
    assert cluster.clock() - began <= POLL_S + 1


def test_where_nothing_is_under_way_nothing_is_waited_for(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    launcher.wait(1000)
    assert cluster.clock() == 1000.0


def test_a_job_of_the_same_id_but_another_name_is_not_ours(cluster: FakeCluster) -> None:
    """slurmctld lost ours in a crash, and somebody else has its id now."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.scheduler.says[key(job)] = State("RUNNING", "node1", name="somebody-elses")
    wait(launcher, 300)
    assert job.result().cause == "lost"


def test_jobs_that_slurm_holds_after_a_node_failed_to_start_them_are_released(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    jobs = launcher.submit(cluster.specs(2))
    cluster.say(jobs[1], "PENDING", reason="launch failed requeued held")
    polls(launcher)
    assert cluster.scheduler.released == ["17_1"]
    assert launcher.news()[1:] == ["1 job that a node failed to start held by Slurm, and released"]


# Dead or not


def test_a_node_failure_after_which_slurm_queues_the_job_again_is_no_end(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    cluster.say(job, "NODE_FAIL", "node1")
    polls(launcher)
    cluster.say(job, "PENDING", reason="BeginTime")
    polls(launcher, 5)
    assert not job.done()
    cluster.run(job, "node2")
    cluster.end(job)
    polls(launcher)
    assert (job.result().status, job.result().attempts) == ("completed", 2)


def test_where_accounting_is_late_the_queue_is_believed(cluster: FakeCluster) -> None:
    """sacct says NODE_FAIL for minutes, though the job is in the queue again."""
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    cluster.scheduler.accounting = {key(job): State("NODE_FAIL", "node1")}
    cluster.say(job, "PENDING", reason="BeginTime")
    wait(launcher, 600)
    assert not job.done()


def test_a_job_that_accounting_does_not_know_yet_is_not_lost(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.scheduler.accounting = {}
    wait(launcher, 900)
    assert not job.done()


def test_a_job_that_is_forgotten_but_writes_its_note_is_alive(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.forget(job)
    for _ in range(40):
        cluster.note(job, "running")
        wait(launcher, 10)
    assert not job.done()


# Nodes


def test_an_error_of_the_machines_counts_against_the_node_and_not_the_run(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.end(job, "failed", "error", "RuntimeError: CUDA error: uncorrectable ECC error encountered")
    polls(launcher)
    assert job.result().cause == "node_failure"
    assert ledger.causes(job.spec.folder) == {"node_failure": 1}


def test_a_node_on_which_job_after_job_dies_is_avoided(cluster: FakeCluster) -> None:
    launcher = cluster.launcher(bad_node_after=2)
    jobs = launcher.submit(cluster.specs(4))
    polls(launcher)
    for job in jobs[:2]:
        cluster.run(job, "node7")
        polls(launcher)
        cluster.say(job, "NODE_FAIL", "node7")
        polls(launcher, 2)
        if job is jobs[0]:
            cluster.run(jobs[3], "node8")
            cluster.end(jobs[3])
            polls(launcher)
    assert cluster.scheduler.avoided == [(["17"], ["node7"])]
    assert launcher.news()[1:] == ["node node7 is avoided from now on: run after run has failed there"]


# A scheduler that does not answer


def test_a_silent_scheduler_is_asked_less_and_less(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    launcher.submit(cluster.specs(1))
    cluster.scheduler.silent = True
    wait(launcher, 3600)
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(cluster.scheduler.asked)]
    assert pauses[:4] == [60, 120, 240, 300]
    assert set(pauses[4:]) == {300}


def test_silence_and_its_end_are_told_once_each(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    launcher.submit(cluster.specs(1))
    cluster.scheduler.silent = True
    wait(launcher, 900)
    assert len([text for text in launcher.news() if "does not answer" in text]) == 1
    cluster.scheduler.silent = False
    wait(launcher, 900)
    assert len([text for text in launcher.news() if "answers again" in text]) == 1


def test_from_silence_nothing_is_concluded(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    waiting, running = launcher.submit(cluster.specs(2))
    cluster.run(running)
    polls(launcher)
    cluster.scheduler.silent = True
    wait(launcher, 12 * 3600)
    assert not waiting.done()
    assert not running.done()


def test_results_are_collected_though_nobody_answers(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.scheduler.silent = True
    wait(launcher, 60)
    result = cluster.end(job)
    wait(launcher, 600)
    assert job.result() == result


def test_jobs_that_waited_through_a_silence_are_alive_after_it(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    polls(launcher)
    cluster.scheduler.silent = True
    wait(launcher, 3600)
    cluster.scheduler.silent = False
    cluster.scheduler.accounting = {}
    wait(launcher, 900)
    assert not job.done()


@pytest.mark.parametrize("said", [State("NODE_FAIL", "node1"), None])
def test_what_only_accounting_says_is_no_end_while_the_queue_does_not_answer(
    cluster: FakeCluster, said: State | None
) -> None:
    """slurmctld restarts, and has queued the job again: a second job for its run would be one too many."""
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    cluster.say(job, "PENDING", reason="BeginTime")
    cluster.scheduler.accounting = {} if said is None else {key(job): said}
    cluster.scheduler.queue_silent = True
    wait(launcher, 900)
    assert not job.done()
