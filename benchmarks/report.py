"""What a report of many runs costs: seconds to make it, its size, and when a browser first paints it.

    python -m benchmarks.report [--runs 1000] [--steps 1000] [--repeat 5]

Writes benchmarks/results/report.{json,md}. The bar at 1,000 runs is 10 MB and 2 s.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from benchmarks.measure import machine, markdown
from benchmarks.work import ROOT
from tests.fakes.finished_study import finished_study
from tests.fakes.report_study import LARGER, SELF, report_runs, with_trouble

RESULTS = Path(__file__).with_name("results")
METHODS = ("dpo", "ipo", "orpo", "kto", "simpo")
SEEDS = (0, 1, 2, 3)
# A phone of the middle kind, as Lighthouse pretends it.
SLOWER = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder), given.runs, given.steps)
        page = Path(folder) / "report.html"
        made = make_page(study, page)
        seen = {slower: [open_page(page, slower) for _ in range(given.repeat)] for slower in (1, SLOWER)}
    report = {"machine": machine(), "runs": given.runs, "steps": given.steps, **made, "browser": seen}
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (given.results / "report.md").write_text(text := render(report))
    print(text)


def make_study(folder: Path, runs: int, steps: int) -> Path:
    settings = max(1, runs // (len(METHODS) * len(SEEDS) * 2))
    strengths = tuple(round(0.01 * 1.22**place, 4) for place in range(settings))
    made = report_runs(METHODS, strengths, SEEDS, (SELF, LARGER), steps=steps, prompts=16)
    return finished_study(folder, with_trouble(made[:runs]), "many")


def make_page(study: Path, page: Path) -> dict[str, float]:
    """The command as a user types it, in a process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "analysis", "report", str(study), "-o", str(page)], cwd=ROOT, check=True)
    wall_s = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime
    return {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": used.ru_maxrss / 1024, "size_mb": page.stat().st_size / 1e6}


def open_page(page: Path, slower: int) -> dict[str, Any]:
    """Milliseconds from opening to paint, to working controls, and of a filter's click until all is drawn anew."""
    options = Options()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(flag)
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": slower})
        driver.get(page.as_uri())
        ready = driver.execute_async_script(
            "const done = arguments[0], look = () => document.getElementById('responses').dataset.ready ?"
            " done(performance.now()) : setTimeout(look, 5); look()"
        )
        paint = driver.execute_script("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        driver.execute_script("document.getElementById('curves').scrollIntoView({behavior: 'instant'})")
        time.sleep(1)
        filtered = driver.execute_async_script(
            "const done = arguments[0], start = performance.now();"
            "document.querySelector('[data-facet=Method] button').click();"
            "requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)))"
        )
    finally:
        driver.quit()
    return {"first_contentful_paint_ms": paint, "all_ready_ms": ready, "filter_ms": filtered}


def render(report: dict[str, Any]) -> str:
    host = report["machine"]
    rows = [
        (
            "making the page",
            f"{report['wall_s']:.1f} s, of which {report['cpu_s']:.1f} s of CPU; {report['peak_mb']:.0f} MB",
        ),
        ("size", f"{report['size_mb']:.1f} MB"),
    ]
    for slower, seen in report["browser"].items():
        where = "" if slower == 1 else f", CPU slowed {slower} times"
        for name, told in (("first_contentful_paint_ms", "first contentful paint"), ("all_ready_ms", "all parts ready"),
                           ("filter_ms", "a filter's click until all is drawn")):  # fmt: skip
            values = [each[name] for each in seen]
            rows.append((told + where, f"{median(values):.0f} ms (most {max(values):.0f})"))
    return (
        f"# The report of {report['runs']:,} runs of {report['steps']:,} steps\n\n"
        f"{host['date']}: {host['cpu']}, {host['cores']} cores, Python {host['python']}; headless Chromium, from disk, "
        f"medians of {len(report['browser'][1])}.\n\n" + markdown(["what", "value"], rows)
    )


if __name__ == "__main__":
    main()
