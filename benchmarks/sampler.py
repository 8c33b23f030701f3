"""What it costs to ask for a trial and to tell its outcome, sampler by sampler, as a study grows to 2,000 trials.

One study after the other in one process, each with a journal file as a study has it: three numbers and one choice, told
at once. The time is CPU time of the controller, so that it holds on a machine that does other things too.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import machine, markdown, versions
from benchmarks.work import ROOT
from sweeps.dimensions import Choice, Real
from sweeps.make import make_sweeper
from sweeps.samplers import SamplerSettings
from sweeps.space import Space
from sweeps.types import Outcome

SPACE = {
    "method": Choice(("dpo", "ipo", "orpo")),
    "beta": Real(0.005, 1.0, log=True),
    "training.learning_rate": Real(1e-6, 1e-3, log=True),
    "method.epsilon": Real(0.0, 0.4),
}
# Where values must be countable: 3 x 10 x 10 x 9 = 2,700 points.
STEPS = SPACE | {
    "beta": Real(0.1, 1.0, step=0.1),
    "training.learning_rate": Real(1e-4, 1e-3, step=1e-4),
    "method.epsilon": Real(0.0, 0.4, step=0.05),
}
KINDS = ("grid", "random", "qmc", "cmaes", "nsga2", "nsga3", "tpe", "bruteforce", "gp")
# A Gaussian process grows with the cube of its trials; nobody waits for two thousand of them.
MOST = {"gp": 200}
LAST = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--only", nargs="*", default=list(KINDS))
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    host = machine()
    report: dict[str, Any] = {
        "machine": host,
        "versions": versions(str(ROOT / ".venv" / "bin" / "python"), ["optuna", "cmaes", "torch"]),
        "trials": options.trials,
        "kinds": {},
    }
    for kind in options.only:
        seconds = study(kind, min(options.trials, MOST.get(kind, options.trials)))
        report["kinds"][kind] = [round(each, 5) for each in seconds]
        print(kind, f"{sum(seconds):.1f} s", f"{1000 * median(seconds[-LAST:]):.1f} ms a trial at the end", flush=True)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "sampler.md").write_text(table(report))
    (options.results / "sampler.json").write_text(json.dumps(report) + "\n")
    print(table(report))


def study(kind: str, trials: int) -> list[float]:
    """Seconds of CPU of each ask with its tell."""
    rng = random.Random(0)
    space = Space(STEPS if kind in ("grid", "bruteforce") else SPACE)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        sweeper = make_sweeper(
            space, SamplerSettings(kind, 1), n_trials=trials, storage=Path(folder) / "optuna.journal"
        )
        for _ in range(trials):
            start = time.process_time()
            (trial,) = sweeper.ask(1)
            asked = time.process_time() - start
            outcome = Outcome("complete", (float(trial.params["beta"] or 0) + rng.random(),))
            start = time.process_time()
            sweeper.tell(trial, outcome)
            seconds.append(asked + time.process_time() - start)
    return seconds


def table(report: dict[str, Any]) -> str:
    host = report["machine"]
    rows = []
    for kind, seconds in report["kinds"].items():
        first, last = median(seconds[:LAST]), median(seconds[-LAST:])
        rows.append(
            (kind, len(seconds), *(f"{1000 * each:.2f}" for each in (first, last, max(seconds))), f"{sum(seconds):.1f}")
        )
    header = ["sampler", "trials", f"ms a trial, first {LAST}", f"ms a trial, last {LAST}", "ms at most", "s in all"]
    return (
        f"# Asking for a trial and telling its outcome, up to {report['trials']:,} trials\n\n"
        f"{host['date']}: {host['cpu']}, {host['cores']} cores, Python {host['python']}, "
        f"Optuna {report['versions']['optuna']}. Medians of CPU time; one after the other in one process, each with a "
        "journal.\n\n" + markdown(header, rows)
    )


if __name__ == "__main__":
    main()
