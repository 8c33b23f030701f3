"""The same script as a trainable of Ray Tune: trials of one CPU, two at a time.

python -m benchmarks.ray_tune WORK OUT 0.1,0.5 [--reuse-actors]
"""

import argparse
from typing import Any

import ray
from ray import tune

from benchmarks import plain_trl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work")
    parser.add_argument("out")
    parser.add_argument("betas", type=lambda text: [float(beta) for beta in text.split(",")])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--reuse-actors", action="store_true", help="carry out several trials in one process")
    given = parser.parse_args()

    def train(config: dict[str, Any]) -> dict[str, float]:
        return plain_trl.run(config["beta"], given.work, f"{given.out}/{config['beta']}")

    ray.init(num_cpus=given.workers, include_dashboard=False)
    results = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"beta": tune.grid_search(given.betas)},
        tune_config=tune.TuneConfig(max_concurrent_trials=given.workers, reuse_actors=given.reuse_actors),
        run_config=tune.RunConfig(storage_path=f"{given.out}/ray"),
    ).fit()
    ray.shutdown()
    if results.num_errors:
        raise SystemExit(f"{results.num_errors} trials failed")


if __name__ == "__main__":
    main()
