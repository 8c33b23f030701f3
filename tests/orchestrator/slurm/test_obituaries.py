"""What is said of runs whose jobs are gone."""

import pytest

from orchestrator import ledger
from orchestrator.attempts import attempts_made
from orchestrator.launchers.base import Job
from orchestrator.launchers.slurm import batches
from tests.fakes.cluster import POLL_S, FakeCluster, begin, end, polls, wait
from trainers.spec import Cause, RunResult


def dead(cluster: FakeCluster, word: str, signal: int = 0, *, begun: bool = True) -> Job:
    """A job that Slurm ended, watched until that is known."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    if begun:
        cluster.run(job)
    polls(launcher)
    cluster.say(job, word, "node1", signal=signal)
    polls(launcher, 2)
    assert job.done()
    return job


@pytest.mark.parametrize(
    ("word", "signal", "cause"),
    [
        ("NODE_FAIL", 0, "node_failure"),
        ("BOOT_FAIL", 0, "node_failure"),
        ("PREEMPTED", 0, "preempted"),
        ("TIMEOUT", 0, "time_limit"),
        ("DEADLINE", 0, "time_limit"),
        ("OUT_OF_MEMORY", 9, "out_of_memory"),
        ("FAILED", 9, "killed"),
        ("FAILED", 0, "killed"),
        ("COMPLETED", 0, "lost"),
    ],
)
def test_a_job_that_dies_without_a_word_died_of_what_slurm_says(
    cluster: FakeCluster, word: str, signal: int, cause: Cause
) -> None:
    job = dead(cluster, word, signal)
    result = job.result()
    assert (result.status, result.cause, result.attempts) == ("failed", cause, 1)
    assert "job 17_0" in str(result.error)
    assert RunResult.read(job.spec.folder) == result
    assert ledger.causes(job.spec.folder) == {cause: 1}


def test_a_job_that_died_tells_signal_and_node(cluster: FakeCluster) -> None:
    error = dead(cluster, "FAILED", 11).result().error
    assert error == "its job 17_0 ended as FAILED by signal 11 on node1"


def test_a_job_that_somebody_cancelled_is_cancelled(cluster: FakeCluster) -> None:
    """And not tried again."""
    result = dead(cluster, "CANCELLED").result()
    assert (result.status, result.cause) == ("cancelled", None)


def test_a_job_cancelled_in_the_queue_is_cancelled(cluster: FakeCluster) -> None:
    result = dead(cluster, "CANCELLED", begun=False).result()
    assert (result.status, result.cause) == ("cancelled", None)


def test_a_job_that_failed_before_our_program_began_says_what_it_printed(cluster: FakeCluster) -> None:
    """The node may be to blame, as where a file system is missing: it is tried again, if not for ever."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    (batch,) = batches.open_batches(cluster.root)
    (batch.folder / "17_0_0_log.out").write_text("loading\nmodule: command not found\n")
    (batch.folder / "17_00_0_log.out").write_text("another task's\n")
    cluster.say(job, "FAILED", "node1")
    polls(launcher, 2)
    result = job.result()
    assert (result.status, result.cause) == ("failed", "lost")
    assert "ended as FAILED on node1; its output (" in str(result.error)
    assert str(result.error).endswith("17_0_0_log.out) ends: loading | module: command not found")


def test_an_output_that_cannot_be_opened_is_no_kill(cluster: FakeCluster) -> None:
    """Slurm's own code 53 stands where a signal's number does."""
    assert dead(cluster, "FAILED", 53, begun=False).result().cause == "lost"


def test_a_job_that_died_before_its_run_began_was_an_attempt(cluster: FakeCluster) -> None:
    """Or a node that kills jobs at once would get the run again without end."""
    job = dead(cluster, "NODE_FAIL", begun=False)
    assert job.result().attempts == 1
    assert attempts_made(job.spec.folder) == 1
    assert ledger.causes(job.spec.folder) == {"node_failure": 1}


