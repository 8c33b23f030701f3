"""The page in a real browser: it opens from disk, says what the runs say, and does what its controls promise."""

import dataclasses
import json
import math
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from analysis.report.content import Content, Estimate, Fit
from analysis.report.gather import as_ranked
from analysis.report.numbers import MINUS, fixed
from tests.analysis.report.conftest import Browser, content_of
from tests.analysis.report.hostile import ATTACKS, hostile_runs
from tests.fakes.finished_study import Finished, changed
from tests.fakes.report_study import LARGER, SELF, report_runs, with_trouble

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

NARROW = 375


@pytest.fixture(autouse=True)
def _quiet(browser: Browser) -> Iterator[None]:
    """Whatever a test does: the console stays silent, and nothing is asked of the network."""
    yield
    assert browser.console() == []
    assert all(re.match(r"(file|data|blob):", url) for url in browser.requests())


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """A hundred and twenty runs, with two references."""
    runs = report_runs(("dpo", "ipo", "orpo", "kto"), seeds=(0, 1, 2), references=(SELF, LARGER))
    return content_of(tmp_path_factory.mktemp("crowd"), with_trouble(runs))


def by_setting(root: Path, metric: str) -> dict[tuple[str, float], list[float]]:
    """A metric of completed runs as their files have it, by method and strength."""
    found: dict[tuple[str, float], list[float]] = {}
    for path in sorted(root.glob("study/runs/*/result.json")):
        result = json.loads(path.read_text())
        if result["status"] == "completed":
            key = (result["params"]["method"], result["params"]["beta"])
            found.setdefault(key, []).append(result["metrics"][metric])
    return found


def plus_minus(values: list[float], decimals: int) -> str:
    mean = fixed(statistics.fmean(values), decimals)
    if len(values) < 2:
        return mean
    return f"{mean} ± {fixed(statistics.stdev(values) / math.sqrt(len(values)), decimals)}"


def test_the_page_opens_and_all_of_it_is_drawn(browser: Browser, small: Content):
    browser.open(small)
    browser.show_all()
    drawn = browser.js("return [...document.querySelectorAll('.plot')].map((each) => Number(each.dataset.drawn))")
    assert len(drawn) == 5
    assert all(points > 0 for points in drawn)
    assert browser.texts("#trouble, .none") == []


def test_the_ranking_tells_the_numbers_of_the_runs_files(browser: Browser, tmp_path: Path):
    content = content_of(tmp_path, with_trouble(report_runs(prompts=0)))
    browser.open(content)
    decimals = content.metric("eval/win_rate").decimals
    known = by_setting(tmp_path, "eval/win_rate")
    shown = browser.js(
        "return [...document.querySelectorAll('#ranking-table tbody tr')].map((row) =>"
        " [row.querySelector('bdi').textContent, row.querySelector('.value').textContent])"
    )
    told = {
        tuple(re.fullmatch(r"(\w+), \w+ ([\d.]+)", label).groups()): re.split(r"\s", value)[0]  # type: ignore[union-attr]
        for label, value in shown
    }
    assert told == {(m, f"{b:g}"): fixed(statistics.fmean(values), decimals) for (m, b), values in known.items()}
    # Sound settings from best to worst, and those with a degenerate run after them.
    means = [statistics.fmean(known[method, float(beta)]) for method, beta in told]
    assert means[:-1] == sorted(means[:-1], reverse=True)
    assert small_rank(browser, 0) == "1"
    assert small_rank(browser, -1) == "–"  # noqa: RUF001


def small_rank(browser: Browser, row: int) -> str:
    return browser.texts("#ranking-table .rank")[row]


@pytest.mark.parametrize(
    ("section", "metric", "column"), [("strength", "eval/win_rate", 2), ("frontier", "eval/reward", 1)]
)
def test_a_charts_table_tells_the_numbers_of_the_runs_files(
    browser: Browser, tmp_path: Path, section: str, metric: str, column: int
):
    content = content_of(tmp_path, with_trouble(report_runs(prompts=0)))
    browser.open(content)
    decimals = content.metric(metric).decimals
    rows = {row[0]: row[column] for row in browser.table(section)}
    for (method, beta), values in by_setting(tmp_path, metric).items():
        label = next(label for label in rows if label.startswith(f"{method},") and label.endswith(f" {beta:g}"))
        assert rows[label] == fixed(statistics.fmean(values), decimals)


