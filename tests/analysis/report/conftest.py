"""Runs to report on, and a browser to look at the page with."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from analysis.report.content import Content
from analysis.report.gather import gather
from analysis.report.page import render
from analysis.runs import PARTS
from analysis.sources import read
from tests.fakes.finished_study import Finished, finished_study
from tests.fakes.report_study import report_runs, with_trouble

WAIT_S = 20


def content_of(root: Path, runs: list[Finished], **asked: Any) -> Content:
    """What a report says of runs that are written to a study's folder and read from there."""
    return gather(read([str(finished_study(root, runs))], PARTS), **asked)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """Thirty runs: three methods, five strengths, two seeds, with some that failed."""
    return content_of(tmp_path_factory.mktemp("small"), with_trouble(report_runs()))


@dataclass
class Browser:
    """A headless Chromium that keeps what it asked of the network and what its console said."""

    driver: webdriver.Chrome
    folder: Path

    def open(self, content: Content, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show the page of a content from disk."""
        path = self.folder / "report.html"
        path.write_text(render(content), encoding="utf-8")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.console()
        self.requests()
        self.driver.get(path.as_uri())
        self.until("document.documentElement.dataset.ready === 'yes'")

    def js(self, code: str, *arguments: Any) -> Any:
        """What a script returns that runs in the page."""
        return self.driver.execute_script(code, *arguments)

    def until(self, condition: str, *arguments: Any) -> None:
        """Wait for a condition in the page."""
        wait = WebDriverWait(self.driver, WAIT_S, 0.05)
        wait.until(lambda _: self.js(f"return Boolean({condition})", *arguments), condition)

    def show(self, section: str) -> None:
        """Scroll to a section, and wait until its charts are drawn."""
        self.until("['curves', 'tokens', 'responses'].every((id) => document.getElementById(id).dataset.ready)")
        for plot in self.driver.find_elements(By.CSS_SELECTOR, f"#{section} .plot"):
            self.js("arguments[0].scrollIntoView({block: 'center'})", plot)
            self.until("!arguments[0].offsetWidth || arguments[0].dataset.drawn", plot)
        self.js("document.getElementById(arguments[0]).scrollIntoView()", section)

    def show_all(self) -> None:
        """Scroll through the page, so that all of it is drawn."""
        for section in self.js("return [...document.querySelectorAll('section')].map((each) => each.id)"):
            self.show(section)

    def texts(self, selector: str) -> list[str]:
        """Texts of all elements that a selector finds and that are shown."""
        code = "return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility())"
        return self.js(f"{code}.map((e) => e.textContent.replace(/\\s+/g, ' ').trim())", selector)

    def table(self, section: str) -> list[list[str]]:
        """The rows of a chart's table, opened as a reader opens it."""
        self.show(section)
        self.js("document.querySelector(`#${arguments[0]} details.numbers`).open = true", section)
        self.until(f"document.querySelector('#{section} .numbers tbody tr')")
        code = "return [...document.querySelectorAll(`#${arguments[0]} .numbers tbody tr`)]"
        return self.js(f"{code}.map((row) => [...row.children].map((cell) => cell.textContent))", section)

    def console(self) -> list[str]:
        """What the console has said since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since this was last asked, but those that the page's policy stopped."""
        logged = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        failed = [each["params"] for each in logged if each["method"] == "Network.loadingFailed"]
        stopped = {each["requestId"] for each in failed if each.get("blockedReason") == "csp"}
        sent = [each["params"] for each in logged if each["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent if each["requestId"] not in stopped]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        told = "no chromium and chromedriver on PATH: Debian has them in chromium and chromium-driver"
        pytest.fail(told) if os.environ.get("PREFSWEEP_BROWSER_REQUIRED") == "1" else pytest.skip(told)
    options = Options()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--force-prefers-reduced-motion",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield Browser(driver, tmp_path_factory.mktemp("pages"))
    driver.quit()
