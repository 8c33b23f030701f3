"""What the launcher concludes from folders, notes and a scheduler that may be silent, wrong, or late."""

import dataclasses
import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ledger, retries
from orchestrator.attempts import alone_in, attempts_made, count_attempt
from orchestrator.launchers.base import Job
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.batches import Allocation, TaskNote, TaskState
from orchestrator.launchers.slurm.jobs import Policy, SlurmJob
from orchestrator.launchers.slurm.launcher import SlurmLauncher
from orchestrator.launchers.slurm.scheduler import NotNow, Refused, State
from orchestrator.resources import Resources
from orchestrator.retries import NO_RETRIES
from tests.contracts.small_runs import spec_in
from tests.fakes.scheduler import Cancelled, FakeClock, FakeScheduler
from trainers.spec import Cause, RunResult, RunSpec, Status

POLL_S = 30.0
UNCLEAR = NotNow("Socket timed out on send/recv operation", unclear=True)
LIMIT = NotNow("AssocMaxSubmitJobLimit", unclear=False, limit=True)
BUSY = NotNow("slurmctld is busy", unclear=False)


def resources(spec: RunSpec) -> Resources:
    given = {"nodes": 1, "gpus": 0, "cpus": 1, "mem_gb": None, "time_min": 60, "partition": None, "constraint": None}
    return Resources(**{**given, **spec.resources})  # type: ignore[arg-type]


def allocation(needed: Resources) -> Allocation:
    return Allocation("m:f", (), 1, 1, needed.gpus, 1, 1, 60, True, NO_RETRIES.model_dump(), None)


class Cluster:
    """A study's folder, its scheduler, its clock, and what jobs would do there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.scheduler = FakeScheduler(self.clock)
        self._notes = 0

    def launcher(self, **changes: Any) -> SlurmLauncher:
        given = {"runs_per_job": 1, "max_submitted": 500, "max_array": 1000, "poll_s": POLL_S, "python": "python"}
        policy = Policy("study", resources, allocation, environment={}, **{**given, **changes})
        return SlurmLauncher(self.root, policy, self.scheduler, clock=self.clock, sleep=self.clock.sleep)

    def specs(self, count: int, first: int = 0, **asks: Any) -> list[RunSpec]:
        made = [dataclasses.replace(spec_in(self.root, first + n), resources=asks) for n in range(count)]
        for spec in made:
            spec.write()
        return made

    def say(self, job: Job, word: str, node: str = "", reason: str = "", signal: int = 0) -> None:
        """Slurm's word on the job from now on."""
        job_id, task = key(job)
        name = self.scheduler.accepted[job_id].batch.name
        self.scheduler.says[job_id, task] = State(word, node, reason, signal, name)

    def forget(self, job: Job) -> None:
        del self.scheduler.says[key(job)]

    def note(
        self, job: Job, state: TaskState, over: Sequence[Job] = (), cause: Cause | None = None, host: str = "node1"
    ) -> None:
        """What the job says of itself; every note is newer than the one before, however fast the test."""
        assert isinstance(job, SlurmJob)
        path = job.task.sent.batch.task(job.task.index)
        TaskNote(state, job.id, host, 0.0, [other.spec.run_id for other in over], cause).write(path)
        self._notes += 1
        os.utime(path, (self._notes, self._notes))

    def run(self, job: Job, node: str = "node1") -> None:
        """The job begins, and so does its run."""
        self.say(job, "RUNNING", node)
        self.note(job, "running", host=node)
        begin(job.spec)

    def end(
        self, job: Job, status: Status = "completed", cause: Cause | None = None, error: str | None = None
    ) -> RunResult:
        """The run ends, and then its job, by itself."""
        result = end(job.spec, status, cause, error)
        self.note(job, "over", [job])
        self.say(job, "COMPLETED" if status == "completed" else "FAILED", "node1")
        return result


def key(job: Job) -> tuple[str, int]:
    job_id, _, task = job.id.partition("_")
    return job_id, int(task)


def begin(spec: RunSpec) -> None:
    """An attempt at the run."""
    with alone_in(spec.folder) as lock:
        ledger.note_began(spec.folder, count_attempt(lock, spec.folder))