def test_keys_move_through_a_charts_points_and_say_their_numbers(browser: Browser, small: Content):
    browser.open(small)
    browser.show("strength")
    plot = browser.driver.find_element(By.CSS_SELECTOR, "#strength .plot")
    browser.js("arguments[0].focus()", plot)
    said = []
    for _ in small.cells:
        plot.send_keys(Keys.ARROW_RIGHT)
        said.append(browser.js("return document.getElementById('live').textContent"))
    decimals = small.metric("eval/win_rate").decimals
    for cell in (cell for cell in small.cells if "eval/win_rate" in cell.scores):
        mean = fixed(cell.scores["eval/win_rate"].mean, decimals)
        assert any(each.startswith(f"{cell.label}, win rate {mean}") for each in said)
    assert browser.texts("#strength .tip strong") == [said[-1].split(", win rate")[0]]
    plot.send_keys(Keys.ESCAPE)
    assert browser.texts("#strength .tip") == []


def test_a_pointer_over_a_mark_shows_its_numbers(browser: Browser, small: Content):
    browser.open(small)
    browser.show("strength")
    mark = browser.driver.find_element(By.CSS_SELECTOR, "#strength .plot .mark")
    ActionChains(browser.driver).move_to_element(mark).perform()
    assert browser.texts("#strength .tip strong") == ["dpo, beta 0.02"]


