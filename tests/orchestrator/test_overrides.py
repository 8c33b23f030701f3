"""Words become overrides with one value and overrides that sweep, by Hydra's grammar."""

from collections.abc import Iterator

import pytest

from orchestrator.config import Composer, Source, composer
from orchestrator.overrides import text_of
from sweeps.dimensions import Choice, Dimension, Integer, Real
from sweeps.types import Scalar


@pytest.fixture
def compose() -> Iterator[Composer]:
    with composer(Source()) as composed:
        yield composed


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("beta=0.1,0.5", (0.1, 0.5)),
        ("beta=choice(0.1,0.5)", (0.1, 0.5)),
        ("seed=range(0,3)", (0, 1, 2)),
        ("seed=range(0,7,3)", (0, 3, 6)),
        ("model=glob(opt-1*)", ("opt-1.3b", "opt-125m")),
        ("beta=0.1,0.10,0.5", (0.1, 0.5)),
        ("beta=null,1", (None, 1)),
        ("data.path='a,b',c", ("a,b", "c")),
    ],
)
def test_sweeps_follow_hydras_grammar_and_a_range_leaves_its_end_out(compose: Composer, text: str, values: tuple):
    parsed = compose.parse([text])
    assert not parsed.faults
    assert [sweep.values for sweep in parsed.sweeps] == [values]


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("beta=interval(0.005,0.5)", Real(0.005, 0.5)),
        ("beta=interval(1,5)", Real(1, 5)),
        ("beta=tag(log, interval(0.005, 0.5))", Real(0.005, 0.5, log=True)),
        ("peft.r=int(interval(4,64))", Integer(4, 64)),
        ("peft.r=tag(log,int(interval(4,64)))", Integer(4, 64, log=True)),
        ("peft.r=range(4,16,4)", Integer(4, 12, step=4)),
        ("beta=range(0.1,0.9,0.4)", Real(0.1, 0.5, step=0.4)),
        ("beta=0.1,0.5", Choice((0.1, 0.5))),
    ],
)
def test_a_search_chooses_from_ranges_with_both_ends_as_hydra_writes_them(
    compose: Composer, text: str, dimension: Dimension
):
    (sweep,) = compose.parse([text]).sweeps
    assert sweep.searched() == dimension
    assert str(sweep).replace(" ", "") == text.replace(" ", "") or not sweep.continuous


WRITTEN = ["a b", "it's", "a\\", "null", "1e-3", "", "x,y", "models/opt-1.3b", "{a}", "$x", 0.1, True, None, 7]


@pytest.mark.parametrize("value", WRITTEN)
def test_a_value_is_written_so_that_it_is_read_again(compose: Composer, value: Scalar):
    assert compose.value(f"key={text_of(value)}") == value
    assert type(compose.value(f"key={text_of(value)}")) is type(value)


def test_a_quoted_comma_is_no_sweep(compose: Composer):
    parsed = compose.parse(["data=jsonl", "data.path='a,b'"])
    assert not parsed.sweeps
    assert compose.compose(parsed.fixed).sound()["data"]["path"] == "a,b"


def test_values_that_python_takes_for_equal_are_set_each_as_its_own(compose: Composer):
    (sweep,) = compose.parse(["a.b=true,1,x"]).sweeps
    assert [sweep.override(value) for value in sweep.values] == ["a.b=True", "a.b=1", "a.b=x"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("beta=interval(1,0.1)", "low 1.0 is above high 0.1"),
        ("beta=tag(log,interval(0,1))", "low 0.0 is not above 0, as log needs it"),
        ("beta=tag(lg,interval(0.1,1))", "no such tag: lg; log is the only one"),
        ("model=glob(nothing*)", "sweeps over nothing"),
        ("beta=choice()", "empty choice"),
        ("beta=[0.1", "not an override"),
        ("betas", "not an override"),
    ],
)
def test_a_malformed_override_is_told(compose: Composer, text: str, told: str):
    (fault,) = compose.parse([text]).faults
    assert told in fault


def test_a_key_given_twice_is_told(compose: Composer):
    assert compose.parse(["beta=0.1", "beta=0.2"]).faults == ["beta is given more than once"]


def test_malformed_overrides_are_told_together(compose: Composer):
    parsed = compose.parse(["beta=interval(1,0)", "x", "seed=[", "method=dpo"])
    assert len(parsed.faults) == 3
    assert parsed.fixed == ["method=dpo"]


@pytest.mark.parametrize(("size", "name"), [("full", "bandits"), ("small", "small/bandits")])
def test_the_size_of_an_experiment_is_another_file_of_it(compose: Composer, size: str, name: str):
    parsed = compose.parse([f"size={size}", "+experiment=bandits"])
    assert list(parsed.fixed) == [f"size={size}", f"+experiment={name}"]


def test_a_size_that_there_is_not_is_told_and_left_out(compose: Composer):
    parsed = compose.parse(["size=smal", "+experiment=bandits"])
    assert parsed.faults == ["size=smal: no such size; did you mean small? an experiment has the sizes full and small"]
    assert parsed.fixed == ["+experiment=bandits"]
