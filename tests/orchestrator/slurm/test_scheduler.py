"""What Slurm's programs print is read, whatever it is, and what they are asked is what was meant."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.batches import Allocation
from orchestrator.launchers.slurm.jobs import find_state
from orchestrator.launchers.slurm.scheduler import (
    REST,
    NoAnswer,
    NotNow,
    Refused,
    Request,
    SbatchOptions,
    Slurm,
    State,
    ask,
    minutes,
    read_sacct,
    read_squeue,
    sbatch_text,
)
from orchestrator.launchers.slurm.submission import request_for
from orchestrator.resources import Resources
from orchestrator.retries import NO_RETRIES
from tests.orchestrator.slurm.programs import Programs

HEADING = "JobID|State|NodeList|ExitCode|JobName\n"
ALLOCATION = Allocation("m:f", (), 1, 1, 1, 1, 1, 60.0, True, NO_RETRIES.model_dump(), None)
RESOURCES = Resources(nodes=1, gpus=1, cpus=4, mem_gb=4.5, time_min=90, partition=None, constraint=None)


def request(
    study: Path, tasks: int = 3, side: int = 1, environment: dict[str, str] | None = None, **changes: Any
) -> Request:
    allocation = dataclasses.replace(ALLOCATION, runs_at_a_time=side)
    batch = batches.create(study, "s", [[f"r{n}"] for n in range(tasks)], {}, allocation)
    resources = dataclasses.replace(RESOURCES, **changes)
    return request_for(batch, resources, allocation, "/opt/python", environment or {})


def directives(made: Request, **options: Any) -> dict[str, str]:
    """The #SBATCH lines of a submission."""
    lines = sbatch_text(made, SbatchOptions(**options)).splitlines()
    pairs = [line.removeprefix("#SBATCH --").partition("=") for line in lines if line.startswith("#SBATCH")]
    return {key: value for key, _, value in pairs}


# sacct


def test_sacct_tells_state_node_signal_and_name() -> None:
    found = read_sacct(HEADING + "17_3|RUNNING|node1|0:0|s-1a\n17_4|FAILED|node2|0:9|s-1a\n")
    assert found == {
        ("17", 3): State("RUNNING", "node1", name="s-1a"),
        ("17", 4): State("FAILED", "node2", signal=9, name="s-1a"),
    }


def test_who_cancelled_a_job_is_no_part_of_its_state() -> None:
    assert read_sacct(HEADING + "17_3|CANCELLED by 0|node1|0:15|s\n")["17", 3].word == "CANCELLED"


def test_a_state_that_is_cut_is_read() -> None:
    assert read_sacct(HEADING + "17_3|CANCELLED+|node1|0:15|s\n")["17", 3].word == "CANCELLED"


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ("[3-5,8]", {3, 4, 5, 8}),
        ("[0-999%50]", set(range(1000))),
        ("[7]", {7}),
        ("[7%1]", {7}),
        ("[1,3,5-6%2]", {1, 3, 5, 6}),
    ],
)
def test_ranges_of_waiting_tasks_are_all_of_them(tasks: str, expected: set[int]) -> None:
    found = read_sacct(HEADING + f"17_{tasks}|PENDING|None assigned|0:0|s\n")
    assert {task for _, task in found} == expected
    assert set(found.values()) == {State("PENDING", name="s")}


def test_an_array_of_which_nothing_has_begun_speaks_for_all_its_tasks() -> None:
    found = read_sacct(HEADING + "17|PENDING|None assigned|0:0|s\n18_0|RUNNING|n|0:0|t\n")
    assert found["17", REST].waiting
    assert find_state(found, "17", 5, "s") == State("PENDING", name="s")
    assert find_state(found, "18", 5, "t") is None


def test_steps_of_jobs_are_not_the_jobs() -> None:
    text = (
        "17_3|COMPLETED|n|0:0|s\n17_3.batch|FAILED|n|1:0|batch\n17_3.extern|COMPLETED|n|0:0|e\n17_3.0|FAILED|n|1:0|p\n"
    )
    assert read_sacct(HEADING + text) == {("17", 3): State("COMPLETED", "n", name="s")}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        HEADING,
        HEADING + "\n\n",
        HEADING + "|||||\n",
        HEADING + "17_x|RUNNING|n|0:0|s\n",
        HEADING + "17_[1,3,5,...]|PENDING||0:0|s\n",
        HEADING + "17_[]|PENDING||0:0|s\n",
        HEADING + "\ufffd\ufffd|\ufffd\n",
        "slurm_load_jobs error: Unable to contact slurm controller\n",
    ],
)
def test_what_is_not_a_job_tells_of_no_task(text: str) -> None:
    assert not [key for key in read_sacct(text) if key[0] == "17"]


