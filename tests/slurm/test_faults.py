"""What goes wrong on clusters, done for real: each run completes exactly once all the same."""

import os
import re
import signal
import time
from pathlib import Path

from tests.slurm.conftest import OnCluster, until


def test_a_node_that_dies(on_cluster: OnCluster):
    """Slurm queues its jobs again, and they go on from their newest checkpoints."""
    process = on_cluster.sweep("-m", "beta=range(1,7)", steps=120)
    runs = on_cluster.under_way(6, step=15)
    hurt = [spec.run_id for spec in runs if on_cluster.node_of(spec) == 1]
    on_cluster.cluster.kill_node(1)
    code, text = on_cluster.finish(process)
    on_cluster.cluster.revive_node(1)
    assert code == 0, text
    assert hurt
    on_cluster.each_completed_once(6)
    for run_id in hurt:
        assert on_cluster.causes(run_id) == ["node_failure", None], on_cluster.tell()


def test_a_node_that_is_cut_off_while_its_jobs_go_on(on_cluster: OnCluster):
    """Slurm starts a second copy of the job, which waits for the first to be over instead of running beside it."""
    process = on_cluster.sweep("-m", "beta=range(1,5)", steps=350)
    runs = on_cluster.under_way(4)
    hurt = next(spec for spec in runs if on_cluster.node_of(spec) == on_cluster.node_of(runs[0]))
    node = on_cluster.node_of(hurt)
    on_cluster.cluster.kill_node(node, leave_processes=True)
    code, text = on_cluster.finish(process)
    on_cluster.cluster.revive_node(node)
    assert code == 0, text
    on_cluster.each_completed_once(4)


def test_a_job_that_somebody_queues_again(on_cluster: OnCluster):
    process = on_cluster.sweep("-m", "beta=1,2", steps=60)
    (one, _) = on_cluster.under_way(2, step=12)
    on_cluster.cluster.run("scontrol", "requeue", on_cluster.job_of(one))
    on_cluster.complete(process, 2)
    assert len(on_cluster.causes(one.run_id)) == 2


def test_a_job_that_must_make_room_for_a_higher_partition(on_cluster: OnCluster):
    """Preempted runs save a checkpoint, and go on when there is room again."""
    process = on_cluster.sweep("launcher.cpus_per_run=4", "-m", "beta=1,2", steps=150)
    runs = on_cluster.under_way(2, step=5)
    words = ("--parsable", "-p", "high", "-c", "4", "-N", "2", "-o", "/dev/null", "--wrap", "sleep 5")
    on_cluster.cluster.run("sbatch", *words)
    on_cluster.complete(process, 2)
    for spec in runs:
        assert on_cluster.causes(spec.run_id)[0] == "preempted", on_cluster.tell()
    _, told = on_cluster.finish(on_cluster.start("status", str(on_cluster.study)))
    assert "tried again after preempted" in told


def test_slurmctld_that_is_down_for_a_while(on_cluster: OnCluster):
    """Jobs go on meanwhile; what could not be submitted is submitted later."""
    process = on_cluster.sweep("launcher.max_submitted=3", "-m", "beta=range(1,8)", steps=60)
    on_cluster.under_way(3)
    time.sleep(6)  # what slurmctld has taken in the last seconds it would forget
    with on_cluster.cluster.without_controller():
        time.sleep(15)
    on_cluster.complete(process, 7)


def test_a_job_that_a_crashed_slurmctld_has_forgotten(on_cluster: OnCluster):
    """What it took a moment before is lost with it, and its number given to another job: it is submitted again."""
    process = on_cluster.sweep("-m", "beta=1,2", steps=30)
    until(on_cluster.job_ids, 30, "nothing is submitted")
    with on_cluster.cluster.without_controller():
        pass
    on_cluster.complete(process, 2)


def test_sacct_that_is_gone_for_a_while(on_cluster: OnCluster):
    process = on_cluster.sweep("-m", "beta=1,2", steps=80)
    on_cluster.under_way(2)
    on_cluster.cluster.stop_accounting()
    code, text = on_cluster.finish(process)
    on_cluster.cluster.start_accounting()
    assert code == 0, text
    on_cluster.each_completed_once(2)


