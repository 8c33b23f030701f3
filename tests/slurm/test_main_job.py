"""A study on a real cluster, from the command to the table, and what a person does with it meanwhile."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.slurm.conftest import OnCluster, until


def test_a_sweep_completes_on_the_cluster(on_cluster: OnCluster):
    code, text = on_cluster.finish(on_cluster.sweep("-m", "beta=0.01,0.1,0.5", "seed=0,1", steps=5))
    assert code == 0, text
    assert re.search(r"2 \*\s+0.5\s+complete", text), text
    on_cluster.each_completed_once(6)
    until(lambda: on_cluster.states() == ["COMPLETED"] * 6, 20, "Slurm does not say COMPLETED")


def test_real_training_runs_on_the_cluster(on_cluster: OnCluster):
    """The product's own training instead of a stand-in."""
    words = ["launcher.target=trainers.train:train", "launcher.preload=[trainers.preload]", "data.max_train_samples=64"]
    process = on_cluster.start(
        *("study=s", f"output_root={on_cluster.out}", "method=dpo", "model=tiny", "launcher=slurm"),
        *("launcher.poll_s=1", *words, "-m", "beta=0.1,0.5"),
    )
    code, text = on_cluster.finish(process)
    assert code == 0, text
    assert on_cluster.completed().total() == 2
    assert all(result.metrics["eval/pairs"] for result in on_cluster.results().values())


def test_arrays_begin_at_0_and_stay_below_the_clusters_limit(on_cluster: OnCluster):
    """MaxArraySize is 11 here, so that 25 runs are 11, 11 and 3."""
    code, text = on_cluster.finish(on_cluster.sweep("-m", "beta=range(1,26)", steps=1))
    assert code == 0, text
    scripts = [path.read_text() for path in on_cluster.study.glob("jobs/*/*_submission.sh")]
    assert sorted(re.findall(r"--array=(\S+)", "\n".join(scripts))) == ["0-10%11", "0-10%11", "0-2%3"]
    on_cluster.each_completed_once(25)


def test_no_more_jobs_are_queued_than_may_be(on_cluster: OnCluster):
    process = on_cluster.sweep("launcher.max_submitted=3", "-m", "beta=range(1,10)", steps=5)
    most = 0
    while process.poll() is None:
        told = on_cluster.cluster.run("squeue", "-r", "-h", "-t", "PENDING,RUNNING", "-o", "%i")
        most = max(most, len(told.split()))
    assert on_cluster.finish(process)[0] == 0
    assert most == 3
    on_cluster.each_completed_once(9)


def test_short_runs_share_a_job(on_cluster: OnCluster):
    code, text = on_cluster.finish(on_cluster.sweep("launcher.runs_per_job=5", "-m", "beta=range(1,11)", steps=2))
    assert code == 0, text
    assert len({on_cluster.job_of(spec) for spec in on_cluster.specs()}) == 2
    on_cluster.each_completed_once(10)


def test_runs_go_on_side_by_side_each_on_its_own_gpu(on_cluster: OnCluster):
    words = ["launcher.gpus_per_run=1", "launcher.runs_per_job=4", "launcher.runs_at_a_time=2"]
    process = on_cluster.sweep(*words, "-m", "beta=range(1,5)", target="tests.slurm.runs:where")
    code, text = on_cluster.finish(process)
    assert code == 0, text
    seen = [(path.read_text()).split() for path in on_cluster.study.glob("runs/*/where")]
    assert sorted(gpu for gpu, _, _ in seen) == ["0", "0", "1", "1"]
    assert {users for _, users, _ in seen} <= {"1", "2"}
    assert "2" in {users for _, users, _ in seen}
    assert len({job for _, _, job in seen}) == 1


def test_a_run_brings_its_own_resources(on_cluster: OnCluster):
    """Runs that ask for different things go to different arrays."""
    words = ["launcher.detach=true", "resources.cpus=3", "resources.mem_gb=0.5"]
    code, text = on_cluster.finish(on_cluster.sweep(*words, "-m", "beta=1,2"))
    assert code == 0, text
    (script,) = [path.read_text() for path in on_cluster.study.glob("jobs/*/*_submission.sh")]
    assert "--cpus-per-task=3" in script
    assert "--mem=512M" in script


def test_a_run_that_fails_is_failed_to_slurm_too(on_cluster: OnCluster):
    """Its own error is not tried again, and its trace is kept."""
    process = on_cluster.sweep("-m", "beta=0.1,0.5", steps=3, PREFSWEEP_TEST_FAULT="error")
    code, text = on_cluster.finish(process)
    assert code == 1, text
    assert "ValueError: the run's own mistake" in text
    failed = next(run_id for run_id, result in on_cluster.results().items() if result.status == "failed")
    assert on_cluster.causes(failed) == ["error"]
    assert "in _fault" in (on_cluster.study / "runs" / failed / "log.txt").read_text()
    until(lambda: on_cluster.states() == ["COMPLETED", "FAILED"], 20, "Slurm does not say FAILED")


