"""One sweep of eight betas by this product and by what people would use instead: time, CPU, memory, and equal work.

    python -m benchmarks.sweep [--only product joblib] [--repeat 3]

Tools run one after another, in an order that rotates with each repetition. Writes benchmarks/results/sweep.{json,md};
exits with 1 where a tool failed, or did other work than the plain script.
"""

import argparse
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import CommandFailed, Cost, machine, markdown, measure, versions
from benchmarks.setup import BENCH_PYTHON
from benchmarks.tools import PRODUCT, TOOLS, Task
from benchmarks.work import BETAS, ROOT, prepare

RESULTS = Path(__file__).with_name("results")

# How far a run may be from the plain script's with the same beta: the other tools carry out the very same function,
# the product scores in other batches, which rounds otherwise. Accuracies are counted in pairs.
TOLERANCE = {"train_loss": 1e-6, "accuracy_pairs": 0, "margin_nats": 1e-4}
PRODUCT_TOLERANCE = {"train_loss": 0.001, "accuracy_pairs": 1, "margin_nats": 0.01}

Outcomes = dict[float, dict[str, float]]


@dataclass
class Measured:
    """What came out for one tool over all repetitions."""

    costs: list[Cost] = field(default_factory=list)
    outcomes: Outcomes = field(default_factory=dict)
    failure: str | None = None
    differences: list[str] = field(default_factory=list)


