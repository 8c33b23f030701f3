"""Stand-ins for training that take a known time and import nothing heavy: what is tested is all around them."""

import json
import time

from trainers.files import write_whole
from trainers.spec import Reporter, RunResult, RunSpec

STEPS = 10


def train(spec: RunSpec, reporter: Reporter) -> RunResult:
    """Ten steps of 20 ms that go on from where an earlier attempt was stopped; every carrying out is noted."""
    with (spec.run_dir / "carried_out").open("a") as file:
        file.write("x")
    saved = spec.run_dir / "step"
    start = int(saved.read_text()) if saved.exists() else 0
    reporter.begin("training", STEPS)
    for step in range(start + 1, STEPS + 1):
        time.sleep(0.02)
        if reporter.report(step, {"train/loss": 1 / step}):
            write_whole(saved, str(step))
            return RunResult(spec.run_id, "cancelled", spec.params, steps=step)
    accuracy = float(json.dumps(spec.config["method"].get("beta", 0.5)))
    metrics = {"eval/reward_accuracy": accuracy, "eval/pairs": 10.0}
    return RunResult(spec.run_id, "completed", spec.params, metrics, steps=STEPS, seconds=0.2)