def test_a_detached_study_is_gathered_later(on_cluster: OnCluster):
    code, text = on_cluster.finish(on_cluster.sweep("launcher.detach=true", "-m", "beta=0.1,0.5", steps=80))
    assert code == 0, text
    assert "2 runs are queued or running" in text
    on_cluster.under_way()
    code, text = on_cluster.finish(on_cluster.start("status", str(on_cluster.study)))
    assert code == 0, text
    assert "training" in text
    assert re.search(r"\d+_\d running on node", text), text
    until(lambda: len(on_cluster.results()) == 2, 60, "the runs do not end")
    code, text = on_cluster.finish(on_cluster.start("status", str(on_cluster.study)))
    assert "2 of 2 runs completed" in text
    assert "complete" in (on_cluster.study / "table.md").read_text()
    on_cluster.complete(on_cluster.start("resume", str(on_cluster.study)), 2)


def test_status_tells_why_jobs_wait(on_cluster: OnCluster):
    """A node has four CPUs."""
    on_cluster.finish(
        on_cluster.sweep("launcher.detach=true", "launcher.cpus_per_run=3", "-m", "beta=range(1,6)", steps=60)
    )
    on_cluster.under_way()

    def told() -> str | None:
        _, text = on_cluster.finish(on_cluster.start("status", str(on_cluster.study)))
        return text if re.search(r"pending \((Resources|Priority)\)", text) else None

    until(told, 30, "no reason is told")


def test_cancel_ends_the_studys_jobs_and_no_others(on_cluster: OnCluster):
    """Also of a study whose controller has gone; what ran is saved, and resume goes on from there."""
    other = on_cluster.cluster.run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 60").strip()
    on_cluster.finish(
        on_cluster.sweep("launcher.detach=true", "launcher.cpus_per_run=3", "-m", "beta=range(1,5)", steps=60)
    )
    on_cluster.under_way()
    code, text = on_cluster.finish(on_cluster.start("cancel", str(on_cluster.study)))
    assert code == 0, text
    mine = on_cluster.job_ids()[0]

    def left() -> str:
        return on_cluster.cluster.run("squeue", "-h", "-r", "-t", "PENDING,RUNNING,COMPLETING", "-o", "%F").strip()

    until(lambda: left() == other, 30, "jobs are left, or too few")
    assert mine != other
    assert not on_cluster.completed()
    on_cluster.complete(on_cluster.start("resume", str(on_cluster.study)), 4)


def test_ctrl_c_leaves_the_jobs_and_resume_takes_them_up(on_cluster: OnCluster):
    process = on_cluster.sweep("-m", "beta=0.1,0.5", steps=50)
    on_cluster.under_way(2)
    process.send_signal(signal.SIGINT)
    code, text = on_cluster.finish(process)
    assert code == 130, text
    assert "go on without this command" in text
    code, text = on_cluster.finish(on_cluster.start("resume", str(on_cluster.study)))
    assert code == 0, text
    assert "found 2 runs submitted before" in text
    assert len(on_cluster.job_ids()) == 1
    on_cluster.each_completed_once(2)


def test_a_controller_on_the_cluster_survives_being_queued_again(on_cluster: OnCluster):
    words = ["launcher.controller=slurm", "launcher.controller_job.mem_gb=1", "launcher.max_submitted=2"]
    code, text = on_cluster.finish(on_cluster.sweep(*words, "-m", "beta=range(1,7)", steps=20))
    assert code == 0, text
    assert "the controller is submitted as job" in text
    on_cluster.under_way()
    job = re.search(r"as job (\d+)", text)
    assert job is not None
    again = on_cluster.finish(on_cluster.start("resume", str(on_cluster.study), "launcher.controller=slurm"))
    assert again[0] in (0, 2), again[1]
    on_cluster.cluster.run("scontrol", "requeue", job.group(1))
    until(lambda: on_cluster.completed().total() == 6, 120, "the study does not end")
    until(lambda: (on_cluster.study / "table.md").read_text().count("complete") == 6, 30, "there is no table")
    on_cluster.each_completed_once(6)


def test_a_queued_job_does_not_see_edits_where_the_study_keeps_the_code(on_cluster: OnCluster, tmp_path: Path):
    """A checkout that is broken after the submission, and before its jobs begin."""
    checkout = tmp_path / "checkout"
    for name in ("orchestrator", "sweeps", "trainers", "conf", "published", "tests"):
        shutil.copytree(on_cluster.repository / name, checkout / name)
    on_cluster.repository = checkout
    later = 'launcher.extra=["--begin=now+8"]'
    code, text = on_cluster.finish(
        on_cluster.sweep("launcher.snapshot=true", "launcher.detach=true", later, "-m", "beta=0.1,0.5", steps=2)
    )
    assert code == 0, text
    for package in ("orchestrator", "trainers", "tests/slurm"):
        for path in (checkout / package).rglob("*.py"):
            path.write_text("raise SystemExit('edited')\n")
    until(lambda: on_cluster.completed().total() == 2, 60, "a job has seen the edits")


