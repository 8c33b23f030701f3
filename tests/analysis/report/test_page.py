"""The page: one file that may run its own script and nothing else, whatever is in the runs."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.report.content import Content
from analysis.report.page import SCRIPTS, SHORT, STYLES, render
from analysis.report.payload import as_text
from tests.analysis.report.conftest import content_of
from tests.analysis.report.hostile import ATTACKS, EVERYTHING, hostile_runs
from tests.fakes.finished_study import Finished

# Elements that load, run or send something.
ACTIVE = {"script", "style", "iframe", "object", "embed", "img", "base", "form", "link", "audio", "video", "source"}


class Page(HTMLParser):
    """Elements of a page with their attributes, and the text inside of scripts and styles."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside.append("") if tag in ("script", "style") else None
        self._raw = tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if getattr(self, "_raw", False):
            self.inside[-1] += data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._raw = False


@pytest.fixture(scope="module")
def page(small: Content) -> Page:
    return Page(render(small))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Content:
    return content_of(tmp_path_factory.mktemp("hostile"), hostile_runs(), title=EVERYTHING)


def counts(page: Page) -> dict[str, int]:
    return {tag: sum(each == tag for each, _ in page.elements) for tag in ACTIVE}


def test_scripts_and_styles_are_those_that_the_policy_names(page: Page):
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    executed = [
        text for (tag, attributes), text in zip(
            [each for each in page.elements if each[0] in ("script", "style")], page.inside, strict=True
        ) if attributes.get("type") != "application/json"
    ]  # fmt: skip
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in executed}
    assert policy is not None
    assert set(re.findall(r"'sha256-[^']+'", policy)) == hashes
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    assert "require-trusted-types-for 'script'" in policy


def test_nothing_is_asked_of_the_network(small: Content):
    page = Page(render(small))
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "style", "xlink:href")
    ]
    assert all(value is not None and value.startswith(("#", "data:,")) for value in addresses)


def test_the_same_runs_make_the_same_bytes(small: Content):
    assert render(small) == render(small)


def test_every_file_of_the_page_is_in_it():
    folder = Path(__file__).resolve().parents[3] / "analysis" / "report" / "page"
    known = {*SCRIPTS, *STYLES, "boot.js", "template.html.j2"}
    assert {path.name for path in folder.iterdir()} == known


def test_scripts_put_no_text_in_as_markup():
    folder = Path(__file__).resolve().parents[3] / "analysis" / "report" / "page"
    for path in folder.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|DOMParser",
                             path.read_text()), path.name  # fmt: skip


def test_data_cannot_end_its_block():
    value = {"text": "</script><!--<script>&amp;\u2028\u2029\x00\ud800"}
    text = as_text(value)
    assert not re.search(r"[<>&\u2028\u2029]", text)
    assert text.isascii()
    assert json.loads(text) == value


def test_nothing_in_runs_becomes_markup(page: Page, hostile: Content):
    attacked = Page(render(hostile))
    assert counts(attacked) == counts(page)
    known = {name for _, attributes in page.elements for name in attributes}
    assert {name for _, attributes in attacked.elements for name in attributes} <= known | {
        "data-packed",
        "hidden",
        "dir",
    }
    assert not any(name.startswith("on") for _, attributes in attacked.elements for name in attributes)


def test_attacks_are_shown_as_the_text_they_are(hostile: Content):
    page = Page(render(hostile))
    for attack in ATTACKS[:3]:
        assert attack in page.text
    for sign in ("⟨U+202E⟩", "␀", "␛"):
        assert sign in page.text
    assert not re.search("[\x00\x1b\u202e\u2066\u2028]", render(hostile))


def test_long_texts_do_not_make_a_long_page(hostile: Content):
    assert len(render(hostile)) < 2_000_000


def test_only_links_to_the_web_become_links():
    folder = Path(__file__).resolve().parents[3] / "analysis" / "report" / "page"
    uses = [line for path in folder.glob("*.js") for line in path.read_text().splitlines() if "href:" in line]
    assert len(uses) == 1
    assert "isWeb(run.url)" in uses[0]


def test_the_verdict_and_the_ranking_are_there_without_scripts(small: Content):
    page = Page(render(small))
    assert small.ranking.verdict in page.text
    rows = [attributes for tag, attributes in page.elements if tag == "tr" and "data-cell" in attributes]
    assert [int(attributes["data-cell"] or "") for attributes in rows] == [row.cell for row in small.ranking.rows]


def test_a_long_ranking_is_short_at_first(tmp_path: Path):
    runs = [Finished(beta=place / 100, metrics={"eval/reward": 1.0}) for place in range(1, SHORT + 3)]
    text = render(content_of(tmp_path, runs))
    assert f"Show all {SHORT + 2}" in text
    css = Path(__file__).resolve().parents[3] / "analysis" / "report" / "page" / "page.css"
    assert f"nth-child(n + {SHORT + 1})" in css.read_text()


def test_runs_without_anything_make_a_page(tmp_path: Path):
    text = html.unescape(render(content_of(tmp_path, [Finished(status=None)])))
    assert "Nothing can be ranked" in text
    assert "has no result yet" in text
