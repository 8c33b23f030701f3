"""Colours of methods can be told apart on their paper, by people with each kind of colour blindness as well."""

import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest

from analysis.report.plots import COLOURS, RAMP

# Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency (2009),
# severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
# Ottosson, A perceptual color space for image processing (2020).
TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                   [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                   [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip


def linear(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    return TO_LAB @ np.cbrt(TO_LMS @ np.clip(rgb, 0, 1))


def contrast(one: str, other: str) -> float:
    """Of WCAG 2."""
    light, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] + 0.05 for c in (one, other)), reverse=True)
    return light / dark


def theme(name: str) -> dict[str, str]:
    css = resources.files("analysis.report").joinpath("page", "page.css").read_text()
    block = css[css.index(':root[data-theme="dark"]') :] if name == "dark" else css
    return dict(re.findall(r"--([\w-]+): (#\w{6})", block[: block.index("}")]))


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_methods_differ_in_colour(name: str, sight: str):
    colours = [theme(name)[f"m{place}"] for place in range(8)]
    seen = [oklab(SIGHT[sight] @ linear(colour)) for colour in colours]
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(range(8), 2)}
    assert min(distances.values()) > 0.04
    # Few studies have more than six methods.
    assert min(distance for pair, distance in distances.items() if max(pair) < 6) > 0.06


@pytest.mark.parametrize("name", ["light", "dark"])
def test_lines_stand_out_and_text_can_be_read(name: str):
    colours = theme(name)
    for paper in (colours["paper"], colours["panel"]):
        assert min(contrast(colours[f"m{place}"], paper) for place in range(8)) >= 3
        assert min(contrast(colours[text], paper) for text in ("ink", "quiet", "accent", "bad", "good")) >= 4.5
    assert contrast(colours["quiet"], colours["sunk"]) >= 4.5


def test_figures_have_the_colours_of_the_page():
    colours = theme("light")
    assert [colours[f"m{place}"] for place in range(8)] == list(COLOURS)
    assert [colours[f"q{place}"] for place in range(7)] == list(RAMP)


def test_both_ways_to_a_dark_page_have_the_same_colours():
    css = resources.files("analysis.report").joinpath("page", "page.css").read_text()
    by_system = css[css.index(':root:not([data-theme="light"])') :]
    assert dict(re.findall(r"--([\w-]+): (#\w{6})", by_system[: by_system.index("}")])) == theme("dark")
