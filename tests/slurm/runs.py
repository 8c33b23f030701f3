"""What the tests on the cluster train: steps of a known length, with checkpoints, W&B, and faults on demand.

Faults are asked for in the environment, which Slurm passes on to jobs: PREFSWEEP_TEST_FAULT=memory.
"""

import os
import signal
import time
from pathlib import Path

from trainers import tracking
from trainers.config_check import check
from trainers.files import write_whole
from trainers.spec import Reporter, RunResult, RunSpec

STEP_S = 0.1
CHECKPOINT_EVERY = 10


def train(spec: RunSpec, reporter: Reporter) -> RunResult:
    """`training.max_steps` steps of a tenth of a second, from the newest checkpoint; each step done is noted."""
    config = check(spec.config)
    with tracking.start(spec, config, reporter.afterwards) as tracker:
        _fault(spec)
        steps = config.training.max_steps
        start = _saved(spec)
        reporter.begin("training", steps)
        for step in range(start + 1, steps + 1):
            time.sleep(STEP_S)
            with (spec.run_dir / "steps").open("a") as file:
                file.write(f"{step} {config.training.batch_size}x{config.training.gradient_accumulation}\n")
            tracker.log(step, {"train/loss": 1 / step})
            stop = reporter.report(step, {"train/loss": 1 / step})
            if stop or step % CHECKPOINT_EVERY == 0:
                write_whole(spec.run_dir / "saved", str(step))
            if stop:
                return RunResult(spec.run_id, "cancelled", spec.params, steps=step)
        return RunResult(spec.run_id, "completed", spec.params, _metrics(spec), steps=steps, seconds=steps * STEP_S)


def _metrics(spec: RunSpec) -> dict[str, float | None]:
    return {"eval/reward_accuracy": float(spec.config["method"].get("beta", 0.5)), "eval/pairs": 10.0}


def _saved(spec: RunSpec) -> int:
    path = spec.run_dir / "saved"
    return int(path.read_text()) if path.exists() else 0


def _fault(spec: RunSpec) -> None:
    """What this run is to suffer, if anything."""
    fault = os.environ.get("PREFSWEEP_TEST_FAULT", "")
    first = not (spec.run_dir / "faulted").exists()
    if fault:
        (spec.run_dir / "faulted").touch()
    if fault == "memory" and spec.config["training"]["batch_size"] > 2:
        raise MemoryError("as much as there is")
    if fault == "error" and spec.trial == 0:
        raise ValueError("the run's own mistake")
    if fault == "killed" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "disk" and first:
        _fill(spec.run_dir / "ballast")
    if fault == "bad node" and os.environ["SLURMD_NODENAME"] == "node1":
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")


def _fill(path: Path) -> None:
    """Take all that is left of the disk, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 8, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def where(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Notes the GPUs it was given, and how many runs were under way then."""
    mark = spec.run_dir.parent.parent / "marks" / spec.run_id
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    time.sleep(0.5)
    users = len(list(mark.parent.iterdir()))
    (spec.run_dir / "where").write_text(
        f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {users} {os.environ['SLURM_JOB_ID']}"
    )
    mark.unlink()
    return RunResult(spec.run_id, "completed", spec.params, _metrics(spec), steps=1)
