"""What sbatch is given, and what its answers mean."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.launchers.slurm.scheduler import NotNow, Refused, Request, SbatchOptions, Slurm, minutes, sbatch_text
from tests.orchestrator.slurm.programs import Programs
from tests.orchestrator.slurm.requests import request


def directives(made: Request, **options: Any) -> dict[str, str]:
    """The #SBATCH lines of a submission."""
    lines = sbatch_text(made, SbatchOptions(**options)).splitlines()
    pairs = [line.removeprefix("#SBATCH --").partition("=") for line in lines if line.startswith("#SBATCH")]
    return {key: value for key, _, value in pairs}


# What it is given


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


# Its answers


def submit(programs: Programs, tmp_path: Path) -> str:
    return Slurm(SbatchOptions()).submit(request(tmp_path))


def told_not_now(programs: Programs, tmp_path: Path, said: str) -> NotNow:
    """What the launcher is told where sbatch fails with these words."""
    programs.tell("sbatch", error=said, code=1)
    with pytest.raises(NotNow) as told:
        submit(programs, tmp_path)
    return told.value


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
    told = told_not_now(programs, tmp_path, said)
    assert (told.limit, told.unclear) == (True, False)


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
    told = told_not_now(programs, tmp_path, said)
    assert (told.limit, told.unclear) == (False, True)


def test_a_cluster_whose_configuration_cannot_be_fetched_may_answer_later(programs: Programs, tmp_path: Path) -> None:
    """What sbatch says while the slurmctld of a cluster without configuration files is down."""
    said = (
        "sbatch: error: fetch_config: DNS SRV lookup failed\nsbatch: fatal: Could not establish a configuration source"
    )
    told_not_now(programs, tmp_path, said)


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