def test_a_pointer_over_a_curve_names_its_run(browser: Browser, small: Content):
    browser.open(small)
    browser.show("curves")
    plot = browser.driver.find_element(By.CSS_SELECTOR, "#curves .plot")
    browser.js("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(browser.driver).move_to_element_with_offset(plot, 100, 60).perform()
    assert re.fullmatch(r"\w+, \w+ [\d.]+, seed \d", browser.texts("#curves .tip strong")[0])
    assert browser.js("return document.querySelectorAll('#curves .over .strong').length") == 1


def press(browser: Browser, facet: str, value: str) -> None:
    chips = browser.driver.find_elements(By.CSS_SELECTOR, f"[data-facet='{facet}'] button")
    next(chip for chip in chips if chip.text == value).click()


def colours(browser: Browser, section: str) -> set[str]:
    """Classes of colour of the lines and marks that a section's charts have."""
    drawn = "document.querySelectorAll(`#${arguments[0]} .plot :is(.line, .mark)`)"
    code = f"return [...{drawn}].map((each) => each.classList.value)"
    return {name for classes in browser.js(code, section) for name in re.findall(r"\bm\d", classes)}


def test_filters_change_every_picture(browser: Browser, crowd: Content):
    browser.open(crowd)
    browser.show_all()
    before = {section: browser.js(f"return document.querySelector('#{section} svg').outerHTML") for section in
              ("strength", "frontier", "curves")}  # fmt: skip
    assert colours(browser, "strength") == {"m0", "m1", "m2", "m3"}
    press(browser, "Method", "ipo")
    press(browser, "Reference", "model:larger")
    browser.show_all()
    for section in ("strength", "frontier", "curves"):
        assert colours(browser, section) == {"m1"}
        assert browser.js(f"return document.querySelector('#{section} svg').outerHTML") != before[section]
    assert browser.texts("#filter-told") == ["15 of 120 runs"]
    ranked = browser.texts("#ranking-table bdi")
    assert len(ranked) == 5
    assert all("ipo" in label and "larger" in label for label in ranked)
    assert all(row[0].startswith("ipo") for row in browser.table("strength"))
    assert len(browser.js("return [...document.querySelectorAll('#runs-table tbody tr')]")) == 15
    browser.driver.find_element(By.ID, "reset").click()
    browser.show_all()
    for section in ("strength", "frontier", "curves"):
        assert browser.js(f"return document.querySelector('#{section} svg').outerHTML") == before[section]


def test_strengths_and_states_are_filters_too(browser: Browser, crowd: Content):
    browser.open(crowd)
    press(browser, "Strength", "0.05")
    press(browser, "Status", "failed")
    assert browser.texts("#filter-told") == ["2 of 120 runs"]
    press(browser, "Status", "completed")
    assert browser.texts("#filter-told") == ["24 of 120 runs"]


def test_words_of_the_search_narrow_down(browser: Browser, crowd: Content):
    browser.open(crowd)
    search = browser.driver.find_element(By.ID, "search")
    search.send_keys("cuda OUT")
    browser.until("document.getElementById('filter-told').textContent === '2 of 120 runs'")
    search.clear()
    search.send_keys("nothing has this")
    browser.until("document.getElementById('filter-told').textContent === '0 of 120 runs'")
    browser.show_all()
    assert browser.texts("#strength .plot .name") == ["No run that is shown has this score."] or not browser.texts(
        "#strength .panel"
    )


def test_the_score_of_the_strength_chart_can_be_chosen(browser: Browser, small: Content):
    browser.open(small)
    browser.show("strength")
    chosen = browser.driver.find_element(By.CSS_SELECTOR, "#strength-controls select")
    chosen.find_element(By.XPATH, "option[text()='log-ratio of EOS']").click()
    row = browser.table("strength")[0]
    cell = next(cell for cell in small.cells if cell.label == row[0])
    metric = small.metric("tokens/eos_logratio")
    assert row[2] == fixed(cell.scores[metric.name].mean, metric.decimals)
    assert row[2].startswith(MINUS)


def test_curves_are_drawn_by_run_or_as_means(browser: Browser, small: Content):
    browser.open(small)
    browser.show("curves")
    rows = browser.table("curves")
    assert len(rows) == 30
    first = next(curve for curve in small.curves if curve.metric == "train/loss" and curve.run == 0)
    assert rows[0][1:4] == ["60", fixed(first.values[0], 3), fixed(first.values[-1], 3)]
    browser.driver.find_element(By.XPATH, "//div[@id='curves-controls']//option[@value='mean']").click()
    assert len(browser.table("curves")) == 15


def test_a_curve_of_a_single_point_is_a_mark(browser: Browser, tmp_path: Path):
    history = [{"step": 8, "time": 0.0, "train/loss": 0.5}]
    runs = [Finished(seed=seed, metrics={"eval/reward": 1.0}, history=history) for seed in (0, 1)]
    browser.open(content_of(tmp_path, runs))
    browser.show("curves")
    browser.until("document.querySelectorAll('#curves .lone').length === 2")


def test_smoothing_takes_the_noise_out_of_long_curves(browser: Browser, small: Content):
    browser.open(small)
    browser.show("curves")
    browser.until("document.querySelector('#curves path.curve')")
    rough = browser.js("return document.querySelector('#curves path.curve').getTotalLength()")
    slider = browser.driver.find_element(By.CSS_SELECTOR, "#curves-controls input[type=range]")
    for _ in range(16):
        slider.send_keys(Keys.ARROW_RIGHT)
    assert browser.texts("#curves-controls output") == ["0.80"]
    browser.until("document.querySelector('#curves path.curve')")
    assert browser.js("return document.querySelector('#curves path.curve').getTotalLength()") < rough * 0.9


def test_prompts_are_gone_through_with_their_answers_side_by_side(browser: Browser, small: Content):
    browser.open(small)
    browser.show("responses")
    prompts = small.responses.prompts
    assert browser.texts("#responses-prompt .writing") == [prompts[0].text]
    shown = browser.texts("#responses-cards .writing")
    assert len(shown) == 4  # the starting policy, and the best setting of each method
    assert shown[0] == prompts[0].start.text  # type: ignore[union-attr]
    assert set(shown[1:]) <= {answer.text.strip() for answer in prompts[0].answers.values()}
    browser.driver.find_element(By.XPATH, "//section[@id='responses']//button[text()='Next']").click()
    assert browser.texts("#responses-prompt .writing") == [prompts[1].text]
    browser.driver.find_element(By.XPATH, "//section[@id='responses']//button[text()='Previous']").click()
    assert browser.texts("#responses-cards .writing") == shown


def test_other_runs_answers_can_be_added(browser: Browser, small: Content):
    browser.open(small)
    browser.show("responses")
    browser.js("document.getElementById('responses-runs').open = true")
    browser.driver.find_element(By.CSS_SELECTOR, "#responses-runs input:not(:checked)").click()
    assert len(browser.texts("#responses-cards .card")) == 5
    assert browser.texts("#responses-summary")[0].startswith("Runs: 4 of")


def test_the_token_study_tells_the_numbers_of_its_run(browser: Browser, small: Content):
    browser.open(small)
    browser.show("tokens")
    run = int(browser.js("return document.querySelector('#tokens-controls select').value"))
    study = next(each for each in small.tokens if each.run == run)
    shown = browser.texts("#tokens-lowered td.number:not(.quiet)")
    assert shown == [fixed(token.mean_logratio, 2) for token in study.lowered[:15]]
    assert browser.texts("#tokens-lowered .token")[0] == "␣the"
    assert fixed(study.eos.mean_logratio, 3) in browser.texts("#tokens-eos")[0]  # type: ignore[union-attr]
    browser.driver.find_element(By.CSS_SELECTOR, "#tokens-raised .more").click()
    assert len(browser.texts("#tokens-raised tbody tr")) == len(study.raised)


def test_a_command_is_copied_as_it_stands(browser: Browser, small: Content):
    browser.open(small)
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    browser.show("runs")
    browser.driver.find_element(By.CSS_SELECTOR, "#runs-table tbody tr .copy").click()
    browser.until("document.getElementById('live').textContent === 'Copied'")
    search = browser.driver.find_element(By.ID, "search")
    search.send_keys(Keys.CONTROL, "v")
    assert search.get_attribute("value") == small.runs[0].command


def test_runs_are_sorted_by_what_is_asked_for(browser: Browser, small: Content):
    browser.open(small)
    browser.show("runs")
    browser.driver.find_element(By.XPATH, "//table[@class='runs']//button[text()='win rate']").click()
    browser.driver.find_element(By.XPATH, "//table[@class='runs']//button[text()='win rate']").click()
    shown = [float(text.replace(MINUS, "-")) for text in browser.texts("#runs-table [data-name='win rate']")[:20]]
    assert shown == sorted(shown, reverse=True)
    assert browser.js("return document.querySelector('[aria-sort=descending]').textContent") == "win rate"


CONTROLS = "a[href], button, select, input, summary, textarea, [tabindex='0']"


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(browser: Browser, small: Content):
    browser.open(small)
    browser.show_all()
    code = (
        "return [...document.querySelectorAll(arguments[0])]"
        ".filter((e) => e.checkVisibility({visibilityProperty: true}) && !e.disabled)"
    )
    expected = len(browser.js(code, CONTROLS))
    browser.js("document.activeElement.blur(); scrollTo(0, 0)")
    reached: dict[str, str] = {}
    tell = (
        "const e = document.activeElement; window.places ??= new Map();"
        "if (!places.has(e)) places.set(e, places.size);"
        "const box = e.getBoundingClientRect(), look = getComputedStyle(e);"
        "return [String(places.get(e)), e.tagName + ' ' + (e.id || e.textContent.slice(0, 30)),"
        " look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) > 0, e === document.body]"
    )
    for _ in range(expected + 5):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        place, name, outlined, outside = browser.js(tell)
        if outside or place in reached:
            break
        assert outlined, name
        reached[place] = name
    assert len(reached) == expected, list(reached.values())
    assert next(iter(reached.values())) == "A Skip to the report"


def test_controls_have_names(browser: Browser, crowd: Content):
    browser.open(crowd)
    browser.show_all()
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "link", "combobox", "checkbox", "slider", "searchbox", "textbox", "DisclosureTriangle"}
    controls = [node for node in tree if not node.get("ignored") and node.get("role", {}).get("value") in roles]
    assert len(controls) > 50
    assert [node for node in controls if not node.get("name", {}).get("value")] == []
    levels = browser.js("return [...document.querySelectorAll('h1, h2')].map((each) => each.tagName)")
    assert levels == ["H1"] + ["H2"] * 8