def main() -> None:
    given = arguments()
    root = given.folder.resolve()
    source = prepare(root / "work", given.pairs, given.heldout)
    chosen = given.only or list(TOOLS)
    warm_up(chosen)
    measured: dict[str, Measured] = defaultdict(Measured)
    for name in order(chosen, given.repeat):
        task = Task(root / "work", fresh(root / name), given.betas, given.workers)
        carry_out(name, task, measured[name], root / f"{name}.log")
    compare(measured, given.betas, given.heldout)
    work = {key: getattr(given, key) for key in ("betas", "pairs", "heldout", "workers", "repeat")}
    report = {"machine": machine(), "versions": tool_versions(chosen), "work": {**work, "source": source}}
    write(report, {name: measured[name] for name in chosen}, given.results)
    sys.exit(any(found.failure or found.differences for found in measured.values()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TOOLS, help="these tools instead of all")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--betas", type=lambda text: [float(beta) for beta in text.split(",")], default=list(BETAS))
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--heldout", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "benchmarks", help="model, data and outputs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    return parser.parse_args()


def order(chosen: Sequence[str], repeat: int) -> Iterator[str]:
    for turn in range(repeat):
        first = turn % len(chosen)
        yield from [*chosen[first:], *chosen[:first]]


def carry_out(name: str, task: Task, found: Measured, log: Path) -> None:
    try:
        found.costs.append(measure(TOOLS[name].command(task), log, environment(task.out)))
    except CommandFailed as error:
        found.failure = str(error)
    else:
        found.outcomes = {outcome["beta"]: outcome for outcome in TOOLS[name].outcomes(task.out)}
    print(f"{name}: {found.failure or found.costs[-1]}", file=sys.stderr)


def environment(out: Path) -> dict[str, str]:
    """One thread a process, no GPU, no network, and no cache that an earlier tool has filled."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(out / "datasets"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def interpreters(chosen: Sequence[str]) -> set[str]:
    own = {PRODUCT, "shell"}
    wanted = {sys.executable if name in own else str(BENCH_PYTHON) for name in chosen}
    if str(BENCH_PYTHON) in wanted and not BENCH_PYTHON.exists():
        sys.exit("benchmarks: the other tools are not installed: python -m benchmarks.setup, or --only product shell")
    return wanted


def warm_up(chosen: Sequence[str]) -> None:
    """Bring the libraries into the page cache, so that the first tool does not pay for reading them from disk."""
    for python in interpreters(chosen):
        measure([python, "-c", "import peft; from trl import DPOTrainer"], Path(os.devnull), dict(os.environ))


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def compare(measured: Mapping[str, Measured], betas: Sequence[float], heldout: int) -> None:
    """Note where a tool's runs are not those of the first other tool that used the plain script."""
    plain = next((found.outcomes for name, found in measured.items() if name != PRODUCT and found.outcomes), {})
    for name, found in measured.items():
        tolerance = PRODUCT_TOLERANCE if name == PRODUCT else TOLERANCE
        for beta in betas:
            found.differences += differences(beta, found.outcomes.get(beta), plain.get(beta), heldout, tolerance)


def differences(
    beta: float,
    outcome: Mapping[str, float] | None,
    plain: Mapping[str, float] | None,
    heldout: int,
    tolerance: Mapping[str, float],
) -> Iterator[str]:
    if outcome is None:
        yield f"beta={beta}: no result"
    elif plain is not None:
        ours, theirs = counted(outcome, heldout), counted(plain, heldout)
        for key, allowed in tolerance.items():
            if not abs(ours[key] - theirs[key]) <= allowed:
                yield f"beta={beta}: {key} {ours[key]:.6g}, the plain script's {theirs[key]:.6g}"


def counted(outcome: Mapping[str, float], heldout: int) -> dict[str, float]:
    return {**outcome, "accuracy_pairs": round(outcome["accuracy"] * heldout, 6)}


def tool_versions(chosen: Sequence[str]) -> dict[str, str]:
    shared = ["torch", "transformers", "trl", "peft", "datasets", "hydra-core"]
    others = ["joblib", "hydra-joblib-launcher", "hydra-submitit-launcher", "submitit", "ray"]
    if str(BENCH_PYTHON) in interpreters(chosen):
        return versions(str(BENCH_PYTHON), shared + others)
    return versions(sys.executable, shared)


def write(report: Mapping[str, Any], measured: Mapping[str, Measured], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tools = {name: asdict(found) for name, found in measured.items()}
    (folder / "sweep.json").write_text(json.dumps({**report, "tools": tools}, indent=1) + "\n")
    text = render(report, measured)
    (folder / "sweep.md").write_text(text)
    print(text)


def render(report: Mapping[str, Any], measured: Mapping[str, Measured]) -> str:
    work, host = report["work"], report["machine"]
    own = measured[PRODUCT].costs if PRODUCT in measured else []
    rows = [row(TOOLS[name].label, found, own) for name, found in measured.items() if found.costs]
    header = ["tool", "wall s", "of which", "CPU s", "wall / product", "peak RSS MB", "peak PSS MB", "same work"]
    lines = [
        f"# {len(work['betas'])} betas of DPO, {work['workers']} at a time, one thread each\n",
        f"{host['date']}: {host['cpu']}, {host['cores']} cores, {host['memory_gb']} GB, {host['system']}, "
        f"Python {host['python']}. {work['pairs']} pairs to train on, {work['heldout']} held out ({work['source']}). "
        "Medians of the repetitions; memory and CPU time are summed over all processes.\n",
        markdown(header, rows),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".\n",
        *(f"- {name}: {fault}" for name, found in measured.items() for fault in found.differences),
        *(f"- {name} failed: {found.failure.splitlines()[-1]}" for name, found in measured.items() if found.failure),
    ]
    return "\n".join(lines).rstrip() + "\n"


def row(label: str, found: Measured, own: Sequence[Cost]) -> list[str]:
    wall_s = median(cost.wall_s for cost in found.costs)
    return [
        label,
        f"{wall_s:.1f}",
        " ".join(f"{cost.wall_s:.1f}" for cost in found.costs),
        f"{median(cost.cpu_s for cost in found.costs):.1f}",
        f"{wall_s / median(cost.wall_s for cost in own):.2f}" if own else "",
        f"{max(cost.peak_rss_mb for cost in found.costs):.0f}",
        f"{max(cost.peak_pss_mb for cost in found.costs):.0f}",
        "no" if found.differences else "yes",
    ]


if __name__ == "__main__":
    main()
