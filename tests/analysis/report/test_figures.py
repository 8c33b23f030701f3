"""Figures for papers: each chart in each format, the same bytes again, with fonts that journals take."""

import io
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from matplotlib.image import imread

from analysis.report.content import Content
from analysis.report.figures import draw, drawable
from tests.analysis.report.conftest import content_of
from tests.analysis.report.hostile import hostile_runs
from tests.fakes.finished_study import Finished, changed
from tests.fakes.report_study import LARGER, SELF, report_runs

pytestmark = pytest.mark.slow

CHARTS = ("ranking", "strength", "frontier", "curves", "tokens")


@pytest.fixture(scope="module")
def drawn(small: Content) -> Mapping[str, Mapping[str, bytes]]:
    return dict(draw(small, ("png", "svg", "pdf")))


def test_every_chart_is_drawn_in_every_format(drawn: Mapping[str, Mapping[str, bytes]]):
    assert tuple(drawn) == CHARTS
    for images in drawn.values():
        assert images["png"].startswith(b"\x89PNG")
        assert images["pdf"].startswith(b"%PDF-")
        assert b"<svg" in images["svg"]


def test_fonts_are_embedded_as_truetype_and_none_as_type_3(drawn: Mapping[str, Mapping[str, bytes]]):
    for images in drawn.values():
        assert b"/Subtype /Type3" not in images["pdf"]
        assert b"/FontFile2" in images["pdf"]
        # An SVG's letters are outlines: it looks the same where the font is missing.
        assert b"<text" not in images["svg"]


def test_the_same_runs_make_the_same_bytes(small: Content, drawn: Mapping[str, Mapping[str, bytes]]):
    assert dict(draw(small, ("png", "svg", "pdf"))) == drawn


def test_no_figure_says_when_it_was_made(drawn: Mapping[str, Mapping[str, bytes]]):
    for images in drawn.values():
        assert not re.search(rb"CreationDate|<dc:date>|\b202\d-\d\d-\d\d", images["pdf"] + images["svg"])


def texts(svg: bytes) -> str:
    """What an SVG of outlines says of its texts: matplotlib keeps each as a comment."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.decode(), re.S))


def test_a_figure_has_the_labels_and_the_order_of_the_ranking(small: Content, drawn: Mapping[str, Mapping[str, bytes]]):
    told = texts(drawn["ranking"]["svg"])
    places = [told.index(small.cells[row.cell].label) for row in small.ranking.rows if row.estimate]
    assert places == sorted(places)
    assert "win rate" in told


@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_text_of_runs_is_drawn_as_it_stands(tmp_path: Path):
    runs = [Finished(beta=0.1 * place, metrics={"eval/reward": 1.0}, config={"model__name": name})
            for place, name in enumerate((r"$\frac{1}{0}$", "日本語 🙂", "a_b^c \\"), start=1)]  # fmt: skip
    told = dict(draw(content_of(tmp_path, runs), ["svg", "pdf"]))
    # Among the parts of an SVG's comment no two hyphens may stand.
    assert r"$\frac{1}{0}$" in texts(told["ranking"]["svg"])
    assert "⟨U+65E5⟩" in texts(told["ranking"]["svg"])


@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_hostile_text_is_drawn(tmp_path: Path):
    assert [name for name, _ in draw(content_of(tmp_path, hostile_runs()), ["png"])] == list(CHARTS)


def test_text_that_the_font_lacks_is_spelled_out():
    assert drawable("dpo é ␣ 日") == "dpo é ␣ ⟨U+65E5⟩"


def test_charts_that_runs_have_nothing_for_are_left_out(tmp_path: Path):
    assert list(draw(content_of(tmp_path, [Finished(status="failed", error="x")]), ["png"])) == []


def test_models_have_panels_of_their_own(tmp_path: Path):
    runs = report_runs(("dpo",), (0.1, 0.2), (0,), prompts=0)
    named = [
        changed(run, config={"model__name": name}, params={"model": name}) for name in ("one", "two") for run in runs
    ]
    told = texts(dict(draw(content_of(tmp_path, named), ["svg"]))["strength"]["svg"])
    assert "one on toy" in told
    assert "two on toy" in told


def test_methods_without_a_strength_and_strength_zero_are_drawn(tmp_path: Path):
    runs = [*report_runs(("cpo",), (0.1, 0.2), (0, 1), prompts=0), *report_runs(("sft",), (0.1,), (0, 1), prompts=0)]
    runs.append(Finished("cpo", 0.0, 0, metrics={"eval/win_rate": 0.5}))
    assert "strength" in dict(draw(content_of(tmp_path, runs), ["png"]))


def test_many_runs_are_drawn_as_means(tmp_path: Path):
    runs = report_runs(("dpo", "ipo"), seeds=(0, 1, 2, 3, 4, 5, 6), references=(SELF, LARGER), steps=20, prompts=0)
    svg = dict(draw(content_of(tmp_path, runs), ["svg"]))["curves"]["svg"]
    # Two panels, each with a line for each of 20 settings and one for each axis and the grid.
    assert 40 <= svg.count(b'id="line2d_') < 100


def test_long_labels_are_not_cut_off(tmp_path: Path):
    long = {"reference": {"kind": "run", "run": {"method": "sft", "beta": 0.25}}}
    runs = [Finished("dpo", beta, 0, metrics={"eval/reward": beta}, config=long) for beta in (0.1, 0.125)]
    image = imread(io.BytesIO(dict(draw(content_of(tmp_path, runs), ["png"]))["ranking"]["png"]))
    assert (image[:, :3, :3] == 1).all()


def test_a_curve_of_a_single_point_is_a_mark(tmp_path: Path):
    def drawn_of(steps: int) -> int:
        history = [{"step": step, "time": 0.0, "train/loss": 0.5} for step in range(1, steps + 1)]
        runs = [Finished(metrics={"eval/reward": 1.0}, history=history)]
        svg = dict(draw(content_of(tmp_path / str(steps), runs), ["svg"]))["curves"]["svg"].decode()
        return svg.count("#1d4ed8")

    assert drawn_of(1) > drawn_of(2)


def test_a_pdf_names_the_font_it_embeds(drawn: Mapping[str, Mapping[str, bytes]]):
    parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", drawn["strength"]["pdf"], re.S)
    opened = b"".join(zlib.decompress(part) for part in parts if part[:1] == b"\x78")
    assert b"DejaVuSans" in drawn["strength"]["pdf"] + opened