@pytest.mark.parametrize("dark", [False, True])
def test_the_theme_follows_the_system_and_can_be_switched(browser: Browser, small: Content, dark: bool):
    def paper() -> int:
        colour = browser.js("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    browser.open(small, dark=dark)
    first = paper()
    assert (first < 200) is dark
    switch = browser.driver.find_element(By.ID, "theme")
    assert switch.text == ("Light" if dark else "Dark")
    switch.click()
    assert (paper() < 200) is not dark
    assert switch.text == ("Dark" if dark else "Light")
    switch.click()
    assert paper() == first
    browser.js("localStorage.clear()")


@pytest.mark.parametrize("hostile", [False, True])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    browser: Browser, crowd: Content, tmp_path: Path, hostile: bool
):
    content = content_of(tmp_path, hostile_runs(), title=ATTACKS[-1]) if hostile else crowd
    browser.open(content, width=NARROW, height=740)
    browser.show_all()
    for details in browser.driver.find_elements(By.CSS_SELECTOR, "details.numbers, #filter-box, #responses-runs"):
        browser.js("arguments[0].open = true", details)
    wide = browser.js(
        "return [...document.querySelectorAll('main *, header, aside')]"
        ".filter((e) => !e.closest('.scroll, svg, .offscreen') && e.checkVisibility())"
        ".filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.outerHTML.slice(0, 120))"
    )
    assert browser.js("return document.documentElement.scrollWidth") == NARROW
    assert wide == []


