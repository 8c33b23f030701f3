"""Where a job finds itself, by the environment and by what Slurm says of it."""

import time

import pytest

from orchestrator.launchers.slurm.place import LocalPlace, SlurmPlace, Why, queue_again
from tests.orchestrator.slurm.programs import Programs

GRACE_S = 120.0
HEADING = "JobID|State|NodeList|ExitCode\n"


def place(restarts: int = 0) -> SlurmPlace:
    return SlurmPlace("17_3", 3, 0, "127.0.0.1", restarts)


def shown(state: str = "RUNNING", left_s: float = 7200, preempt: str = "None", restarts: int = 0) -> str:
    """A job in scontrol's words, `left_s` seconds before its time limit."""
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + left_s))
    return (
        f"JobId=20 ArrayJobId=17 ArrayTaskId=3 JobName=s-1a JobState={state} Reason=None Restarts={restarts} "
        f"TimeLimit=02:00:00 EndTime={end} PreemptEligibleTime=Unknown PreemptTime={preempt} NodeList=node1\n"
    )


def test_a_job_knows_itself_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"ARRAY_JOB_ID": "17", "ARRAY_TASK_ID": "3", "NODEID": "1", "RESTART_COUNT": "2"}
    for name, value in {**given, "LAUNCH_NODE_IPADDR": "10.0.0.7"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    here = SlurmPlace.here()
    assert (here.job_id, here.task, here.node_rank, here.first_host, here.restarts) == ("17_3", 3, 1, "10.0.0.7", 2)


def test_outside_of_a_job_there_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    with pytest.raises(KeyError):
        SlurmPlace.here()


def test_a_signal_shortly_before_the_end_is_the_time_limits(programs: Programs) -> None:
    programs.tell("scontrol", shown(left_s=GRACE_S))
    assert place().why_signalled(GRACE_S) == Why("time_limit", come_back=True)
    assert programs.asked("scontrol") == ["show job -o 17_3"]


def test_a_signal_long_before_the_end_is_a_preemption(programs: Programs) -> None:
    """Slurm does not queue again what ends within its grace, so it must do so itself."""
    programs.tell("scontrol", shown(left_s=7200))
    assert place().why_signalled(GRACE_S) == Why("preempted", come_back=True)


def test_a_job_that_is_preempted_shortly_before_its_end_is_preempted(programs: Programs) -> None:
    programs.tell("scontrol", shown(left_s=60, preempt="2026-01-01T00:00:00"))
    assert place().why_signalled(GRACE_S) == Why("preempted", come_back=True)


def test_a_job_without_a_time_limit_that_is_signalled_is_preempted(programs: Programs) -> None:
    programs.tell("scontrol", "JobState=RUNNING Restarts=0 EndTime=Unknown PreemptTime=None")
    assert place().why_signalled(GRACE_S) == Why("preempted", come_back=True)


def test_a_job_that_is_in_the_queue_again_already_need_not_go_there(programs: Programs) -> None:
    programs.tell("scontrol", shown(state="PENDING", restarts=2))
    assert place(restarts=1).why_signalled(GRACE_S) == Why("preempted", come_back=False)


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "FAILED"])
def test_a_job_that_somebody_cancelled_knows_no_cause(programs: Programs, state: str) -> None:
    programs.tell("scontrol", shown(state=state))
    assert place().why_signalled(GRACE_S) == Why(None)


@pytest.mark.parametrize(
    ("state", "cause"),
    [("TIMEOUT", "time_limit"), ("PREEMPTED", "preempted"), ("NODE_FAIL", "node_failure"), ("DEADLINE", "time_limit")],
)
def test_a_job_that_slurm_ends_already_tells_why(programs: Programs, state: str, cause: str) -> None:
    programs.tell("scontrol", shown(state=state))
    why = place().why_signalled(GRACE_S)
    assert (why.cause, why.come_back) == (cause, False)


def test_where_slurm_does_not_answer_the_controller_must_find_out(programs: Programs) -> None:
    programs.tell("scontrol", error="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    assert place().why_signalled(GRACE_S) == Why("lost", come_back=False)


@pytest.mark.parametrize("end", ["N/A", "None", "2026-01-01", "tomorrow"])
def test_an_end_that_cannot_be_read_is_no_error(programs: Programs, end: str) -> None:
    """The job has seconds left to save its runs, and must not crash in them."""
    programs.tell("scontrol", f"JobState=RUNNING Restarts=0 EndTime={end} PreemptTime=None")
    assert place().why_signalled(GRACE_S).cause in ("preempted", "time_limit")


@pytest.mark.parametrize("told", ["", "garbage", "\x00\x01", "slurm_load_jobs error"])
def test_an_answer_that_tells_no_state_is_no_error(programs: Programs, told: str) -> None:
    programs.tell("scontrol", told)
    place().why_signalled(GRACE_S)


def test_an_earlier_life_ended_as_accounting_says(programs: Programs) -> None:
    """The newest of those that have an end; the life under way is not one of them."""
    lines = ["17_3|PREEMPTED|node1|0:0", "17_3|NODE_FAIL|node2|0:0", "17_3|RUNNING|node3|0:0"]
    programs.tell("sacct", HEADING + "\n".join(lines) + "\n")
    assert place(restarts=2).earlier_end() == "node_failure"


def test_the_ends_of_other_tasks_are_not_this_ones(programs: Programs) -> None:
    programs.tell("sacct", HEADING + "17_3|PREEMPTED|node1|0:0\n17_4|NODE_FAIL|node2|0:0\n17_30|TIMEOUT|node2|0:0\n")
    assert place().earlier_end() == "preempted"


@pytest.mark.parametrize("told", ["", HEADING, HEADING + "17_3|REQUEUED|node1|0:0\n17_3|RUNNING|node1|0:0\n"])
def test_a_job_queued_again_by_somebody_else_was_preempted(programs: Programs, told: str) -> None:
    programs.tell("sacct", told)
    assert place().earlier_end() == "preempted"


def test_without_accounting_an_earlier_end_is_lost(programs: Programs) -> None:
    programs.tell("sacct", error="Slurm accounting storage is disabled", code=1)
    assert place().earlier_end() == "lost"


def test_a_job_queues_itself_again(programs: Programs) -> None:
    programs.tell("scontrol")
    assert place().queue_again()
    assert programs.asked("scontrol") == ["requeue 17_3"]


def test_a_site_that_disables_requeueing_is_asked_once(programs: Programs) -> None:
    programs.tell("scontrol", error="Requested operation is presently disabled", code=1)
    assert not queue_again("17_3")
    assert len(programs.asked("scontrol")) == 1


def test_on_this_machine_alone_a_signal_is_the_time_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "99")
    here = LocalPlace.here(2)
    assert (here.job_id, here.task) == ("local-99", 2)
    assert here.why_signalled(GRACE_S) == Why("time_limit", come_back=True)
    assert here.queue_again()
    assert here.exit_code != 0
