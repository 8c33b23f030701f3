"""What the first second goes to: wall time of `--help` and `plan`, and which packages their imports spend it on.

    python -m benchmarks.startup [--repeat 5]

Writes benchmarks/results/startup.{json,md}.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.measure import machine, markdown
from benchmarks.work import ROOT

RESULTS = Path(__file__).with_name("results")
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "--help": ["-m", "orchestrator", "--help"],
    "--cfg job": ["-m", "orchestrator", "--cfg", "job"],
    "plan, 1 run": ["-m", "orchestrator", "plan"],
    "plan, 24 runs": ["-m", "orchestrator", "plan", "-m", "beta=0.01,0.02,0.05,0.1,0.2,0.3,0.5,1.0", "seed=0,1,2"],
    "plan, 1000 runs": ["-m", "orchestrator", "plan", "-m", "beta=range(1,1001)"],
}
IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    given = parser.parse_args()
    walls = {name: [wall_s(arguments) for _ in range(given.repeat)] for name, arguments in COMMANDS.items()}
    imports = {name: import_ms(COMMANDS[name]) for name in ("--help", "plan, 1 run")}
    report = {"machine": machine(), "wall_s": walls, "import_ms": imports}
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "startup.json").write_text(json.dumps(report, indent=1) + "\n")
    (given.results / "startup.md").write_text(text := render(walls, imports))
    print(text)


def wall_s(arguments: Sequence[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} exited with {done.returncode}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def import_ms(arguments: Sequence[str]) -> dict[str, float]:
    """Milliseconds that importing took, by top-level package, the ten dearest."""
    command = [sys.executable, "-X", "importtime", *arguments]
    told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stderr
    spent: Counter[str] = Counter()
    for own_us, package in IMPORT_LINE.findall(told):
        spent[package] += int(own_us)
    return {package: own_us / 1000 for package, own_us in spent.most_common(10)}


def render(walls: dict[str, list[float]], imports: dict[str, dict[str, float]]) -> str:
    host = machine()
    rows = [(name, f"{median(times):.2f}", f"{min(times):.2f}") for name, times in walls.items()]
    dearest = "\n".join(
        f"- {name}: " + ", ".join(f"{package} {spent:.0f} ms" for package, spent in packages.items())
        for name, packages in imports.items()
    )
    return (
        f"# Starting up\n\n{host['date']}: {host['cpu']}, {host['cores']} cores, Python {host['python']}.\n\n"
        + markdown(["command", "median s", "least s"], rows)
        + f"\nImports, the ten dearest packages:\n{dearest}\n"
    )


if __name__ == "__main__":
    main()