def test_no_key_is_written_anywhere(on_cluster: OnCluster):
    """Neither in what sbatch is given nor in any file of the study."""
    code, text = on_cluster.finish(on_cluster.sweep("-m", "beta=0.1,0.5", steps=2))
    assert code == 0, text
    key = on_cluster.environment["WANDB_API_KEY"].encode()
    for path in on_cluster.study.rglob("*"):
        if path.is_file():
            assert key not in path.read_bytes(), path


def test_a_cluster_without_accounting_works_as_well(on_cluster: OnCluster, tmp_path: Path):
    """Only squeue, scontrol and the folders are left where sacct is missing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "squeue", "scontrol", "scancel", "sinfo", "srun", "bash", "sh", "env"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (folder / name).symlink_to(found)
    on_cluster.complete(on_cluster.sweep("-m", "beta=range(1,4)", steps=5, PATH=str(folder)), 3)


def test_the_slurm_path_works_without_slurm(on_cluster: OnCluster):
    on_cluster.complete(on_cluster.sweep("launcher.cluster=local", "-m", "beta=range(1,5)", steps=5), 4)


def test_what_the_cluster_would_refuse_is_told_first(on_cluster: OnCluster):
    words = ["plan", "launcher.partition=brief", "launcher.gpus_per_run=3", "launcher.account=nobody"]
    code, text = on_cluster.finish(on_cluster.sweep(*words))
    assert code == 2
    assert "has a limit of 1 minute" in text
    assert "no node of partition brief has more than 2" in text
    assert "you have no such account" in text
    assert not on_cluster.study.exists()


def test_plan_prints_what_sbatch_would_be_given(on_cluster: OnCluster):
    code, text = on_cluster.finish(on_cluster.sweep("plan", "launcher.mem_gb=4", "-m", "beta=0.1,0.5"))
    assert code == 0, text
    assert "#SBATCH --array=0-1%2" in text
    assert "#SBATCH --mem=4096M" in text
    assert not on_cluster.study.exists()


def test_a_setup_line_that_fails_is_told_with_what_it_said(on_cluster: OnCluster):
    """It would fail again, and the run must not go on without it."""
    setup = 'launcher.setup=["echo no such module >&2; false"]'
    code, text = on_cluster.finish(on_cluster.sweep(setup, "-m", "beta=0.1,0.5"))
    assert code == 1, text
    assert "launcher.setup failed: echo no such module" in text
    assert {tuple(on_cluster.causes(spec.run_id)) for spec in on_cluster.specs()} == {("error",)}


def test_a_job_that_dies_before_its_run_begins_is_tried_again_and_not_for_ever(on_cluster: OnCluster):
    """As on a node without the file system."""
    setup = 'launcher.setup=["echo away >&2; exit 7"]'
    code, text = on_cluster.finish(on_cluster.sweep(setup, "-m", "beta=0.1,0.5"))
    assert code == 1, text
    assert "ends: away" in text
    assert {tuple(on_cluster.causes(spec.run_id)) for spec in on_cluster.specs()} == {("lost",) * 4}


def test_resume_is_checked_as_the_first_command_was(on_cluster: OnCluster):
    on_cluster.finish(on_cluster.sweep("launcher.detach=true", "-m", "beta=0.1,0.5"))
    code, text = on_cluster.finish(on_cluster.start("resume", str(on_cluster.study), "launcher.partition=nope"))
    assert code == 2, text
    assert "no such partition (there are main, high, brief)" in text
    code, text = on_cluster.finish(on_cluster.start("resume", str(on_cluster.study)))
    assert code == 0, text


def test_what_sbatch_refuses_is_a_failure_also_of_a_sweep_that_is_left(on_cluster: OnCluster):
    words = ["launcher.detach=true", 'launcher.exclude="node[1-2]"', "-m", "beta=0.1,0.5"]
    code, text = on_cluster.finish(on_cluster.sweep(*words))
    assert code == 1, text
    assert "go on without this command" not in text
    _, text = on_cluster.finish(on_cluster.start("status", str(on_cluster.study)))
    assert "could not start: sbatch" in text


def test_the_batch_is_written_down_before_sbatch_is_asked(on_cluster: OnCluster):
    on_cluster.finish(on_cluster.sweep("-m", "beta=0.1,0.5", steps=1))
    (batch,) = on_cluster.study.glob("jobs/*/batch.json")
    (submitted,) = on_cluster.study.glob("jobs/*/submitted.json")
    assert batch.stat().st_mtime_ns <= submitted.stat().st_mtime_ns
    assert json.loads(batch.read_text())["name"].startswith("s-")