def test_attempts_of_jobs_that_die_at_once_add_up(cluster: FakeCluster) -> None:
    (spec,) = cluster.specs(1)
    launcher = cluster.launcher()
    for _ in range(3):
        (job,) = launcher.submit([spec])
        cluster.say(job, "NODE_FAIL", "node1")
        polls(launcher, 2)
        assert job.done()
    assert job.result().attempts == 3
    assert ledger.causes(spec.folder) == {"node_failure": 3}


def test_a_job_that_nobody_knows_any_more_is_lost(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    cluster.forget(job)
    wait(launcher, 90)
    assert not job.done()
    wait(launcher, 120)
    result = job.result()
    assert (result.status, result.cause) == ("failed", "lost")
    assert result.error == "its job 17_0 is not known to Slurm any more, and left no result on node1"


def test_a_job_that_slurmctld_lost_is_not_waited_for_though_accounting_calls_it_pending(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.scheduler.accounting = dict(cluster.scheduler.says)
    cluster.forget(job)
    wait(launcher, 45 * POLL_S)
    assert job.result().cause == "lost"


def test_runs_that_had_not_begun_when_their_job_died_are_charged_nothing(cluster: FakeCluster) -> None:
    """The third of a job's runs must not use up its retries while it waits for the first."""
    launcher = cluster.launcher(runs_per_job=3)
    first, second, third = launcher.submit(cluster.specs(3))
    cluster.run(first)
    polls(launcher)
    cluster.say(first, "NODE_FAIL", "node1")
    polls(launcher, 2)
    assert ledger.causes(first.spec.folder) == {"node_failure": 1}
    assert [job.result().cause for job in (second, third)] == ["node_failure"] * 2
    assert not ledger.causes(second.spec.folder)
    assert not ledger.causes(third.spec.folder)


def test_a_result_left_by_a_job_that_then_died_is_the_result(cluster: FakeCluster) -> None:
    """Its node died before it could say that it was over."""
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    result = end(job.spec, "failed", "error", "ValueError: no such thing")
    cluster.say(job, "NODE_FAIL", "node1")
    polls(launcher, 2)
    assert job.result() == result


def test_a_result_that_a_later_attempt_of_the_job_outdated_is_not_the_result(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    end(job.spec, "failed", "out_of_memory", "MemoryError")
    begin(job.spec)
    cluster.say(job, "NODE_FAIL", "node1")
    polls(launcher, 2)
    assert (job.result().cause, job.result().attempts) == ("node_failure", 2)
    assert ledger.causes(job.spec.folder) == {"out_of_memory": 1, "node_failure": 1}


def test_an_end_that_was_asked_for_has_the_cause_that_slurm_tells(cluster: FakeCluster) -> None:
    """The job saved its run when it was told to end, and could not find out why."""
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    end(job.spec, "cancelled")
    cluster.note(job, "over")
    cluster.say(job, "PREEMPTED", "node1")
    polls(launcher, 2)
    assert (job.result().cause, job.result().attempts) == ("preempted", 1)
    assert ledger.causes(job.spec.folder) == {"preempted": 1}


def test_a_job_at_its_time_limit_that_cannot_be_queued_again_says_so(cluster: FakeCluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    result = end(job.spec, "cancelled", "time_limit")
    cluster.note(job, "over", cause="time_limit")
    cluster.say(job, "FAILED", "node1")
    polls(launcher)
    assert job.result() == result


def test_a_job_that_was_queued_again_and_then_cancelled_by_somebody_is_cancelled(cluster: FakeCluster) -> None:
    """Its run was saved at the time limit; what ended the job is the scancel."""
    launcher = cluster.launcher()
    job = cluster.under_way(launcher)
    end(job.spec, "cancelled", "time_limit")
    cluster.note(job, "requeued", cause="time_limit")
    cluster.say(job, "PENDING", reason="BeginTime")
    polls(launcher)
    cluster.say(job, "CANCELLED")
    polls(launcher, 3)
    assert (job.result().status, job.result().cause) == ("cancelled", None)