def test_lines_without_a_heading_tell_of_nothing() -> None:
    """As where a site's own program prints a notice first."""
    assert read_sacct("*** maintenance on Monday ***\n*** mind the gap ***\n") == {}


def test_a_notice_before_the_heading_does_not_hide_the_jobs() -> None:
    assert read_sacct("*** maintenance on Monday ***\n" + HEADING + "17_3|RUNNING|n|0:0|s\n").keys() == {("17", 3)}


@pytest.mark.parametrize("line", ["17_3", "17_3||||", "17_3| |n|0:0|s", "17_3||n|x:y|s", "17_3||n||s"])
def test_a_line_that_tells_no_state_is_no_life_sign(line: str) -> None:
    state = read_sacct(f"{HEADING}{line}\n")["17", 3]
    assert (state.word, state.alive, state.signal) == ("UNKNOWN", False, 0)


@given(st.text(alphabet="17_[]-,%|.:+ \nRUNAJobIDState\ufffd", max_size=80))
def test_no_line_after_the_heading_raises(text: str) -> None:
    read_sacct(HEADING + text)


# squeue


def test_squeue_tells_the_reason() -> None:
    found = read_squeue("17|3|PENDING||s-1a|Priority\n17|4|RUNNING|node1|s-1a|None\n")
    assert found == {
        ("17", 3): State("PENDING", reason="Priority", name="s-1a"),
        ("17", 4): State("RUNNING", "node1", name="s-1a"),
    }


def test_a_reason_may_hold_anything() -> None:
    text = "17|3|PENDING||s|(launch failed requeued held|odd)\n"
    assert read_squeue(text)["17", 3].reason == "(launch failed requeued held|odd)"


@pytest.mark.parametrize(
    "text", ["", "\n", "garbage", "17|N/A|RUNNING|n|s|None", "|||||", "17||RUNNING", "\ufffd|\ufffd"]
)
def test_what_is_no_task_of_an_array_is_left_out(text: str) -> None:
    assert read_squeue(text) == {}


@given(st.text(max_size=60))
def test_no_line_of_squeue_raises(text: str) -> None:
    read_squeue(text)


# Words


@pytest.mark.parametrize(
    ("word", "alive", "waiting"),
    [
        ("PENDING", True, True),
        ("REQUEUED", True, True),
        ("REQUEUE_HOLD", True, True),
        ("RUNNING", True, False),
        ("SUSPENDED", True, False),
        ("COMPLETING", True, False),
        ("COMPLETED", False, False),
        ("NODE_FAIL", False, False),
        ("UNKNOWN", False, False),
    ],
)
def test_words_of_slurm(word: str, alive: bool, waiting: bool) -> None:
    assert (State(word).alive, State(word).waiting) == (alive, waiting)


def test_a_job_of_another_name_is_another_job() -> None:
    """slurmctld may give an id again, after a crash."""
    states = {("17", 0): State("RUNNING", name="somebody-elses")}
    assert find_state(states, "17", 0, "ours") is None


# What sbatch is given


def test_an_array_begins_at_0(tmp_path: Path) -> None:
    assert directives(request(tmp_path, tasks=3))["array"] == "0-2%3"


def test_one_run_is_an_array_too(tmp_path: Path) -> None:
    assert directives(request(tmp_path, tasks=1))["array"] == "0-0%1"


def test_resources_become_options(tmp_path: Path) -> None:
    made = directives(request(tmp_path, nodes=2, partition="gpu", constraint="a100|h100"), account="acc", qos="high")
    expected = {
        "nodes": "2",
        "ntasks-per-node": "1",
        "cpus-per-task": "4",
        "mem": "4608M",
        "gres": "gpu:1",
        "time": "90",
    }
    expected |= {"partition": "gpu", "constraint": "'a100|h100'", "account": "acc", "qos": "high", "requeue": ""}
    assert {key: made.get(key) for key in expected} == expected
    assert made["job-name"].startswith("s-")


