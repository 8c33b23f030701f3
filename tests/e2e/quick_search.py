"""A stand-in for training that measures on its way: the better, the nearer beta is to 0.1."""

import math
import time

from trainers.spec import Reporter, RunResult, RunSpec

STEPS = 10


def train(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Ten steps of 50 ms, each with a value; every carrying out is noted. Stops where it is asked to."""
    with (spec.run_dir / "carried_out").open("a") as file:
        file.write("x")
    best = 0.9 - abs(math.log10(float(str(spec.params["beta"])) / 0.1)) / 5
    reporter.begin("training", STEPS)
    for step in range(1, STEPS + 1):
        time.sleep(0.05)
        value = 0.5 + (best - 0.5) * step / STEPS
        if reporter.report(step, {"eval/reward_accuracy": value}) and step < STEPS:
            return RunResult(spec.run_id, "cancelled", spec.params, {"eval/reward_accuracy": value}, steps=step)
    return RunResult(spec.run_id, "completed", spec.params, {"eval/reward_accuracy": best}, steps=STEPS, seconds=0.5)


def fails(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Every second one does."""
    if spec.trial % 2:
        raise ValueError("this beta diverges")
    return RunResult(spec.run_id, "completed", spec.params, {"eval/reward_accuracy": 0.7}, steps=1, seconds=0.0)