def test_all_is_printed_in_black_on_white(browser: Browser, small: Content):
    browser.open(small, dark=True)
    browser.show_all()
    pdf = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"]
    assert len(pdf) > 50_000
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.js("return getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()") == "#fff"
    assert browser.texts("#theme, .controls, .copy") == []
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_in_runs_becomes_markup_or_script(browser: Browser, tmp_path: Path):
    content = content_of(tmp_path, hostile_runs(), title=ATTACKS[0])
    browser.open(content)
    browser.show_all()
    for details in browser.driver.find_elements(By.CSS_SELECTOR, "details"):
        browser.js("arguments[0].open = true", details)
    for place in range(0, len(content.responses.prompts), 3):
        browser.js("const s = document.querySelector('#prompt-choice'); s.value = arguments[0];"
                   "s.dispatchEvent(new Event('change'))", str(place))  # fmt: skip
    assert browser.js("return window.pwned ?? null") is None
    assert (
        browser.js(
            "return document.querySelectorAll('main :is(img, iframe, object, embed, base, script, style)').length"
        )
        == 0
    )
    assert browser.js("return document.querySelectorAll('script').length") == 2 + 4
    links = browser.js("return [...document.querySelectorAll('a')].map((each) => each.getAttribute('href'))")
    assert all(link.startswith("#") for link in links)
    shown = browser.js("return document.body.textContent")
    assert ATTACKS[1] in shown
    assert not re.search("[\u202e\u2066\x00\x1b]", shown)


def test_the_pages_policy_stops_what_would_get_in_all_the_same(browser: Browser, small: Content):
    browser.open(small)
    attempts = (
        "document.body.innerHTML = '<img src=x onerror=\"window.pwned = 1\">'",
        "const s = document.createElement('script'); s.text = 'window.pwned = 2'; document.body.append(s)",
        "setTimeout('window.pwned = 3')",
        "const i = new Image(); i.src = 'https://example.com/x.png'; document.body.append(i)",
        "document.body.setAttribute('onclick', 'window.pwned = 4'); document.body.click()",
    )
    for attempt in attempts:
        browser.js(f"try {{ {attempt} }} catch {{}}")
    assert browser.js("return window.pwned ?? null") is None
    assert len(browser.texts("main section")) == 9
    assert len(browser.console()) >= 2
    assert all(url.startswith(("file:", "data:")) for url in browser.requests())


def test_an_attack_stands_in_an_answer_as_it_was_written(browser: Browser, tmp_path: Path):
    run = report_runs(("dpo",), (0.1,), (0,), prompts=1)[0]
    text = "</script><img src=x onerror=alert(1)>\n  two lines,\u202eturned\x00"
    browser.open(content_of(tmp_path, [changed(run, answers=[{**run.answers[0], "text": text}])]))
    browser.show("responses")
    written = browser.js("return document.querySelectorAll('#responses-cards .writing')[1].textContent")
    assert written == "</script><img src=x onerror=alert(1)>\n  two lines,⟨U+202E⟩turned␀"


@pytest.mark.parametrize(
    "url", ["https://wandb.ai/me/it/runs/1", "javascript:alert(1)", "data:text/html,x", "//x", None]
)
def test_a_link_leads_to_the_web_or_nowhere(browser: Browser, small: Content, url: str | None):
    runs = [dataclasses.replace(small.runs[0], url=url or ""), *small.runs[1:]]
    browser.open(dataclasses.replace(small, runs=runs))
    browser.show("runs")
    links = browser.js("return [...document.querySelectorAll('#runs-table a')].map((each) => [each.href, each.rel])")
    assert links == ([[url, "noopener noreferrer"]] if url and url.startswith("https") else [])