def test_what_is_left_to_the_site_is_not_asked_for(tmp_path: Path) -> None:
    made = directives(request(tmp_path, gpus=0, mem_gb=None))
    assert not {"mem", "gres", "gpus-per-node", "partition", "account", "qos", "constraint", "exclude"} & made.keys()


def test_runs_side_by_side_need_their_resources_at_once(tmp_path: Path) -> None:
    made = directives(request(tmp_path, side=3))
    assert (made["cpus-per-task"], made["mem"], made["gres"]) == ("12", "13824M", "gpu:3")


def test_gpus_may_be_asked_for_by_type_and_in_the_other_way(tmp_path: Path) -> None:
    made = request(tmp_path)
    assert directives(made, gpu_type="a100")["gres"] == "gpu:a100:1"
    assert directives(made, gpu_type="a100", gpu_request="gpus")["gpus-per-node"] == "a100:1"
    assert "gres" not in directives(made, gpu_request="gpus")


def test_further_options_are_passed_on(tmp_path: Path) -> None:
    made = directives(request(tmp_path), extra=("--mail-type=END", "--exclusive", "--comment=a=b"))
    assert (made["mail-type"], made["exclusive"], made["comment"]) == ("END", "", "a=b")


def test_short_options_are_passed_on_as_they_are(tmp_path: Path) -> None:
    """The settings take them: `-C gpu`."""
    text = sbatch_text(request(tmp_path), SbatchOptions(extra=("-C gpu",)))
    assert "--C gpu" not in text


def test_jobs_are_told_before_their_end_at_most_a_quarter_of_their_time(tmp_path: Path) -> None:
    assert directives(request(tmp_path, time_min=90), grace_s=120)["signal"] == "USR2@120"
    assert directives(request(tmp_path, time_min=4), grace_s=120)["signal"] == "USR2@60"
    assert SbatchOptions(grace_s=120).signal_s(0.01) == 1


def test_a_job_gets_the_time_that_was_asked_for() -> None:
    """Slurm counts whole minutes."""
    assert [minutes(asked) for asked in (0.2, 1, 60)] == [1, 1, 60]
    assert all(minutes(asked) >= asked for asked in (1.4, 2.5, 90.4))


def test_a_site_that_does_not_want_jobs_back_is_told_so(tmp_path: Path) -> None:
    made = directives(request(tmp_path), requeue=False)
    assert "no-requeue" in made
    assert "requeue" not in made


def test_nodes_to_avoid_are_added_to_those_of_the_user(tmp_path: Path) -> None:
    assert directives(request(tmp_path), exclude="n9", excluded={"n2", "n1"})["exclude"] == "n9,n1,n2"


def test_the_shell_is_set_up_before_the_program_begins(tmp_path: Path) -> None:
    made = request(tmp_path / "a b", environment={"PYTHONPATH": "/c d:/e"})
    text = sbatch_text(made, SbatchOptions(setup=("module load cuda",)))
    export, module, program = (text.index(part) for part in ("export PYTHONPATH='/c d:/e'", "module load", "srun"))
    assert export < module < program
    assert f"/opt/python -u -m orchestrator.launchers.slurm.allocation '{made.batch.folder}'" in text
    assert "--cpus-per-task=4 " in text[program:]


# sbatch's answers


def submit(programs: Programs, tmp_path: Path) -> str:
    return Slurm(SbatchOptions()).submit(request(tmp_path))


def test_the_id_of_an_accepted_array_is_what_sbatch_prints(programs: Programs, tmp_path: Path) -> None:
    programs.tell("sbatch", "Submitted batch job 17\n")
    assert submit(programs, tmp_path) == "17"
    assert len(programs.asked("sbatch")) == 1


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid partition",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        "sbatch: error: Batch job submission failed: Requested node configuration is not available",
        "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
        "sbatch: error: Memory specification can not be satisfied",
        "sbatch: error: Batch job submission failed: Invalid job array specification",
        "sbatch: unrecognized option '--gpus-per-node=1'",
        "",
    ],
)
def test_what_will_never_be_accepted_is_refused(programs: Programs, tmp_path: Path, said: str) -> None:
    programs.tell("sbatch", error=said, code=1)
    with pytest.raises(Refused, match=said.splitlines()[0][:40] if said else None):
        submit(programs, tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)",
    ],
)
def test_a_limit_on_queued_jobs_is_one_for_now(programs: Programs, tmp_path: Path, said: str) -> None:
    programs.tell("sbatch", error=said, code=1)
    with pytest.raises(NotNow) as told:
        submit(programs, tmp_path)
    assert (told.value.limit, told.value.unclear) == (True, False)


