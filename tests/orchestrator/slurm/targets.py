"""What the runs of one job train: each what its own `does` says, as runs of one job share a target."""

import os
import signal
import time

from tests.contracts import small_runs
from trainers.spec import Reporter, RunResult, RunSpec

HERE = "tests.orchestrator.slurm.targets"


def as_told(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Note the attempt, then do what `params["does"]` names, here or among the small runs."""
    with (spec.run_dir.parent.parent / "begun").open("a") as file:
        file.write(f"{spec.trial}\n")
    name = str(spec.params["does"])
    function = globals().get(name) or getattr(small_runs, name)
    result: RunResult = function(spec, reporter)
    return result


def fills_memory(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Unless its micro-batch is at most two."""
    if spec.config["training"]["batch_size"] > 2:
        raise MemoryError("as much as there is")
    return small_runs.nothing(spec, reporter)


def killed_once(spec: RunSpec, reporter: Reporter) -> RunResult:
    """By somebody's SIGKILL, at its first attempt."""
    mark = spec.run_dir / "killed"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return small_runs.nothing(spec, reporter)


def killed_always(spec: RunSpec, reporter: Reporter) -> RunResult:
    os.kill(os.getpid(), signal.SIGKILL)
    return small_runs.nothing(spec, reporter)


def prunes_itself(spec: RunSpec, reporter: Reporter) -> RunResult:
    return RunResult(spec.run_id, "pruned", spec.params, {}, 1, 0.01)


def fills_memory_when_stopped(spec: RunSpec, reporter: Reporter) -> RunResult:
    """It runs out of memory while it saves its checkpoint."""
    small_runs.until_stopped(spec, reporter)
    raise MemoryError("as much as there is")


def finds_the_disk_full(spec: RunSpec, reporter: Reporter) -> RunResult:
    raise OSError(28, os.strerror(28))


def tells_its_gpu(spec: RunSpec, reporter: Reporter) -> RunResult:
    time.sleep(0.1)
    (spec.run_dir / "gpu").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
    return small_runs.nothing(spec, reporter)
