"""From a study's settings to what its jobs ask for, where they import from, and the text that is shown before."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.launchers.slurm.local_cluster import LocalCluster
from orchestrator.launchers.slurm.make import (
    CODE,
    MAX_ARRAY,
    MAX_SUBMITTED,
    allocation,
    describe,
    environment,
    keep_code,
    max_array,
    policy,
    preview,
    resources,
    scheduler,
)
from orchestrator.launchers.slurm.scheduler import Slurm
from orchestrator.resources import Resources
from orchestrator.settings import SlurmSettings
from tests.contracts.small_runs import spec_in
from tests.orchestrator.slurm.programs import Programs
from trainers.machine import Machine
from trainers.spec import RunSpec

DEFAULTS = yaml.safe_load((CODE / "conf" / "launcher" / "slurm.yaml").read_text())
LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)


def settings(**changes: Any) -> SlurmSettings:
    """launcher=slurm as it comes, with these keys changed."""
    return SlurmSettings.model_validate({**DEFAULTS, **changes})


def spec_that_asks(folder: Path, trial: int = 0, **asks: Any) -> RunSpec:
    spec = spec_in(folder, trial)
    return RunSpec(**{**vars(spec), "resources": asks})


def test_the_least_is_asked_for_where_nobody_says_more(tmp_path: Path) -> None:
    assert resources(settings(), spec_that_asks(tmp_path)) == Resources(1, 0, 1, None, 60.0, None, None)


def test_a_run_asks_for_what_its_model_brings_along(tmp_path: Path) -> None:
    asks = {"nodes": 2, "gpus": 4, "cpus": 8, "mem_gb": 64, "time_min": 240, "partition": "gpu", "constraint": "h100"}
    assert resources(settings(), spec_that_asks(tmp_path, **asks)) == Resources(2, 4, 8, 64, 240, "gpu", "h100")


def test_the_launchers_settings_come_before_the_runs(tmp_path: Path) -> None:
    asks = {"nodes": 2, "gpus": 4, "cpus": 8, "mem_gb": 64, "time_min": 240, "partition": "gpu", "constraint": "h100"}
    given = {"nodes": 1, "gpus_per_run": 1, "cpus_per_run": 2, "mem_gb": 8.0, "time_min": 5.0}
    made = settings(**given, partition="short", constraint="a100")
    assert resources(made, spec_that_asks(tmp_path, **asks)) == Resources(1, 1, 2, 8, 5, "short", "a100")


def test_no_gpu_may_be_asked_for_though_the_model_wants_one(tmp_path: Path) -> None:
    assert resources(settings(gpus_per_run=0), spec_that_asks(tmp_path, gpus=2)).gpus == 0


def needs(**changes: Any) -> Resources:
    return Resources(**{**vars(Resources(1, 0, 4, None, 60.0, None, None)), **changes})


def test_a_run_has_a_process_for_each_gpu_and_its_share_of_the_cpus() -> None:
    made = allocation(settings(), needs(gpus=2))
    assert (made.ranks, made.gpus, made.threads) == (2, 2, 2)
    assert allocation(settings(), needs()).threads == 4
    assert allocation(settings(), needs(gpus=8)).threads == 1


def test_processes_may_be_fewer_than_gpus() -> None:
    assert allocation(settings(ranks_per_node=1), needs(gpus=4)).ranks == 1


def test_no_more_runs_go_on_side_by_side_than_a_job_has() -> None:
    assert allocation(settings(runs_per_job=2, runs_at_a_time=8), needs()).runs_at_a_time == 2


def test_runs_have_as_long_to_save_as_slurm_gives_the_job() -> None:
    assert allocation(settings(grace_s=120), needs()).grace_s == 120
    assert allocation(settings(grace_s=120), needs(time_min=2.0)).grace_s == 30


def test_retries_reach_the_job() -> None:
    limits = {**DEFAULTS["retries"], "killed": 7}
    assert allocation(settings(retries=limits), needs()).retry_limits().killed == 7


# Where jobs import from


def test_jobs_import_the_code_and_what_lies_where_the_study_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/x", "", str(CODE)]))
    made = environment(settings(), tmp_path / "study")
    assert made["PYTHONPATH"].split(os.pathsep) == [str(CODE), str(tmp_path), "/x"]


def test_a_study_that_keeps_its_code_imports_that_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    made = environment(settings(snapshot=True), tmp_path)
    assert made["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path / "code")
    assert made["PYTHONSAFEPATH"] == "1"


def test_code_is_not_kept_unless_that_is_wanted(tmp_path: Path) -> None:
    keep_code(settings(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_code_that_is_kept_is_all_that_jobs_import(tmp_path: Path) -> None:
    keep_code(settings(snapshot=True), tmp_path)
    code = tmp_path / "code"
    assert (code / "orchestrator" / "launchers" / "slurm" / "allocation.py").is_file()
    assert (code / "trainers" / "train.py").is_file()
    assert (code / "conf" / "launcher" / "slurm.yaml").is_file()
    assert not list(code.rglob("__pycache__"))
    assert [path.name for path in tmp_path.iterdir()] == ["code"]


def test_code_is_kept_once(tmp_path: Path) -> None:
    """What was kept first is what all runs of the study use."""
    (tmp_path / "code").mkdir()
    keep_code(settings(snapshot=True), tmp_path)
    assert list((tmp_path / "code").iterdir()) == []


def test_half_a_copy_of_a_controller_that_died_is_no_code(tmp_path: Path) -> None:
    (tmp_path / f".code.{os.getpid()}").mkdir()
    keep_code(settings(snapshot=True), tmp_path)
    assert (tmp_path / "code" / "trainers").is_dir()


def test_a_target_of_the_users_own_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_training_of_one_file.py").write_text("def train(spec, reporter): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    study = tmp_path / "outputs" / "study"
    study.mkdir(parents=True)
    keep_code(settings(snapshot=True, target="my_training_of_one_file:train"), study)
    assert (study / "code" / "my_training_of_one_file.py").is_file()


# Limits


@pytest.mark.parametrize(
    ("told", "expected"),
    [("MaxArraySize            = 1001\n", 1001), ("MaxArraySize = 1\n", 1), ("MaxArraySize = 0\n", 1), ("", MAX_ARRAY)],
)
def test_the_cluster_tells_how_large_an_array_may_be(programs: Programs, told: str, expected: int) -> None:
    programs.tell("scontrol", f"AccountingStorageType = none\n{told}MaxDBDMsgs = 20012\n")
    assert max_array(settings()) == expected


def test_a_cluster_that_does_not_answer_has_the_usual_limit(programs: Programs) -> None:
    assert max_array(settings()) == MAX_ARRAY


def test_what_is_set_is_not_asked_for(programs: Programs, tmp_path: Path) -> None:
    programs.tell("scontrol", "MaxArraySize = 7\n")
    made = policy(settings(max_array=3, max_submitted=9), tmp_path, LAPTOP)
    assert (made.max_array, made.max_submitted) == (3, 9)
    assert programs.asked("scontrol") == []


def test_a_study_leaves_room_in_the_queue_for_others(programs: Programs, tmp_path: Path) -> None:
    assert policy(settings(), tmp_path, LAPTOP).max_submitted == MAX_SUBMITTED


def test_on_one_machine_there_is_room_for_as_much_as_it_can_carry(tmp_path: Path) -> None:
    assert policy(settings(cluster="local"), tmp_path, LAPTOP).max_submitted <= LAPTOP.cores


def test_the_scheduler_is_slurm_or_its_stand_in(tmp_path: Path) -> None:
    assert isinstance(scheduler(settings(), tmp_path), Slurm)
    assert isinstance(scheduler(settings(cluster="local"), tmp_path), LocalCluster)


# What is shown before


def test_the_preview_is_what_sbatch_would_be_given(tmp_path: Path, programs: Programs) -> None:
    specs = [spec_that_asks(tmp_path, trial, gpus=1, mem_gb=16) for trial in range(3)]
    ((runs, text),) = preview(settings(account="lab", setup=["module load cuda"], python="/opt/py"), tmp_path, specs)
    assert runs == 3
    for line in ("--array=0-2%3", "--gres=gpu:1", "--mem=16384M", "--account=lab", "--time=60"):
        assert f"#SBATCH {line}\n" in text
    assert "\n{ module load cuda\n} || { echo launcher.setup failed: " in text
    assert f"/opt/py -u -m orchestrator.launchers.slurm.allocation {tmp_path}/jobs/TOKEN" in text


def test_the_preview_shows_each_kind_of_job(tmp_path: Path, programs: Programs) -> None:
    specs = [spec_that_asks(tmp_path, trial, gpus=trial % 2) for trial in range(5)]
    assert [runs for runs, _ in preview(settings(), tmp_path, specs)] == [3, 2]


def test_the_preview_writes_nothing(tmp_path: Path, programs: Programs) -> None:
    spec = spec_that_asks(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    preview(settings(), tmp_path, [spec])
    assert sorted(tmp_path.rglob("*")) == before


def test_the_preview_counts_jobs_of_several_runs(tmp_path: Path, programs: Programs) -> None:
    specs = [spec_that_asks(tmp_path, trial) for trial in range(5)]
    ((_, text),) = preview(settings(runs_per_job=2), tmp_path, specs)
    assert "#SBATCH --array=0-2%3\n" in text


def test_the_python_of_the_jobs_is_this_one_unless_another_is_named(tmp_path: Path, programs: Programs) -> None:
    ((_, text),) = preview(settings(), tmp_path, [spec_that_asks(tmp_path)])
    assert f"{shlex.quote(sys.executable)} -u -m orchestrator" in text


def test_what_goes_where_is_told_in_a_line(tmp_path: Path) -> None:
    specs = [spec_that_asks(tmp_path, 0, gpus=1, cpus=4, mem_gb=16), spec_that_asks(tmp_path, 1)]
    told = describe(settings(runs_per_job=4, runs_at_a_time=2), specs)
    assert told == (
        "jobs of Slurm: 4 runs a job, 8 CPUs, 2 GPUs, 32 GiB, 60 min for all of them; "
        "4 runs a job, 2 CPUs, no GPU, the site's default of memory, 60 min for all of them"
    )
