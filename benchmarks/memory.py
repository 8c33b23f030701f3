"""How far the memory that `plan` tells is from what is measured, for models of known shapes with random weights.

    python -m benchmarks.memory [--cpu] [--only "lora" "full, adamw"] [--smoke]

Each case is a whole run of the product in a process of its own (`benchmarks.memory_case`), on pairs as long as
training.max_length allows; nothing is downloaded. On a GPU, measured is the most that torch's allocator had given out,
phase by phase, what it had reserved for that, and what the driver counts beside it (the context). With --cpu, and where
there is no GPU, cases are models of 30 to 60 million parameters, and measured is what torch's CPU allocator had given
out. Writes benchmarks/results/memory-{gpu,cpu}.{json,md}. The bar: within 20 % at a run's peak.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import machine, markdown, versions
from benchmarks.memory_case import PHASES, Case, Measured, carry_out, estimate_of
from benchmarks.memory_cases import CPU_CASES, GPU_CASES
from benchmarks.work import ROOT

RESULTS = Path(__file__).with_name("results")
BAR = 0.20
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
PREFACE = {
    "gpu": """Estimated memory beside what a GPU measured. Of each phase of a run: weights and all that is computed,
without libraries, context and what the allocator loses, beside the most that torch's allocator had given out
(`max_memory_allocated`). Last column: all that `plan` tells, beside what was reserved for it and the context.
""",
    "cpu": """Estimated memory beside what torch's CPU allocator gave out, for small models: **no GPU was measured**.
The formula is the same but for a GPU's own kernels (fewer tiles of logits in fp32, updates of all weights at once) and
what CUDA takes. Of each phase of a run: weights and all that is computed, without what libraries take and what an
allocator loses. Last column: all that `plan` tells, beside what the process had of memory at most (blocks that are
asked for and never touched are no part of it, and the measuring itself is).
""",
}


def main() -> None:
    cases = {**CPU_CASES, **GPU_CASES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="small models on the CPU, whether there is a GPU or not")
    parser.add_argument("--only", nargs="+", choices=list(cases), help="some cases", metavar="CASE")
    parser.add_argument("--smoke", action="store_true", help="every case on a tiny shape: measures nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    gpu = torch.cuda.is_available()
    known = GPU_CASES if gpu else CPU_CASES
    if given.case is not None:
        case = known[given.case].small() if given.smoke else known[given.case]
        print(json.dumps(asdict(carry_out(case))))
        return
    chosen = {name: known[name] for name in given.only or known if name in known}
    left_out = [] if given.smoke or not gpu else too_large(chosen, torch.cuda.mem_get_info()[1])
    where = torch.cuda.get_device_name() if gpu else f"no GPU, {machine()['cpu']}"
    file = given.results / f"memory-{'gpu' if gpu else 'cpu'}.md"
    found: dict[str, Measured] = {}
    failed = []
    for name in (name for name in chosen if name not in left_out):
        measured = in_own_process(name, smoke=given.smoke)
        if measured is None:
            failed.append(name)
            continue
        found[name] = measured
        # After each case, so that what was measured is there whatever becomes of the next.
        if not given.smoke:
            write(found, file, gpu=gpu, where=where, left_out=left_out, failed=failed)
    if given.smoke:
        print(f"{len(found)} cases ran on tiny shapes; nothing was measured")
    elif found:
        print(file.read_text())
    if failed or (not given.smoke and any(abs(one.off) > BAR for one in found.values())):
        raise SystemExit(1)


def too_large(cases: Mapping[str, Case], room: int) -> list[str]:
    """Cases that are not estimated to fit; where the estimate is what is wrong, the others tell."""
    return [name for name, case in cases.items() if estimate_of(case) > room]


def in_own_process(name: str, *, smoke: bool) -> Measured | None:
    """None where it fails: the end of what it printed is told."""
    command = [sys.executable, "-m", "benchmarks.memory", "--case", name, *(["--smoke"] if smoke else [])]
    # Blocks that are given back go back to the system at once: resident is then what is in use.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    if done.returncode:
        print(f"{name} failed:\n{done.stderr[-3000:]}", file=sys.stderr)
        return None
    measured = Measured(**json.loads(done.stdout.splitlines()[-1]))
    print(f"{name}: {measured.off:+.0%}", file=sys.stderr)
    return measured


def write(
    found: Mapping[str, Measured], file: Path, *, gpu: bool, where: str, left_out: Sequence[str], failed: Sequence[str]
) -> None:
    """The table as Markdown, and every number as JSON beside it."""
    notes = _notes(found, gpu=gpu, where=where, left_out=left_out, failed=failed)
    told = "\n".join([PREFACE["gpu" if gpu else "cpu"], table(found, gpu=gpu), *notes])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(told + "\n")
    numbers = {name: {**asdict(one), "off": one.off} for name, one in found.items()}
    used = versions(sys.executable, PACKAGES)
    told_machine = {**machine(), "where": where, "versions": used}
    file.with_suffix(".json").write_text(json.dumps({"machine": told_machine, "cases": numbers}, indent=2) + "\n")


def table(found: Mapping[str, Measured], *, gpu: bool) -> str:
    unit, size = ("GiB", 2**30) if gpu else ("MiB", 2**20)
    rows = []
    for name, one in found.items():
        each = [
            f"{one.estimated[phase] / size:.{2 if gpu else 0}f} / {one.peaks[phase] / size:.{2 if gpu else 0}f}"
            if phase in one.estimated else "-"
            for phase in PHASES
        ]  # fmt: skip
        beside = one.beside["reserved"] + one.beside["context"] if gpu else one.beside["resident"]
        planned = max(one.estimated.values()) + one.other + one.lost
        rows.append([
            name, *each, f"{one.off:+.0%}", "yes" if abs(one.off) <= BAR else "NO", one.peak.removeprefix("the "),
            f"{planned / size:.{2 if gpu else 0}f} / {beside / size:.{2 if gpu else 0}f}",
        ])  # fmt: skip
    process = "all of it / reserved and context" if gpu else "all of it / resident"
    title = [f"{unit}, estimated / measured", *PHASES, "off at the peak", f"within {BAR:.0%}", "peak in", process]
    return markdown(title, rows)


def _notes(
    found: Mapping[str, Measured], *, gpu: bool, where: str, left_out: Sequence[str], failed: Sequence[str]
) -> list[str]:
    worst = max(found, key=lambda name: abs(found[name].off))
    notes = [f"Furthest off at its peak: {worst}, {found[worst].off:+.0%}."]
    loaded = [name for name, one in found.items() if one.peaks.get("loading", 0) > max(one.estimated.values())]
    for why, names in (
        ("Left out, as they are not estimated to fit", left_out),
        ("Failed", failed),
        ("Took more to load than all that is estimated of the run", loaded),
    ):
        if names:
            notes.append(f"{why}: {'; '.join(names)}.")
    used = ", ".join(f"{name} {version}" for name, version in versions(sys.executable, PACKAGES).items())
    return [*notes, f"{where}; {used}; {machine()['date']}." + ("" if gpu else " One thread.")]


if __name__ == "__main__":
    main()
