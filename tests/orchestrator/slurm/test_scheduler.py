"""What Slurm's programs are asked is what was meant, and no answer is made up."""

from pathlib import Path

import pytest

from orchestrator.launchers.slurm.scheduler import NoAnswer, SbatchOptions, Slurm, State, ask
from tests.orchestrator.slurm.programs import HEADING, Programs
from tests.orchestrator.slurm.requests import request


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
