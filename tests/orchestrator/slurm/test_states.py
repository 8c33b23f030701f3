"""What sacct and squeue print is read, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.launchers.slurm.jobs import find_state
from orchestrator.launchers.slurm.scheduler import REST, State, read_sacct, read_squeue
from tests.orchestrator.slurm.programs import HEADING

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
