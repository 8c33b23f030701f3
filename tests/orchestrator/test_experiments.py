"""Every experiment composes at both sizes, sweep and all, and names published numbers that are there."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.config import CONF, Composer, Source, composer, run_sections
from orchestrator.errors import BadCommand
from orchestrator.plan import Plan, make_plan
from orchestrator.published import FOLDER, OWN, published
from orchestrator.settings import study_settings
from sweeps.dimensions import Real
from trainers.config_check import check
from trainers.machine import Machine
from trainers.methods import METHODS
from trainers.spec import RunSpec

EXPERIMENTS = sorted(path.stem for path in CONF.glob("experiment/*.yaml"))
SPACES = sorted(path.stem for path in CONF.glob("space/*.yaml"))
MACHINE = Machine(cores=2, ram_bytes=16 << 30, gpu_bytes=())


@pytest.fixture
def compose() -> Iterator[Composer]:
    with composer(Source()) as composed:
        yield composed


def plan(tmp_path: Path, *words: str) -> Plan:
    where = [f"output_root={tmp_path}", f"cache_dir={tmp_path}", "tracking=disabled"]
    return make_plan([*words, *where], sweep=True, source=Source(), machine=MACHINE)


def compose_all(compose: Composer, *words: str) -> int:
    """Compose and check the trials of a sweep's every key at each of its values, the others at their first."""
    parsed = compose.with_own_sweep(compose.parse(words))
    assert not parsed.faults
    first = [sweep.override(sweep.values[0]) for sweep in parsed.sweeps]
    for place, sweep in enumerate(parsed.sweeps):
        for value in sweep.values:
            swept = [*first[:place], sweep.override(value), *first[place + 1 :]]
            config = compose.compose(parsed.fixed, swept).sound()
            check(run_sections(config))
            study_settings(config)
    return len(parsed.sweeps)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_full_size_composes(compose: Composer, name: str):
    compose_all(compose, f"+experiment={name}")
    check(run_sections(compose.compose([f"+experiment={name}"]).sound()))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_small_size_needs_no_gpu_and_no_download(tmp_path: Path, name: str):
    made = plan(tmp_path, f"+experiment={name}", "size=small")
    assert made.runs
    assert all(run.config["model"]["path"].startswith("builtin:") for run in made.runs)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_header_says_how_to_run_it(name: str):
    assert f"+experiment={name}" in (CONF / "experiment" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_typed_goes_before_an_experiment(compose: Composer, name: str):
    typed = ["method=orpo", "beta=0.3", "training.learning_rate=0.012", "seed=7"]
    for size in ("full", "small"):
        parsed = compose.with_own_sweep(compose.parse([f"+experiment={name}", f"size={size}", *typed]))
        assert not {"method", "beta", "training.learning_rate", "seed"} & {sweep.key for sweep in parsed.sweeps}
        config = compose.compose(parsed.fixed).sound()
        assert config["method"] == {"name": "orpo", "lambda": 0.3}
        assert (config["training"]["learning_rate"], config["seed"]) == (0.012, 7)


def method_of(space: str) -> str | None:
    """Whose range it is: simpo_range is of simpo, training of every method."""
    name = space.removesuffix("_range")
    return name if name in METHODS else None


@pytest.mark.parametrize("name", [name for name in SPACES if method_of(name)])
def test_a_methods_published_search_range_composes(compose: Composer, name: str):
    assert compose_all(compose, f"method={method_of(name)}", f"+space={name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SPACES if not method_of(name)])
def test_a_published_search_range_of_any_method_composes(compose: Composer, name: str):
    assert compose_all(compose, f"+space={name}")


@pytest.mark.parametrize("name", SPACES)
def test_a_search_range_says_how_to_search_it_and_where_it_comes_from(name: str):
    text = (CONF / "space" / f"{name}.yaml").read_text()
    assert f"+space={name}" in text
    assert any(source in text for source in ("paper", "arXiv", "README"))


def test_a_search_over_several_methods_has_each_in_its_own_range(tmp_path: Path):
    made = plan(tmp_path, "+space=mixed", "model=tiny", "sweeper=tpe", "n_trials=24")
    assert made.search is not None
    slots = made.search.searched.space.slots
    betas = {
        given["method"]: (slot.dimension.low, slot.dimension.high)
        for slot in slots
        if slot.name.startswith("beta") and isinstance(slot.dimension, Real)
        for given in [dict(slot.guard.given)]
    }
    assert betas == {("dpo", "kto"): (0.01, 0.1), ("ipo",): (0.01, 1.0), ("orpo",): (0.1, 2.0), ("simpo",): (2.0, 10.0)}
    assert {run.config["method"]["name"] for run in made.runs} == {"dpo", "ipo", "kto", "orpo", "simpo"}


@pytest.mark.parametrize("name", ["dpo_range", "simpo_range"])
def test_published_values_are_tried_first_in_a_range_around_them(tmp_path: Path, name: str):
    made = plan(tmp_path, f"method={method_of(name)}", f"+space={name}", "sweeper=tpe", "n_trials=8")
    assert made.search is not None
    space = made.search.searched.space
    assert space.enqueue
    assert all(space.contains(point) == [] for point in space.enqueue)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_published_numbers_say_where_they_come_from(path: Path):
    numbers = published(path.stem).numbers
    assert numbers
    assert all(number.source and number.value and number.metric for number in numbers)
    with path.open() as file:
        columns = next(csv.reader(file))
    assert set(OWN) <= set(columns)


def test_every_file_of_published_numbers_is_some_experiments(compose: Composer):
    named = {
        yaml.safe_load(path.read_text()).get("table", {}).get("published")
        for path in [*CONF.glob("experiment/*.yaml"), *CONF.glob("experiment/small/*.yaml")]
    }
    # Of nine methods on eight models, for whoever tunes them: +space=dpo table.published=simpo.
    assert {path.stem for path in FOLDER.glob("*.csv")} - named == {"simpo"}


def test_an_experiment_sweeps_what_it_brings_along(tmp_path: Path):
    assert plan(tmp_path, "+experiment=ipo_plateau").space == {"beta": (0.4, 2, 4)}


def test_a_swept_key_of_the_command_replaces_the_experiments(tmp_path: Path):
    assert plan(tmp_path, "+experiment=ipo_plateau", "beta=0.1,0.2").space == {"beta": (0.1, 0.2)}


def test_a_fixed_key_of_the_command_replaces_the_experiments(tmp_path: Path):
    made = plan(tmp_path, "+experiment=ipo_plateau", "tau=0.7")
    assert [run.config["method"]["tau"] for run in made.runs] == [0.7]


def test_without_m_an_experiment_is_one_run(tmp_path: Path):
    words = ["+experiment=ipo_plateau", f"output_root={tmp_path}", "tracking=disabled"]
    assert len(make_plan(words, sweep=False, source=Source(), machine=MACHINE).runs) == 1


def test_a_broken_sweep_of_a_file_is_told(tmp_path: Path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nsweep: {beta: 'interval(1,0)'}\n")
    words = ["+experiment=mine", f"output_root={tmp_path}", "tracking=disabled"]
    with pytest.raises(BadCommand, match=r"sweep: .*above high"):
        make_plan(words, sweep=True, source=Source(config_dir=str(tmp_path)), machine=MACHINE)


def test_experiments_with_sweeps_of_their_own_are_not_swept(tmp_path: Path):
    with pytest.raises(BadCommand, match="run them one by one"):
        plan(tmp_path, "+experiment=ipo_plateau,ipo_oscillation")


def test_only_an_experiment_has_sizes(tmp_path: Path):
    with pytest.raises(BadCommand, match="only an experiment has sizes"):
        plan(tmp_path, "size=small")


def test_a_size_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(BadCommand, match="no such option"):
        plan(tmp_path, "+experiment=nothing", "size=small")


def test_numbers_that_are_not_there_are_told_before_anything_runs(tmp_path: Path):
    with pytest.raises(BadCommand, match=r"did you mean bandits\?"):
        plan(tmp_path, "table.published=bandit")


def test_published_numbers_stand_beside_the_trials_they_are_of(tmp_path: Path):
    (tmp_path / "p.csv").write_text(
        "method,beta,metric,value,of,source\ndpo,0.10,eval/kl,degenerate,7B,here\nipo,,eval/kl,2,7B,there\n"
    )
    numbers = published(str(tmp_path / "p.csv"))

    def beside(spec: RunSpec) -> dict[str, str]:
        return numbers.beside(spec.config)

    found = [beside(run) for run in plan(tmp_path, "method=dpo,ipo", "beta=0.1,0.2").runs]
    series = "published kl (7B)"
    assert found == [{series: "degenerate"}, {}, {series: "2"}, {series: "2"}]