def test_a_run_that_is_killed(on_cluster: OnCluster):
    """SIGKILL of the run's process alone: its job starts it again."""
    process = on_cluster.sweep("-m", "beta=1,2", steps=40)
    (one, _) = on_cluster.under_way(2, step=12)
    on_cluster.worker_of(one).kill()
    on_cluster.complete(process, 2)
    assert on_cluster.causes(one.run_id) == ["killed", None]


def test_a_job_that_is_killed(on_cluster: OnCluster):
    """SIGKILL of a job's own process: the controller submits its run again."""
    process = on_cluster.sweep("-m", "beta=1,2", steps=60)
    (one, _) = on_cluster.under_way(2, step=12)
    on_cluster.process_of_job(one).kill()
    on_cluster.complete(process, 2)
    assert on_cluster.causes(one.run_id) == ["killed", None], on_cluster.tell()
    assert len(on_cluster.job_ids()) == 2


def test_a_job_that_somebody_cancels(on_cluster: OnCluster):
    """It is not brought back against their will; `resume` does."""
    process = on_cluster.sweep("-m", "beta=1,2", steps=60)
    (one, _) = on_cluster.under_way(2, step=12)
    on_cluster.cluster.run("scancel", on_cluster.job_of(one))
    code, text = on_cluster.finish(process)
    assert code == 1, text
    assert on_cluster.results()[one.run_id].status == "cancelled"
    on_cluster.complete(on_cluster.start("resume", str(on_cluster.study)), 2)


def test_memory_that_is_full(on_cluster: OnCluster):
    """Half the micro-batch, and twice as many of them, until it fits: the same effective batch."""
    words = ["training.batch_size=8", "training.gradient_accumulation=1"]
    on_cluster.complete(on_cluster.sweep(*words, "-m", "beta=1,2", steps=10, PREFSWEEP_TEST_FAULT="memory"), 2)
    for spec in on_cluster.specs():
        assert on_cluster.causes(spec.run_id) == ["out_of_memory", "out_of_memory", None]
        assert {line.split()[1] for line in (spec.run_dir / "steps").read_text().splitlines()} == {"2x4"}
    assert len(on_cluster.job_ids()) == 1
    _, told = on_cluster.finish(on_cluster.start("status", str(on_cluster.study)))
    assert "tried again after out of memory (2 times)" in told


def test_memory_that_is_full_and_stays_so(on_cluster: OnCluster):
    """Three times, and no more."""
    words = ["training.batch_size=64", "-m", "beta=1,2"]
    code, text = on_cluster.finish(on_cluster.sweep(*words, steps=10, PREFSWEEP_TEST_FAULT="memory"))
    assert code == 1, text
    for spec in on_cluster.specs():
        assert on_cluster.causes(spec.run_id) == ["out_of_memory"] * 4


def test_a_job_may_ask_for_more_memory_instead(on_cluster: OnCluster):
    words = ["training.batch_size=8", "launcher.more_memory=2", "launcher.mem_gb=0.5", "-m", "beta=1,2"]
    code, text = on_cluster.finish(on_cluster.sweep(*words, steps=10, PREFSWEEP_TEST_FAULT="memory"))
    assert code == 1, text
    scripts = "\n".join(path.read_text() for path in on_cluster.study.glob("jobs/*/*_submission.sh"))
    assert set(re.findall(r"--mem=(\S+)", scripts)) == {"512M", "1024M", "2048M", "4096M"}


def test_a_disk_that_is_full(on_cluster: OnCluster, tmp_path: Path):
    """The run's folder is full to the last byte when the run wants to write; when there is room it is done again."""
    runs = on_cluster.study / "runs"
    runs.mkdir(parents=True)
    on_cluster.cluster.run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(runs))
    try:
        words = ["tracking=disabled", "-m", "beta=1,2"]
        process = on_cluster.sweep(*words, steps=20, PREFSWEEP_TEST_FAULT="disk")
        until(lambda: list(runs.glob("*/ballast")), 60, "the disk is not full")
        time.sleep(8)
        for path in runs.glob("*/ballast"):
            path.unlink()
        code, text = on_cluster.finish(process)
        assert code == 0, text
        assert {result.status for result in on_cluster.results().values()} == {"completed"}
        assert set(on_cluster.completed().values()) == {1}, on_cluster.tell()
    finally:
        on_cluster.cluster.run("umount", "-l", str(runs))