@pytest.mark.parametrize(
    "reason", ["QOSMaxWallDurationPerJobLimit", "QOSMaxGRESPerJob", "AssocMaxNodesPerJob", "QOSMinGRES"]
)
def test_a_limit_on_what_one_job_may_have_is_one_for_ever(programs: Programs, tmp_path: Path, reason: str) -> None:
    """Slurm's second line is the same as for a limit on queued jobs; the first tells which it is."""
    policy = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
    said = f"sbatch: error: {reason}\nsbatch: error: Batch job submission failed: {policy}"
    programs.tell("sbatch", error=said, code=1)
    with pytest.raises(Refused):
        submit(programs, tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
        "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
        "sbatch: error: slurm_receive_msg: Transport endpoint is not connected",
    ],
)
def test_an_answer_that_was_lost_is_unclear(programs: Programs, tmp_path: Path, said: str) -> None:
    programs.tell("sbatch", error=said, code=1)
    with pytest.raises(NotNow) as told:
        submit(programs, tmp_path)
    assert (told.value.limit, told.value.unclear) == (False, True)


def test_a_cluster_whose_configuration_cannot_be_fetched_may_answer_later(programs: Programs, tmp_path: Path) -> None:
    """What sbatch says while the slurmctld of a cluster without configuration files is down."""
    said = (
        "sbatch: error: fetch_config: DNS SRV lookup failed\nsbatch: fatal: Could not establish a configuration source"
    )
    programs.tell("sbatch", error=said, code=1)
    with pytest.raises(NotNow):
        submit(programs, tmp_path)


@pytest.mark.parametrize("said", ["", "Thank you for using our cluster.\n"])
def test_success_without_a_job_id_is_unclear(programs: Programs, tmp_path: Path, said: str) -> None:
    """The array is there: refused, its jobs would train runs that have been given up."""
    programs.tell("sbatch", said)
    with pytest.raises(NotNow) as told:
        submit(programs, tmp_path)
    assert told.value.unclear


def test_a_notice_around_the_job_id_does_not_hide_it(programs: Programs, tmp_path: Path) -> None:
    programs.tell("sbatch", "Your balance is 3 h.\nSubmitted batch job 17 on cluster big\n", error="warning: x")
    assert submit(programs, tmp_path) == "17"


def test_bytes_that_are_no_text_do_not_hide_the_refusal(programs: Programs, tmp_path: Path) -> None:
    programs.script("sbatch", r"printf 'sbatch: error: \377 invalid\n' >&2; exit 1")
    with pytest.raises((Refused, NotNow)):
        submit(programs, tmp_path)


def test_a_machine_without_sbatch_has_submitted_nothing(programs: Programs, tmp_path: Path) -> None:
    with pytest.raises(NotNow) as told:
        submit(programs, tmp_path)
    assert not told.value.unclear


# Questions


def test_states_of_many_arrays_are_one_question(programs: Programs) -> None:
    programs.tell("sacct", HEADING + "17_0|RUNNING|n|0:0|s\n18_0|PENDING||0:0|t\n")
    assert len(Slurm(SbatchOptions()).states(["17", "18"])) == 2
    (asked,) = programs.asked("sacct")
    assert asked.endswith("-j 17,18")


def test_no_jobs_are_no_question(programs: Programs) -> None:
    assert Slurm(SbatchOptions()).states([]) == {}


def test_without_accounting_squeue_tells(programs: Programs) -> None:
    """And sacct is not asked each time."""
    programs.tell("sacct", error="Slurm accounting storage is disabled", code=1)
    programs.tell("squeue", "17|0|RUNNING|n|s|None\n99|0|RUNNING|n|other|None\n")
    slurm = Slurm(SbatchOptions())
    for _ in range(3):
        assert slurm.states(["17"]) == {("17", 0): State("RUNNING", "n", name="s")}
    assert len(programs.asked("sacct")) == 1