def test_a_tested_ranking_tells_differences_ties_and_fits(browser: Browser, small: Content):
    best = small.ranking.rows[0].estimate
    assert best is not None
    rows = [
        dataclasses.replace(
            row, tied=0 < place < 3, p=None if place == 0 else 0.4 / place**4,
            difference=Estimate(row.estimate.mean - best.mean, -0.25, 0.01, 2) if place and row.estimate else None,
        )
        for place, row in enumerate(small.ranking.rows)
    ]  # fmt: skip
    ranking = dataclasses.replace(small.ranking, rows=rows, tested=True, interval="95 % intervals", notes=("A note.",))
    fit = Fit(range(5), "eval/win_rate", [0.02, 0.1, 0.5], [0.6, 0.65, 0.6], Estimate(0.1, 0.06, 0.2, 2))
    browser.open(dataclasses.replace(small, ranking=ranking, fits=[fit], cells=as_ranked(small.cells, ranking)))
    browser.show_all()
    assert browser.texts("#ranking-table .badge") == ["best", "tied with the best", "tied with the best"]
    shown = [row.difference for row in rows[1:] if row.difference]
    mean = [fixed(each.mean, small.metric("eval/win_rate").decimals) for each in shown]
    told = browser.texts("#ranking-table .difference")
    assert [text.split(" ")[0] for text in told[1 : len(mean) + 1]] == mean
    assert re.search(rf"\({MINUS}0\.250? to 0\.010?\)$", told[1])
    assert browser.texts("#ranking-table .p")[:4] == ["–", "0.400", "0.025", "0.005"]  # noqa: RUF001
    assert "< 0.001" in browser.texts("#ranking-table .p")
    assert "A note." in browser.texts("#ranking .quiet")
    assert "95 % intervals" in browser.texts("#strength-caption")[0]
    assert "Filled marks are the best and those tied with it." in browser.texts("#strength-caption")[0]
    assert browser.js("return document.querySelectorAll('#strength .line.fit').length") == 1


def test_paths_of_training_lead_to_the_frontier(browser: Browser, small: Content):
    browser.open(small)
    browser.show("frontier")
    browser.driver.find_element(By.XPATH, "//label[span='paths of training']/input").click()
    browser.until("document.querySelector('#frontier .line.path')")
    runs = {curve.run for curve in small.curves if curve.metric == "eval/kl"}
    scored = [run for run in runs if "eval/kl" in small.cells[small.runs[run].cell].scores]
    assert browser.js("return document.querySelectorAll('#frontier .line.path').length") == len(scored)


def test_runs_without_parts_say_how_to_get_them(browser: Browser, tmp_path: Path):
    browser.open(content_of(tmp_path, [Finished(metrics={"eval/reward_accuracy": 0.6})]))
    browser.show_all()
    assert len(browser.texts(".none")) == 4
    assert browser.texts("#trouble") == []


def test_a_study_of_which_nothing_completed_has_a_page(browser: Browser, tmp_path: Path):
    browser.open(content_of(tmp_path, [Finished(status="failed", error="no"), Finished(seed=1, status=None)]))
    browser.show_all()
    assert browser.texts("#verdict") == ["Nothing can be ranked: no setting has a sound run with a score."]
    assert browser.texts("#trouble") == []


def test_models_have_panels_and_methods_without_strength_are_lines(browser: Browser, tmp_path: Path):
    runs = [*report_runs(("cpo",), (0.1, 0.2), (0, 1), prompts=0), *report_runs(("sft",), (0.1,), (0, 1), prompts=0)]
    runs.append(Finished("cpo", 0.0, 0, metrics={"eval/win_rate": 0.5}))
    both = [
        changed(run, config={"model__name": name}, params={"model": name}) for name in ("one", "two") for run in runs
    ]
    browser.open(content_of(tmp_path, both))
    browser.show_all()
    assert browser.texts("#strength .panel h4") == ["one on toy", "two on toy"]
    assert browser.js("return document.querySelectorAll('#strength .line.level').length") == 2
    assert "0" in browser.texts("#strength .panel:first-child .tick")
    browser.driver.find_element(By.XPATH, "//div[@data-facet='Model']//button[.='one']").click()
    browser.show_all()
    assert len(browser.texts("#strength .panel")) == 1
