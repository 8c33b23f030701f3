"""In which words a key that must be given is told."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainers.config import RUN_SECTIONS
from trainers.config_faults import must_be_given, sweep_hint, unknown_key

CONF = Path(__file__).resolve().parents[2] / "conf"
OPEN = [
    (path, key)
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name in RUN_SECTIONS
    for key in re.findall(r"^(\w+): \?\?\?$", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("path", "key"), OPEN, ids=lambda value: getattr(value, "stem", value))
def test_every_key_that_conf_leaves_open_says_what_is_asked_for_with_an_example(path: Path, key: str):
    section = path.parent.name
    told = must_be_given(f"{section}.{key}", {section: yaml.safe_load(path.read_text())})
    assert re.fullmatch(rf"{section}\.{key}: must be given: .+, as '?{section}\.{key}=.+", told)


def test_conf_leaves_keys_open():
    assert len(OPEN) == 12


def test_an_example_that_a_shell_would_read_is_quoted():
    config = {"reference": {"kind": "run", "run": "???"}}
    assert must_be_given("reference.run", config) == (
        "reference.run: must be given: what tells that run from the others of its study, as "
        "'reference.run={method:sft}'"
    )


@pytest.mark.parametrize("config", [{"model": {"revision": "???"}}, {"mine": "???"}, {"model": 3}])
def test_a_key_that_a_file_of_the_users_own_leaves_open_is_told_by_its_name(config: dict[str, Any]):
    assert must_be_given("model.revision", config) == "model.revision: must be given: model.revision=..."


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ([1, 2], "; to sweep over several values: a.b=1,2 -m"),
        ([True, "x"], "; to sweep over several values: a.b=true,x -m"),
        ([1], ""),
        ([], ""),
        ([[1], [2]], ""),
        ("1,2", ""),
    ],
)
def test_a_list_where_one_value_is_asked_for_is_taken_for_a_sweep(given: object, hint: str):
    assert sweep_hint("a.b", given) == hint


def test_options_that_have_a_key_are_named_where_these_are_few():
    few, many = ["method=cdpo", "method=exo"], [f"method={n}" for n in range(20)]
    assert "; there is one with method=cdpo and method=exo (keys" in unknown_key("method.epsilon", ["beta"], few)
    assert "; did you mean method.beta? (keys" in unknown_key("method.betta", ["beta"], many)