def test_where_neither_answers_nothing_is_known(programs: Programs) -> None:
    for name in ("sacct", "squeue"):
        programs.tell(name, error="Unable to contact", code=1)
    slurm = Slurm(SbatchOptions())
    with pytest.raises(NoAnswer):
        slurm.states(["17"])
    assert slurm.still_alive(["17"]) is None


def test_output_that_is_no_text_is_read_as_far_as_it_goes(programs: Programs) -> None:
    programs.tell("sacct", HEADING.encode() + b"\xff\xfe|\xff\n17_0|RUNNING|n\xff|0:0|s\n")
    assert Slurm(SbatchOptions()).states(["17"])["17", 0].word == "RUNNING"


def test_a_batch_is_found_by_its_name_in_the_queue_or_in_accounting(programs: Programs) -> None:
    programs.tell("squeue", "17|s-1a\n")
    programs.tell("sacct", "18_3|s-2b\n18_[4-9]|s-2b\n")
    assert Slurm(SbatchOptions()).find(["s-1a", "s-2b", "s-3c"]) == {"s-1a": "17", "s-2b": "18"}


def test_without_accounting_a_batch_is_found_in_the_queue(programs: Programs) -> None:
    programs.tell("squeue", "17|s-1a\n")
    programs.tell("sacct", code=1)
    assert Slurm(SbatchOptions()).find(["s-1a"]) == {"s-1a": "17"}


def test_without_the_queue_nobody_can_say_that_a_batch_is_not_there(programs: Programs) -> None:
    programs.tell("squeue", code=1)
    programs.tell("sacct", "")
    with pytest.raises(NoAnswer):
        Slurm(SbatchOptions()).find(["s-1a"])


def test_jobs_are_cancelled_by_id_and_name_together(programs: Programs) -> None:
    programs.tell("scancel")
    slurm = Slurm(SbatchOptions())
    slurm.cancel("s-1a", "17", None)
    slurm.cancel("s-1a", "17", [0, 3], waiting_only=True)
    assert programs.asked("scancel") == [
        "--quiet --name=s-1a 17",
        "--quiet --name=s-1a --state=PENDING 17_0 17_3",
    ]


def test_many_tasks_are_cancelled_in_few_calls(programs: Programs) -> None:
    programs.tell("scancel")
    Slurm(SbatchOptions()).cancel("s", "17", range(1200))
    assert len(programs.asked("scancel")) == 3


def test_a_cancel_that_slurm_does_not_hear_says_so(programs: Programs) -> None:
    programs.tell("scancel", error="Unable to contact slurm controller", code=1)
    with pytest.raises(NoAnswer, match="Unable to contact"):
        Slurm(SbatchOptions()).cancel("s", "17", None)


def test_bad_nodes_are_avoided_by_what_waits_and_by_what_is_to_come(programs: Programs, tmp_path: Path) -> None:
    programs.tell("scontrol", code=1)
    programs.tell("sbatch", "Submitted batch job 19\n")
    slurm = Slurm(SbatchOptions(exclude="n9"))
    slurm.avoid(["17", "18"], ["n2"])
    assert programs.asked("scontrol") == [f"update JobId={job} ExcNodeList=n9,n2" for job in ("17", "18")]
    made = request(tmp_path)
    slurm.submit(made)
    script = next(made.batch.folder.glob("*submission*.sh"))
    assert "--exclude=n9,n2" in script.read_text()


def test_held_jobs_are_released_in_one_call(programs: Programs) -> None:
    programs.tell("scontrol")
    Slurm(SbatchOptions()).release(["17_0", "17_5"])
    assert programs.asked("scontrol") == ["release 17_0,17_5"]


def test_a_program_that_is_missing_or_fails_gives_no_answer(programs: Programs) -> None:
    with pytest.raises(NoAnswer, match="sinfo"):
        ask("sinfo")
    programs.tell("sinfo", error="it is down", code=3)
    with pytest.raises(NoAnswer, match="it is down"):
        ask("sinfo")
    programs.tell("sinfo", code=3)
    with pytest.raises(NoAnswer, match="exit code 3"):
        ask("sinfo")


def test_lists_of_tasks_are_asked_for_whole(programs: Programs) -> None:
    programs.script("squeue", "echo $SLURM_BITSTR_LEN $SLURM_TIME_FORMAT")
    assert ask("squeue") == "0 standard\n"
