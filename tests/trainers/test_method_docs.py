"""docs/methods.md says what the table of methods says."""

from pathlib import Path

import pytest

from trainers.method_docs import document
from trainers.methods import METHODS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "methods.md"


def test_the_document_is_the_one_that_the_table_makes():
    """Where it is not: python -m trainers.method_docs > docs/methods.md."""
    assert DOCS.read_text(encoding="utf-8") == document()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_section_and_its_settings(name: str):
    section = document().split(f"\n## {name}\n")[1].split("\n## ")[0]
    method = METHODS[name]
    assert method.paper in section
    assert method.strength is None or f"`method.{method.strength}`" in section


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_computes(name: str):
    section = document().split(f"\n## {name}\n")[1].split("\n## ")[0]
    about = [line for line in section.splitlines() if line and not line.startswith("|")]
    assert len(about) > 1, "the title alone"
