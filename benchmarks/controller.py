"""What the controller itself costs: a study of 1,000 runs that do nothing, by the real loop and the local launcher.

    python -m benchmarks.controller [--runs 1 100 1000]

CPU time and memory are the controller process' alone, its start included. Writes
benchmarks/results/controller.{json,md}.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measure import MB, machine, markdown, wait_keeping
from benchmarks.work import ROOT

RESULTS = Path(__file__).with_name("results")
BAR_CPU_MS, BAR_RSS_MB = 20, 300


@dataclass
class Controller:
    runs: int
    wall_s: float
    cpu_s: float
    peak_rss_mb: float

    @property
    def cpu_ms_per_run(self) -> float:
        return self.cpu_s / self.runs * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "benchmarks" / "controller")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    given = parser.parse_args()
    measured = [study(runs, given.workers, given.folder.resolve()) for runs in given.runs]
    report = {"machine": machine(), "workers": given.workers, "studies": [asdict(one) for one in measured]}
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "controller.json").write_text(json.dumps(report, indent=1) + "\n")
    (given.results / "controller.md").write_text(text := render(measured, given.workers))
    print(text)


def study(runs: int, workers: int, folder: Path) -> Controller:
    """One study in a folder of its own; raises SystemExit with the end of its log where it fails."""
    place = folder / f"{runs}-{time.time_ns()}"
    place.mkdir(parents=True)
    settings = [f"output_root={place}", f"launcher.workers={workers}", "tracking=disabled", f"beta=range(1,{runs + 1})"]
    settings += ["launcher.target=benchmarks.noop:train", "launcher.preload=[]"]
    log = place / "log.txt"
    with log.open("wb") as output:
        start = time.perf_counter()
        command = [sys.executable, "-m", "orchestrator", "-m", *settings]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        peak = Peak(process.pid)
        times = wait_keeping(process.pid, peak.look).cpu_times()
        wall_s = time.perf_counter() - start
    if process.wait():
        sys.exit(f"{' '.join(command)}\nexited with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    return Controller(runs, wall_s, times.user + times.system, peak.rss_mb)


class Peak:
    """The most memory that a process has had, which the kernel keeps until it ends."""

    def __init__(self, pid: int) -> None:
        self.status, self.rss_mb = Path(f"/proc/{pid}/status"), 0.0

    def look(self) -> None:
        for line in self.status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                self.rss_mb = int(line.split()[1]) * 1024 / MB


def render(measured: list[Controller], workers: int) -> str:
    host = machine()
    header = ["runs", "wall s", "CPU s", "CPU ms a run", "peak RSS MB"]
    rows = [
        (one.runs, f"{one.wall_s:.1f}", f"{one.cpu_s:.2f}", f"{one.cpu_ms_per_run:.1f}", f"{one.peak_rss_mb:.0f}")
        for one in measured
    ]
    largest = max(measured, key=lambda one: one.runs)
    held = largest.cpu_ms_per_run < BAR_CPU_MS and largest.peak_rss_mb < BAR_RSS_MB
    return (
        "# The controller's own cost\n\n"
        f"{host['date']}: {host['cpu']}, {host['cores']} cores, {workers} workers whose runs do nothing. CPU time and "
        "memory are the controller's alone, its start included.\n\n"
        + markdown(header, rows)
        + f"\nBar: under {BAR_CPU_MS} ms a run and {BAR_RSS_MB} MB at {largest.runs} runs: "
        + ("held.\n" if held else "missed.\n")
    )


if __name__ == "__main__":
    main()