def end(spec: RunSpec, status: Status = "completed", cause: Cause | None = None, error: str | None = None) -> RunResult:
    """Its end, as the run itself tells it."""
    attempts = attempts_made(spec.folder)
    result = RunResult(spec.run_id, status, spec.params, {}, 3, attempts=attempts, error=error, cause=cause)
    result.write(spec.folder)
    ledger.note_ended(spec.folder, result)
    return result


def polls(launcher: SlurmLauncher, times: int = 1) -> None:
    for _ in range(times):
        launcher.poll()


def wait(launcher: SlurmLauncher, seconds: float) -> None:
    """As the study's loop does, half a second at a time."""
    for _ in range(round(seconds * 2)):
        launcher.wait(0.5)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


# Submission


def arrays(cluster: Cluster) -> list[list[list[str]]]:
    """The tasks of each array that was accepted."""
    return [[list(task) for task in request.batch.tasks] for request in cluster.scheduler.accepted.values()]


def test_runs_become_arrays_no_larger_than_the_cluster_takes(cluster: Cluster) -> None:
    specs = cluster.specs(25)
    jobs = cluster.launcher(max_array=10).submit(specs)
    assert [len(tasks) for tasks in arrays(cluster)] == [10, 10, 5]
    assert [job.spec for job in jobs] == specs
    assert [job.id for job in jobs][9:12] == ["17_9", "18_0", "18_1"]


def test_runs_that_need_the_same_share_an_array(cluster: Cluster) -> None:
    some, others = cluster.specs(3, gpus=1), cluster.specs(2, first=3, gpus=2)
    mixed = [some[0], others[0], some[1], others[1], some[2]]
    jobs = cluster.launcher().submit(mixed)
    assert [len(tasks) for tasks in arrays(cluster)] == [3, 2]
    assert [request.gpus for request in cluster.scheduler.accepted.values()] == [1, 2]
    assert [job.spec for job in jobs] == mixed


def test_short_runs_share_a_job(cluster: Cluster) -> None:
    specs = cluster.specs(5)
    jobs = cluster.launcher(runs_per_job=2, max_array=2).submit(specs)
    names = [spec.run_id for spec in specs]
    assert arrays(cluster) == [[names[0:2], names[2:4]], [names[4:5]]]
    assert [job.id for job in jobs] == ["17_0", "17_0", "17_1", "17_1", "18_0"]


def test_jobs_that_wait_or_run_take_the_place_of_others(cluster: Cluster) -> None:
    launcher = cluster.launcher(max_submitted=3, runs_per_job=2)
    assert (launcher.capacity, launcher.free) == (6, 6)
    launcher.submit(cluster.specs(4))
    assert launcher.free == 2


def test_a_job_that_has_ended_makes_room_once_the_scheduler_has_done_with_it(cluster: Cluster) -> None:
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


def test_a_batch_is_written_down_before_sbatch_is_asked(cluster: Cluster) -> None:
    found: list[str] = []
    cluster.scheduler.on_accepted = lambda request: found.extend(
        batch.name for batch in batches.open_batches(cluster.root)
    )
    cluster.launcher().submit(cluster.specs(1))
    assert found == [request.batch.name for request in cluster.scheduler.accepted.values()]


def test_a_stop_of_an_earlier_attempt_is_forgotten(cluster: Cluster) -> None:
    (spec,) = cluster.specs(1)
    spec.folder.stop.touch()
    cluster.launcher().submit([spec])
    assert not spec.folder.stop.exists()


def test_a_busy_scheduler_is_tried_again_less_and_less(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [BUSY] * 8
    (job,) = launcher.submit(cluster.specs(1))
    assert job.state == "not submitted yet: slurmctld is busy"
    wait(launcher, 1800)
    times = [time for time, _ in cluster.scheduler.tried]
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(times)]
    assert pauses == [30, 60, 120, 240, 300, 300, 300, 300]
    assert (job.id, job.state) == ("17_0", "pending (Priority)")


