"""What reading finished runs costs: 1,000 runs of 1,000 logged steps from their folders, beside a loop with pandas.

    python -m benchmarks.pull [--runs 1000] [--steps 1000] [--repeat 3]

The runs log fifteen metrics a step, as DPO does, and have the pairs and answers of an evaluation. Each way is a process
of its own, from its start to its end, imports and all. The files are read once before, so that what is measured is
not the disk. Writes benchmarks/results/pull.{json,md}.
"""

import argparse
import json
import os
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Cost, machine, markdown, measure
from benchmarks.work import ROOT
from tests.fakes.finished_study import Finished, finished_study

RESULTS = Path(__file__).with_name("results")
BAR_S, BAR_RSS_MB = 5.0, 1000
METRICS = (
    "loss", "grad_norm", "learning_rate", "rewards/chosen", "rewards/rejected", "rewards/accuracies",
    "rewards/margins", "logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected", "entropy",
    "mean_token_accuracy", "num_tokens", "epoch",
)  # fmt: skip
BETAS, SEEDS = 100, 10
PAIRS, ANSWERS = 256, 64
# What is different between runs need not be: some contents, each of several runs.
CONTENTS = 20
READ = "import sys; from analysis.sources import read; print(len(read(sys.argv[1:2], sys.argv[2:])))"
PANDAS = (
    "import sys, pathlib, pandas as pd; "
    "files = sorted(pathlib.Path(sys.argv[1]).glob('runs/*/metrics.jsonl')); "
    "frames = {f.parent.name: pd.read_json(f, lines=True, convert_dates=False) for f in files}; "
    "print(len(pd.concat(frames)))"
)
WAYS: Mapping[str, Sequence[str]] = {
    "list of runs": ["-c", READ, "STUDY"],
    "with history": ["-c", READ, "STUDY", "history"],
    "with all parts": ["-c", READ, "STUDY", "history", "pairs", "answers", "tokens"],
    "pull, all parts": ["-m", "analysis", "pull", "STUDY", "-o", "FILE"],
    "pull again": ["-m", "analysis", "pull", "STUDY", "-o", "FILE"],
    "from the pulled file, with history": ["-c", READ, "FILE", "history"],
    "pandas.read_json in a loop, history": ["-c", PANDAS, "STUDY"],
}
JUDGED = "with history"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=BETAS * SEEDS)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "benchmarks" / "pull")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    given = parser.parse_args()
    place = given.folder.resolve()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    study = make(place, given.runs, given.steps)
    megabytes = sum(path.stat().st_size for path in study.rglob("*") if path.is_file()) / 1e6
    costs: dict[str, list[Cost]] = {name: [] for name in WAYS}
    for _ in range(given.repeat):
        file = place / "runs.parquet"
        file.unlink(missing_ok=True)
        for name, way in WAYS.items():
            places = {"STUDY": str(study), "FILE": str(file)}
            command = [sys.executable, *(places.get(word, word) for word in way)]
            costs[name].append(measure(command, place / "log.txt", {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}))
    load = os.getloadavg()[2]
    text = render(costs, given.runs, given.steps, megabytes, file.stat().st_size / 1e6, load)
    report: dict[str, Any] = {
        "machine": machine(),
        "runs": given.runs,
        "steps": given.steps,
        "megabytes": megabytes,
        "load": load,
    }
    report["ways"] = {name: [asdict(cost) for cost in found] for name, found in costs.items()}
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "pull.json").write_text(json.dumps(report, indent=1) + "\n")
    (given.results / "pull.md").write_text(text)
    print(text)
    shutil.rmtree(place)


def make(place: Path, runs: int, steps: int) -> Path:
    """The study, of runs as a sweep leaves them."""
    draw = random.Random(0)
    histories = [history(draw, steps) for _ in range(min(CONTENTS, runs))]
    pairs = {"pair": [f"{n:016x}" for n in range(PAIRS)]}
    numbers = ("chosen_logp", "rejected_logp", "chosen_logratio", "rejected_logratio")
    pairs |= {name: [draw.gauss(-20, 5) for _ in range(PAIRS)] for name in numbers}
    pairs |= {name: [draw.randrange(5, 60) for _ in range(PAIRS)] for name in ("chosen_tokens", "rejected_tokens")}
    finals = {f"eval/{name}": draw.random() for name in ("reward_accuracy", "margin_nats", "kl", "win_rate", "reward")}
    answers = [answer(draw, n) for n in range(ANSWERS)]
    return finished_study(
        place,
        [
            Finished(
                beta=0.01 * (n // SEEDS + 1),
                seed=n % SEEDS,
                metrics={**finals, **{f"train/{name}": draw.random() for name in METRICS}},
                history=histories[n % len(histories)],
                pairs=pairs,
                answers=answers,
                tokens={"lowered": [], "raised": []},
            )
            for n in range(runs)
        ],
    )


def history(draw: random.Random, steps: int) -> list[dict[str, float]]:
    return [
        {"step": step, "time": 1.8e9 + step / 3, **{f"train/{name}": draw.gauss(0, 1) for name in METRICS}}
        for step in range(1, steps + 1)
    ]


def answer(draw: random.Random, number: int) -> dict[str, Any]:
    text = "".join(draw.choices("etaoin shrdlu ", k=300))
    names = ("kl", "k1", "k3", "entropy", "repetition", "reward", "start_reward")
    measures = {name: draw.random() for name in names}
    own = {"prompt": f"{number:016x}", "prompt_text": text[:100], "text": text, "tokens": 60, "ended": True}
    return {**own, **measures, "start_text": text[::-1], "start_tokens": 60, "win": 0.5, "opponent": "start"}


def render(
    costs: Mapping[str, Sequence[Cost]], runs: int, steps: int, megabytes: float, file: float, load: float
) -> str:
    host = machine()
    rows = [
        (
            name,
            f"{median(cost.wall_s for cost in found):.1f}",
            f"{median(cost.cpu_s for cost in found):.1f}",
            f"{max(cost.peak_rss_mb for cost in found):.0f}",
        )
        for name, found in costs.items()
    ]
    judged = costs[JUDGED]
    held = median(cost.wall_s for cost in judged) < BAR_S and max(cost.peak_rss_mb for cost in judged) < BAR_RSS_MB
    return (
        f"# Reading {runs:,} runs of {steps:,} logged steps\n\n"
        f"{host['date']}: {host['cpu']}, {host['cores']} cores, Python {host['python']}. {megabytes:.0f} MB of files, "
        f"{len(METRICS)} metrics a step; the pulled file has {file:.0f} MB. Each way is a process from its start to "
        f"its end. The machine's load over the last quarter of an hour was {load:.1f}: where that is far above 1, "
        "others were at work there, and CPU seconds tell more than wall time.\n\n"
        + markdown(["way", "median wall s", "CPU s", "peak RSS MB"], rows)
        + f"\nBar, {JUDGED}: under {BAR_S:g} s and {BAR_RSS_MB} MB: {'held' if held else 'missed'}.\n"
    )


if __name__ == "__main__":
    main()