def test_a_controller_that_dies_between_sbatch_and_its_bookkeeping(on_cluster: OnCluster, tmp_path: Path):
    """The next one finds the jobs by their name, and submits them no second time."""
    real = next(path for path in os.environ["PATH"].split(":") if (Path(path) / "sbatch").exists())
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/bash\n"{real}/sbatch" "$@"\nkill -9 $PPID\n')
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    process = on_cluster.sweep("-m", "beta=range(1,5)", steps=60, PATH=path)
    code, _ = on_cluster.finish(process)
    assert code == -signal.SIGKILL
    assert not on_cluster.job_ids()
    code, text = on_cluster.finish(on_cluster.start("resume", str(on_cluster.study)))
    assert code == 0, text
    assert "found 4 runs submitted before" in text
    assert len(on_cluster.job_ids()) == 1
    on_cluster.each_completed_once(4)


def test_a_controller_that_dies_before_sbatch(on_cluster: OnCluster, tmp_path: Path):
    """What was never submitted is submitted by the next one."""
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text("#!/bin/bash\nkill -9 $PPID\n")
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    code, _ = on_cluster.finish(on_cluster.sweep("-m", "beta=1,2", steps=5, PATH=path))
    assert code == -signal.SIGKILL
    on_cluster.complete(on_cluster.start("resume", str(on_cluster.study)), 2)


def test_a_controller_that_is_killed(on_cluster: OnCluster):
    """kill -9: the same command again takes up what is queued and running."""
    words = ["launcher.max_submitted=3", "-m", "beta=range(1,7)"]
    process = on_cluster.sweep(*words, steps=40)
    on_cluster.under_way(3)
    process.kill()
    process.communicate()
    text = on_cluster.complete(on_cluster.sweep(*words, steps=40), 6)
    assert "submitted before" in text


def test_two_controllers(on_cluster: OnCluster):
    """The second is told of the first, and changes nothing."""
    words = ["-m", "beta=1,2"]
    process = on_cluster.sweep(*words, steps=60)
    on_cluster.under_way(2)
    code, text = on_cluster.finish(on_cluster.start("resume", str(on_cluster.study)))
    assert code == 2
    assert "is held by" in text
    assert on_cluster.finish(process)[0] == 0
    on_cluster.each_completed_once(2)


def test_a_bad_node_is_avoided(on_cluster: OnCluster):
    """Where run after run fails for the machine's sake, no more are sent; they complete elsewhere."""
    words = [
        "launcher.bad_node_after=2",
        "launcher.cpus_per_run=2",
        "launcher.max_submitted=4",
        "-m",
        "beta=range(1,9)",
    ]
    process = on_cluster.sweep(*words, steps=10, PREFSWEEP_TEST_FAULT="bad node")
    text = on_cluster.complete(process, 8)
    assert "node node1 is avoided" in text
    assert {on_cluster.node_of(spec) for spec in on_cluster.specs()} == {2}


def test_sbatch_that_refuses_too_many_jobs_is_asked_again(on_cluster: OnCluster, tmp_path: Path):
    """As where a quality of service has a limit: arrays are split, and what is left is submitted when there is room."""
    real = next(path for path in os.environ["PATH"].split(":") if (Path(path) / "sbatch").exists())
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(
        "#!/bin/bash\n"
        'tasks=$(sed -n "s/#SBATCH --array=0-\\([0-9]*\\).*/\\1/p" "$1")\n'
        "queued=$(squeue -h -r -t PENDING,RUNNING -o %i | wc -l)\n"
        "if (( queued + tasks + 1 > 3 )); then\n"
        '  echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1\n'
        "fi\n"
        f'exec "{real}/sbatch" "$@"\n'
    )
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    on_cluster.complete(on_cluster.sweep("-m", "beta=range(1,9)", steps=5, PATH=path), 8)