def test_what_keeps_jobs_from_being_submitted_is_told_once(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [BUSY] * 4
    launcher.submit(cluster.specs(1))
    wait(launcher, 500)
    assert launcher.news() == ["not submitted yet, will be tried again: slurmctld is busy", "1 run submitted as job 17"]


def test_an_array_too_large_for_a_limit_is_halved(cluster: Cluster) -> None:
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


def test_what_a_limit_kept_out_is_submitted_when_there_is_room(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.room = 2
    jobs = launcher.submit(cluster.specs(5))
    cluster.scheduler.room = None
    wait(launcher, 60)
    assert sorted(run for tasks in arrays(cluster) for task in tasks for run in task) == sorted(
        job.spec.run_id for job in jobs
    )


def test_a_full_limit_does_not_make_a_storm_of_submissions(cluster: Cluster) -> None:
    """Another study of the same user may have taken all the room for hours."""
    cluster.scheduler.room = 0
    cluster.launcher().submit(cluster.specs(32))
    assert len(cluster.scheduler.tried) <= 12


def test_jobs_in_the_queue_are_not_given_up_when_the_disk_fills_while_an_array_is_halved(cluster: Cluster) -> None:
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


def test_what_is_refused_for_good_has_failed(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [Refused("Invalid partition")]
    jobs = launcher.submit(cluster.specs(2))
    assert [(job.result().status, job.result().error, job.result().cause) for job in jobs] == [
        ("failed", "could not start: sbatch: Invalid partition", None)
    ] * 2
    assert list(batches.open_batches(cluster.root)) == []
    assert launcher.free == 500


def test_what_is_refused_does_not_keep_other_arrays_back(cluster: Cluster) -> None:
    cluster.scheduler.answers = [Refused("Invalid partition")]
    jobs = cluster.launcher(max_array=1).submit(cluster.specs(2))
    assert [job.done() for job in jobs] == [True, False]


def test_a_run_whose_folder_is_gone_does_not_keep_the_others_back(cluster: Cluster) -> None:
    specs = cluster.specs(3)
    shutil.rmtree(specs[1].run_dir)
    jobs = cluster.launcher().submit(specs)
    assert [job.done() for job in jobs] == [False, True, False]


def test_a_submission_whose_answer_was_lost_is_found_and_not_repeated(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers, cluster.scheduler.accepted_unheard = [UNCLEAR], True
    (job,) = launcher.submit(cluster.specs(1))
    assert job.id == "?_0"
    wait(launcher, 600)
    assert job.id == "17_0"
    assert len(cluster.scheduler.tried) == 1
    assert next(batches.open_batches(cluster.root)).job_id() == "17"


def test_a_submission_that_never_arrived_is_repeated_once_that_is_certain(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [UNCLEAR]
    (job,) = launcher.submit(cluster.specs(1))
    wait(launcher, 600)
    (first, _), (second, _) = cluster.scheduler.tried
    assert second - first >= 60
    assert job.id == "17_0"


def test_while_nobody_answers_an_unclear_submission_is_not_repeated(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [UNCLEAR]
    cluster.scheduler.queue_silent = True
    launcher.submit(cluster.specs(1))
    wait(launcher, 3600)
    assert len(cluster.scheduler.tried) == 1


def test_more_memory_is_asked_for_after_each_time_that_it_was_too_little(cluster: Cluster) -> None:
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


# Watching


def test_a_job_that_waits_tells_why(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    assert job.state == "submitted"
    polls(launcher, 3)
    assert job.state == "pending (Priority)"


def test_a_job_that_has_begun_has_no_state_of_its_own(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    assert job.state == ""
    assert not job.done()


def test_the_result_of_a_run_is_taken_from_its_folder(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    result = cluster.end(job)
    polls(launcher)
    assert job.result() == result


def test_a_run_that_failed_by_itself_is_failed_as_it_says(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    result = cluster.end(job, "failed", "error", "ValueError: no such thing")
    polls(launcher, 2)
    assert job.result() == result


def test_runs_of_a_job_end_one_by_one(cluster: Cluster) -> None:
    launcher = cluster.launcher(runs_per_job=2)
    first, second = launcher.submit(cluster.specs(2))
    cluster.run(first)
    end(first.spec)
    begin(second.spec)
    cluster.note(first, "running", [first])
    polls(launcher)
    assert (first.done(), second.done()) == (True, False)


def test_a_note_written_within_a_tick_of_the_file_systems_clock_is_read(cluster: Cluster) -> None:
    """Some clusters' file systems count seconds."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    assert isinstance(job, SlurmJob)
    path = job.task.sent.batch.task(job.task.index)
    before = path.stat()
    cluster.end(job, "failed", "error", "ValueError: no such thing")
    cluster.scheduler.silent = True
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    polls(launcher, 3)
    assert job.done()


def test_an_older_result_is_not_taken_for_the_new_attempts(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (spec,) = cluster.specs(1)
    begin(spec)
    end(spec, "failed", "error", "an older one")
    (job,) = launcher.submit([spec])
    cluster.say(job, "RUNNING", "node1")
    cluster.note(job, "running")
    polls(launcher, 3)
    assert not job.done()


def test_a_run_that_completed_in_a_job_given_up_for_lost_has_completed(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (spec,) = cluster.specs(1)
    begin(spec)
    result = end(spec)
    (job,) = launcher.submit([spec])
    cluster.say(job, "RUNNING", "node1")
    polls(launcher)
    assert job.result() == result


def test_a_run_that_is_tried_again_in_its_job_is_not_over(cluster: Cluster) -> None:
    """Its first attempt left a failed result, and the second is under way."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    end(job.spec, "failed", "out_of_memory", "MemoryError")
    polls(launcher, 2)
    begin(job.spec)
    polls(launcher, 2)
    assert not job.done()


def test_one_question_a_poll_however_many_jobs(cluster: Cluster) -> None:
    launcher = cluster.launcher(max_array=4)
    jobs = launcher.submit(cluster.specs(40))
    for job in jobs:
        cluster.say(job, "RUNNING", "node1")
    polls(launcher, 5)
    assert cluster.scheduler.calls["states"] == 5
    assert cluster.scheduler.calls["still_alive"] == 0


def test_the_scheduler_is_asked_no_more_often_than_told(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.say(job, "RUNNING", "node1")
    wait(launcher, 300)
    assert cluster.scheduler.calls["states"] <= 11


def test_waiting_ends_when_a_run_does(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    launcher.wait(1)
    cluster.end(job)
    began = cluster.clock()
    launcher.wait(1000)
    assert job.done()
    assert cluster.clock() - began <= POLL_S + 1


def test_where_nothing_is_under_way_nothing_is_waited_for(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    launcher.wait(1000)
    assert cluster.clock() == 1000.0


def test_a_job_of_the_same_id_but_another_name_is_not_ours(cluster: Cluster) -> None:
    """slurmctld lost ours in a crash, and somebody else has its id now."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.scheduler.says[key(job)] = State("RUNNING", "node1", name="somebody-elses")
    wait(launcher, 300)
    assert job.result().cause == "lost"


def test_jobs_that_slurm_holds_after_a_node_failed_to_start_them_are_released(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    jobs = launcher.submit(cluster.specs(2))
    cluster.say(jobs[1], "PENDING", reason="launch failed requeued held")
    polls(launcher)
    assert cluster.scheduler.released == ["17_1"]
    assert launcher.news()[1:] == ["1 job that a node failed to start held by Slurm, and released"]


# How jobs die


def dead(cluster: Cluster, word: str, signal: int = 0, *, begun: bool = True) -> Job:
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
    cluster: Cluster, word: str, signal: int, cause: Cause
) -> None:
    job = dead(cluster, word, signal)
    result = job.result()
    assert (result.status, result.cause, result.attempts) == ("failed", cause, 1)
    assert "job 17_0" in str(result.error)
    assert RunResult.read(job.spec.folder) == result
    assert ledger.causes(job.spec.folder) == {cause: 1}


def test_a_job_that_died_tells_signal_and_node(cluster: Cluster) -> None:
    error = dead(cluster, "FAILED", 11).result().error
    assert error == "its job 17_0 ended as FAILED by signal 11 on node1"


def test_a_job_that_somebody_cancelled_is_cancelled(cluster: Cluster) -> None:
    """And not tried again."""
    result = dead(cluster, "CANCELLED").result()
    assert (result.status, result.cause) == ("cancelled", None)


def test_a_job_cancelled_in_the_queue_is_cancelled(cluster: Cluster) -> None:
    result = dead(cluster, "CANCELLED", begun=False).result()
    assert (result.status, result.cause) == ("cancelled", None)


def test_a_job_that_failed_before_our_program_began_says_what_it_printed(cluster: Cluster) -> None:
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


def test_an_output_that_cannot_be_opened_is_no_kill(cluster: Cluster) -> None:
    """Slurm's own code 53 stands where a signal's number does."""
    assert dead(cluster, "FAILED", 53, begun=False).result().cause == "lost"


def test_a_job_that_died_before_its_run_began_was_an_attempt(cluster: Cluster) -> None:
    """Or a node that kills jobs at once would get the run again without end."""
    job = dead(cluster, "NODE_FAIL", begun=False)
    assert job.result().attempts == 1
    assert attempts_made(job.spec.folder) == 1
    assert ledger.causes(job.spec.folder) == {"node_failure": 1}


def test_attempts_of_jobs_that_die_at_once_add_up(cluster: Cluster) -> None:
    (spec,) = cluster.specs(1)
    launcher = cluster.launcher()
    for _ in range(3):
        (job,) = launcher.submit([spec])
        cluster.say(job, "NODE_FAIL", "node1")
        polls(launcher, 2)
        assert job.done()
    assert job.result().attempts == 3
    assert ledger.causes(spec.folder) == {"node_failure": 3}


def test_a_node_failure_after_which_slurm_queues_the_job_again_is_no_end(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    cluster.say(job, "NODE_FAIL", "node1")
    polls(launcher)
    cluster.say(job, "PENDING", reason="BeginTime")
    polls(launcher, 5)
    assert not job.done()
    cluster.run(job, "node2")
    cluster.end(job)
    polls(launcher)
    assert (job.result().status, job.result().attempts) == ("completed", 2)


def test_where_accounting_is_late_the_queue_is_believed(cluster: Cluster) -> None:
    """sacct says NODE_FAIL for minutes, though the job is in the queue again."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    cluster.scheduler.accounting = {key(job): State("NODE_FAIL", "node1")}
    cluster.say(job, "PENDING", reason="BeginTime")
    wait(launcher, 600)
    assert not job.done()


def test_a_job_that_accounting_does_not_know_yet_is_not_lost(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.scheduler.accounting = {}
    wait(launcher, 900)
    assert not job.done()


def test_a_job_that_nobody_knows_any_more_is_lost(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    cluster.forget(job)
    wait(launcher, 90)
    assert not job.done()
    wait(launcher, 120)
    result = job.result()
    assert (result.status, result.cause) == ("failed", "lost")
    assert result.error == "its job 17_0 is not known to Slurm any more, and left no result on node1"


def test_a_job_that_is_forgotten_but_writes_its_note_is_alive(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.forget(job)
    for _ in range(40):
        cluster.note(job, "running")
        wait(launcher, 10)
    assert not job.done()


def test_a_job_that_slurmctld_lost_is_not_waited_for_though_accounting_calls_it_pending(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.scheduler.accounting = dict(cluster.scheduler.says)
    cluster.forget(job)
    wait(launcher, 45 * POLL_S)
    assert job.result().cause == "lost"


def test_runs_that_had_not_begun_when_their_job_died_are_charged_nothing(cluster: Cluster) -> None:
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


def test_a_result_left_by_a_job_that_then_died_is_the_result(cluster: Cluster) -> None:
    """Its node died before it could say that it was over."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    result = end(job.spec, "failed", "error", "ValueError: no such thing")
    cluster.say(job, "NODE_FAIL", "node1")
    polls(launcher, 2)
    assert job.result() == result


def test_a_result_that_a_later_attempt_of_the_job_outdated_is_not_the_result(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    end(job.spec, "failed", "out_of_memory", "MemoryError")
    begin(job.spec)
    cluster.say(job, "NODE_FAIL", "node1")
    polls(launcher, 2)
    assert (job.result().cause, job.result().attempts) == ("node_failure", 2)
    assert ledger.causes(job.spec.folder) == {"out_of_memory": 1, "node_failure": 1}


def test_an_end_that_was_asked_for_has_the_cause_that_slurm_tells(cluster: Cluster) -> None:
    """The job saved its run when it was told to end, and could not find out why."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    end(job.spec, "cancelled")
    cluster.note(job, "over")
    cluster.say(job, "PREEMPTED", "node1")
    polls(launcher, 2)
    assert (job.result().cause, job.result().attempts) == ("preempted", 1)
    assert ledger.causes(job.spec.folder) == {"preempted": 1}


def test_a_job_at_its_time_limit_that_cannot_be_queued_again_says_so(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    result = end(job.spec, "cancelled", "time_limit")
    cluster.note(job, "over", cause="time_limit")
    cluster.say(job, "FAILED", "node1")
    polls(launcher)
    assert job.result() == result


def test_a_job_that_was_queued_again_and_then_cancelled_by_somebody_is_cancelled(cluster: Cluster) -> None:
    """Its run was saved at the time limit; what ended the job is the scancel."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    end(job.spec, "cancelled", "time_limit")
    cluster.note(job, "requeued", cause="time_limit")
    cluster.say(job, "PENDING", reason="BeginTime")
    polls(launcher)
    cluster.say(job, "CANCELLED")
    polls(launcher, 3)
    assert (job.result().status, job.result().cause) == ("cancelled", None)


def test_an_error_of_the_machines_counts_against_the_node_and_not_the_run(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.end(job, "failed", "error", "RuntimeError: CUDA error: uncorrectable ECC error encountered")
    polls(launcher)
    assert job.result().cause == "node_failure"
    assert ledger.causes(job.spec.folder) == {"node_failure": 1}


def test_a_node_on_which_job_after_job_dies_is_avoided(cluster: Cluster) -> None:
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


def test_a_silent_scheduler_is_asked_less_and_less(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    launcher.submit(cluster.specs(1))
    cluster.scheduler.silent = True
    wait(launcher, 3600)
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(cluster.scheduler.asked)]
    assert pauses[:4] == [60, 120, 240, 300]
    assert set(pauses[4:]) == {300}


def test_silence_and_its_end_are_told_once_each(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    launcher.submit(cluster.specs(1))
    cluster.scheduler.silent = True
    wait(launcher, 900)
    assert len([text for text in launcher.news() if "does not answer" in text]) == 1
    cluster.scheduler.silent = False
    wait(launcher, 900)
    assert len([text for text in launcher.news() if "answers again" in text]) == 1


def test_from_silence_nothing_is_concluded(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    waiting, running = launcher.submit(cluster.specs(2))
    cluster.run(running)
    polls(launcher)
    cluster.scheduler.silent = True
    wait(launcher, 12 * 3600)
    assert not waiting.done()
    assert not running.done()


def test_results_are_collected_though_nobody_answers(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.scheduler.silent = True
    wait(launcher, 60)
    result = cluster.end(job)
    wait(launcher, 600)
    assert job.result() == result


def test_jobs_that_waited_through_a_silence_are_alive_after_it(cluster: Cluster) -> None:
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
    cluster: Cluster, said: State | None
) -> None:
    """slurmctld restarts, and has queued the job again: a second job for its run would be one too many."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    cluster.say(job, "PENDING", reason="BeginTime")
    cluster.scheduler.accounting = {} if said is None else {key(job): said}
    cluster.scheduler.queue_silent = True
    wait(launcher, 900)
    assert not job.done()


# Cancelling


def test_jobs_that_wait_are_taken_from_the_queue_in_one_call_for_each_array(cluster: Cluster) -> None:
    launcher = cluster.launcher(max_array=10)
    jobs = launcher.submit(cluster.specs(20))
    for job in jobs:
        job.cancel()
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == [Cancelled("17", None), Cancelled("18", None)]


def test_of_an_array_only_what_was_cancelled_is_taken(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    jobs = launcher.submit(cluster.specs(5))
    for job in (jobs[1], jobs[3]):
        job.cancel()
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == [Cancelled("17", (1, 3))]


def test_a_job_cancelled_twice_takes_no_other_with_it(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    first, _ = launcher.submit(cluster.specs(2))
    first.cancel()
    first.cancel(at_once=True)
    launcher.wait(0.5)
    assert [set(call.tasks or ()) for call in cluster.scheduler.cancelled] == [{0}]


def test_a_cancel_that_was_heard_late_takes_no_other_job_with_it(cluster: Cluster) -> None:
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


def test_a_cancel_that_slurm_does_not_hear_is_repeated_and_told_once(cluster: Cluster) -> None:
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


def test_a_run_that_has_begun_is_asked_through_its_folder(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    job.cancel()
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == []
    assert job.spec.folder.stop.exists()
    (batch,) = batches.open_batches(cluster.root)
    assert batch.stop_task(0).exists()


def test_a_run_that_has_begun_is_ended_at_once_through_the_scheduler(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    job.cancel(at_once=True)
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == [Cancelled("17", None)]


def test_a_job_that_is_back_in_the_queue_is_taken_from_it(cluster: Cluster) -> None:
    """It may wait there for days, and the study for it."""
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    cluster.note(job, "requeued", cause="time_limit")
    cluster.say(job, "PENDING", reason="BeginTime")
    polls(launcher)
    job.cancel()
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == [Cancelled("17", None)]


def test_a_job_that_slurm_queues_again_after_its_last_run_is_taken_from_the_queue(cluster: Cluster) -> None:
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


def test_one_run_of_a_job_is_asked_alone(cluster: Cluster) -> None:
    launcher = cluster.launcher(runs_per_job=2)
    first, _ = launcher.submit(cluster.specs(2))
    first.cancel(at_once=True)
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == []
    assert first.spec.folder.stop.exists()
    (batch,) = batches.open_batches(cluster.root)
    assert not batch.stop_task(0).exists()


def test_a_job_whose_last_run_is_cancelled_is_not_wanted_back(cluster: Cluster) -> None:
    """The other run has completed: without the batch's stop the job would go back into the queue, and begin again."""
    launcher = cluster.launcher(runs_per_job=2)
    first, second = launcher.submit(cluster.specs(2))
    cluster.run(first)
    end(first.spec)
    begin(second.spec)
    cluster.note(first, "running", [first])
    polls(launcher)
    second.cancel()
    (batch,) = batches.open_batches(cluster.root)
    assert batch.stop_task(0).exists()


def test_a_cancelled_run_is_cancelled_whatever_slurm_says(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    polls(launcher)
    job.cancel(at_once=True)
    cluster.say(job, "FAILED", "node1", signal=9)
    wait(launcher, 120)
    assert (job.result().status, job.result().cause) == ("cancelled", None)


def test_a_run_cancelled_before_it_was_submitted_never_is(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers = [BUSY]
    (job,) = launcher.submit(cluster.specs(1))
    job.cancel()
    wait(launcher, 120)
    assert (job.result().status, job.result().error) == ("cancelled", "never submitted")
    assert len(cluster.scheduler.tried) == 1
    assert list(batches.open_batches(cluster.root)) == []


def test_an_array_that_may_have_been_submitted_is_looked_for_and_cancelled(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    cluster.scheduler.answers, cluster.scheduler.accepted_unheard = [UNCLEAR], True
    (job,) = launcher.submit(cluster.specs(1))
    job.cancel()
    wait(launcher, 300)
    assert cluster.scheduler.cancelled == [Cancelled("17", None)]


def test_cancelling_what_is_over_is_no_error(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    (job,) = launcher.submit(cluster.specs(1))
    cluster.run(job)
    cluster.end(job)
    polls(launcher)
    job.cancel(at_once=True)
    launcher.wait(0.5)
    assert cluster.scheduler.cancelled == []


def test_closing_cancels_what_was_to_be_cancelled_and_nothing_else(cluster: Cluster) -> None:
    launcher = cluster.launcher()
    first, _ = launcher.submit(cluster.specs(2))
    first.cancel()
    launcher.close()
    assert cluster.scheduler.cancelled == [Cancelled("17", (0,))]


# What an earlier controller left


def left(cluster: Cluster, count: int = 1, **changes: Any) -> tuple[list[RunSpec], list[Job]]:
    """Runs, and their jobs as a controller knew them that is gone now."""
    specs = cluster.specs(count)
    return specs, cluster.launcher(**changes).submit(specs)


def test_jobs_in_the_queue_are_taken_over(cluster: Cluster) -> None:
    specs, _ = left(cluster, 3)
    launcher = cluster.launcher()
    jobs = launcher.adopt(specs)
    assert [job.id for job in jobs] == ["17_0", "17_1", "17_2"]
    polls(launcher)
    assert jobs[0].state == "pending (Priority)"
    assert launcher.free == 497


def test_a_run_that_ended_meanwhile_is_heard_of(cluster: Cluster) -> None:
    specs, (before,) = left(cluster)
    cluster.run(before)
    result = cluster.end(before)
    launcher = cluster.launcher()
    (job,) = launcher.adopt(specs)
    wait(launcher, 5)
    assert job.result() == result


def test_a_job_that_died_meanwhile_is_told_of(cluster: Cluster) -> None:
    specs, (before,) = left(cluster)
    cluster.run(before)
    cluster.say(before, "NODE_FAIL", "node1")
    launcher = cluster.launcher()
    (job,) = launcher.adopt(specs)
    wait(launcher, 120)
    assert job.result().cause == "node_failure"


def test_a_batch_whose_id_was_never_written_down_is_found_by_its_name(cluster: Cluster) -> None:
    """Its controller died between sbatch and the note."""
    specs, _ = left(cluster, 2)
    (batch,) = batches.open_batches(cluster.root)
    (batch.folder / "submitted.json").unlink()
    jobs = cluster.launcher().adopt(specs)
    assert [job.id for job in jobs] == ["17_0", "17_1"]
    assert batch.job_id() == "17"


def test_a_batch_that_never_reached_slurm_is_left_to_be_submitted_anew(cluster: Cluster) -> None:
    """Its controller died before sbatch. It is waited for while sbatch may still be under way, a minute."""
    specs = cluster.specs(1)
    batches.create(cluster.root, "study", [[specs[0].run_id]], {}, allocation(resources(specs[0])))
    began = cluster.clock()
    assert cluster.launcher().adopt(specs) == []
    assert 55 <= cluster.clock() - began <= 65
    assert list(batches.open_batches(cluster.root)) == []


def test_a_batch_that_could_not_be_looked_for_at_first_is_left_to_be_submitted_anew(cluster: Cluster) -> None:
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


def test_a_silent_scheduler_is_not_asked_for_a_batch_at_every_turn(cluster: Cluster) -> None:
    specs = cluster.specs(1)
    batches.create(cluster.root, "study", [[specs[0].run_id]], {}, allocation(resources(specs[0])))
    cluster.scheduler.queue_silent = True
    launcher = cluster.launcher()
    launcher.adopt(specs)
    wait(launcher, 600)
    assert cluster.scheduler.calls["find"] <= 25


def test_of_a_run_that_was_tried_again_the_newest_job_counts(cluster: Cluster) -> None:
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


def test_batches_that_are_over_are_not_taken_up_again(cluster: Cluster) -> None:
    specs = cluster.specs(1)
    launcher = cluster.launcher()
    (job,) = launcher.submit(specs)
    cluster.run(job)
    cluster.end(job)
    polls(launcher)
    assert cluster.launcher().adopt(specs) == []


def test_runs_that_nobody_asks_for_are_not_taken_up(cluster: Cluster) -> None:
    left(cluster, 2)
    assert cluster.launcher().adopt(cluster.specs(1, first=10)) == []


def test_jobs_in_the_queue_whose_runs_nobody_asks_for_are_left_alone(cluster: Cluster) -> None:
    """Another command on the same study may have asked for them."""
    specs, _ = left(cluster, 2)
    launcher = cluster.launcher()
    launcher.adopt(specs[:1])
    wait(launcher, 120)
    launcher.close()
    assert cluster.scheduler.cancelled == []


def test_a_job_that_obeyed_a_stop_before_its_run_began_is_cancelled(cluster: Cluster) -> None:
    """`cancel` without a controller: the job began, saw the stop, and ended 1, which Slurm calls FAILED."""
    specs, (before,) = left(cluster)
    RunResult(specs[0].run_id, "cancelled", attempts=0, error="cancelled before it had begun").write(specs[0].folder)
    cluster.note(before, "over", [before])
    cluster.say(before, "FAILED", "node1")
    launcher = cluster.launcher()
    (job,) = launcher.adopt(specs)
    wait(launcher, 120)
    assert (job.result().status, job.result().cause) == ("cancelled", None)


def test_a_run_that_ended_in_a_job_that_waits_again_for_its_others_is_heard_of(cluster: Cluster) -> None:
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
