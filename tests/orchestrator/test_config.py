"""Overrides become checked configs, and every fault in them is told."""

import re
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
import yaml
from omegaconf import OmegaConf

from orchestrator.config import CONF, Composer, Source, absent, composer, run_sections
from orchestrator.errors import BadCommand
from orchestrator.settings import study_settings
from orchestrator.shortcuts import STRENGTHS
from trainers.config_check import check


@pytest.fixture
def compose() -> Iterator[Composer]:
    with composer(Source()) as composed:
        yield composed


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("method.betta=1", "method.betta: no such key; did you mean method.beta?"),
        ("training.epoch=1", "did you mean training.epochs?"),
        ("methd=dpo", "did you mean method?"),
        ("f_alpha=0.7", "f_alpha: no such key; did you mean method.f_alpha?"),
        ("method=dpoo", "method=dpoo: no such option; did you mean dpo? valid are apo, backtranslation, cdpo, "),
        ("~nothing", "~nothing"),
    ],
)
def test_a_wrong_override_names_what_is_valid(compose: Composer, override: str, told: str):
    (fault,) = compose.compose([override]).faults
    assert told in fault


def test_all_wrong_overrides_are_told_together(compose: Composer):
    composed = compose.compose(["method=dpoo", "training.epoch=3", "data=jsonl", "data.path=x", "peft=loraa"])
    assert len(composed.faults) == 3
    assert composed.config["data"]["path"] == "x"
    with pytest.raises(BadCommand):
        composed.sound()


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["beta=0.7"], "beta", 0.7),
        (["method=ipo", "beta=0.7"], "tau", 0.7),
        (["method=ipo", "tau=0.7"], "tau", 0.7),
        (["method=orpo", "beta=0.7"], "lambda", 0.7),
        (["method=orpo", "lambda=0.7"], "lambda", 0.7),
        (["method=orpo", "lambda=0.7", "beta=0.7"], "lambda", 0.7),
        (["method=orpo", "method.lambda=0.7"], "lambda", 0.7),
        (["method=orpo", "beta=1", "method.lambda=1.0"], "lambda", 1),
        (["method=dpo"], "beta", 0.1),
    ],
)
def test_beta_is_the_strength_of_whatever_method(compose: Composer, overrides: list[str], key: str, value: float):
    assert compose.compose(overrides).sound()["method"][key] == value


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["method=orpo", "beta=0.1", "lambda=0.2"], "beta=0.1 and lambda=0.2 disagree"),
        (["method=dpo", "beta=0.1", "method.beta=0.2"], "disagree"),
        (["method=dpo", "lambda=0.2"], "method=dpo has no lambda; its strength is beta"),
        (["method=orpo", "tau=0.2"], "its strength is lambda"),
        (["method=sft", "tau=0.2"], "it has no strength"),
        (["epochs=2", "training.epochs=3"], "epochs=2 and training.epochs=3 disagree"),
    ],
)
def test_shortcuts_that_disagree_are_refused(compose: Composer, overrides: list[str], told: str):
    (fault,) = compose.compose(overrides).faults
    assert told in fault


def test_what_is_typed_goes_before_what_a_file_says(tmp_path: Path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nbeta: 0.3\n")
    with composer(Source(config_dir=str(tmp_path))) as compose:
        assert compose.compose(["method=orpo", "+experiment=mine"]).sound()["method"]["lambda"] == 0.3
        assert compose.compose(["method=orpo", "+experiment=mine", "lambda=0.4"]).sound()["method"]["lambda"] == 0.4


def test_a_users_own_folder_adds_options(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults:\n  - hf\n  - _self_\nname: mine\npath: /models/mine\n")
    with composer(Source(config_dir=str(tmp_path))) as compose:
        assert compose.compose(["model=mine"]).sound()["model"]["path"] == "/models/mine"


def test_a_users_folder_that_is_missing_is_told():
    with pytest.raises(BadCommand, match="no such folder"), composer(Source(config_dir="/nowhere")):
        pass


@pytest.mark.parametrize(
    "values",
    [
        ["data.path='a,b'", "seed=4", "training.learning_rate=1e-4", "table.metrics=[eval/kl,1]", "gpu=null"],
        ["data.path=${study}", "study=here"],
        ["data.path=x", "table.metrics=['${seed}']", "seed=7"],
        ["data.path=x", "table={metrics:[eval/kl]}"],
    ],
    ids=["plain", "interpolated", "interpolated in a list", "section"],
)
def test_values_are_set_as_hydra_sets_them(compose: Composer, values: list[str]):
    """All that differ in values alone share a composition, which must not show."""
    overrides = ["method=orpo", "data=jsonl", "peft=none", *values]
    whole = OmegaConf.to_container(hydra.compose("config", overrides), resolve=True)
    assert isinstance(whole, dict)
    found = compose.compose(overrides[:5], overrides[5:]).sound()
    assert found == {key: value for key, value in whole.items() if key not in (*STRENGTHS, "epochs")}


def test_a_swept_value_does_not_stick_to_the_next_trial(compose: Composer):
    compose.compose([], ["training.batch_size=3"])
    assert compose.compose([], ["beta=0.2"]).sound()["training"]["batch_size"] == 8


def test_interpolations_of_a_users_config_follow_swept_values(tmp_path: Path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "mine.yaml").write_text("defaults:\n  - default\n  - _self_\nbatch_size: ${seed}\n")
    with composer(Source(config_dir=str(tmp_path))) as compose:
        assert compose.compose(["training=mine"], ["seed=5"]).sound()["training"]["batch_size"] == 5


def test_unknown_sections_of_a_users_config_are_refused(compose: Composer):
    with pytest.raises(BadCommand, match="foo: no such key"):
        study_settings(compose.compose(["+foo=1"]).sound())


# Options that the default method does not go with.
NEEDS = {"none": ["method=orpo"], "unpaired": ["method=kto"]}
OPTIONS = sorted(CONF.glob("*/*.yaml"))
# Those that bring a sweep along are composed with it, in test_experiments.
PLAIN = [path for path in OPTIONS if path.parent.name not in ("experiment", "space")]


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.slow
@pytest.mark.parametrize("path", PLAIN, ids=named)
def test_every_option_composes_and_keeps_to_the_schema(compose: Composer, path: Path):
    group, option = path.parent.name, path.stem
    open_keys = re.findall(r"^(\w+): \?\?\?$", path.read_text(), re.MULTILINE)
    missing = [f"{group}.{key}={'{method:sft}' if key == 'run' else 'somewhere'}" for key in open_keys]
    rated = group == "method" and "reward_model: null" in path.read_text()
    missing += ["method.reward_model=builtin:gold"] if rated else []
    config = compose.compose([f"{group}={option}", *missing, *NEEDS.get(option, [])]).sound()
    check(run_sections(config))
    study_settings(config)


@pytest.mark.parametrize("path", OPTIONS, ids=named)
def test_every_option_says_what_it_is_or_needs_no_words(path: Path):
    text = path.read_text()
    assert yaml.safe_load(text)
    assert "# " in text or text.count("\n") <= 4


def test_the_keys_of_the_option_that_the_command_chose_are_told():
    """launcher=slurm launcher.time=10 means none of the local launcher's keys."""
    with composer(Source()) as compose:
        composed = compose.compose(["launcher=slurm", "launcher.time=10"])
    assert len(composed.faults) == 1
    assert "did you mean launcher.time_min?" in composed.faults[0]


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("method.epsilon", ["method=cdpo", "method=exo", "method=robust"]),
        ("reference.mixup", ["reference=moving"]),
        ("method.judge.model", ["method=online_dpo"]),
        ("method.nothing", []),
        ("seed.x", []),
    ],
)
def test_the_options_that_have_a_key_are_known(compose: Composer, key: str, options: list[str]):
    assert compose.options_with(key) == options


def test_an_option_that_sets_keys_of_other_groups_too_is_known_by_its_own(compose: Composer):
    """method=trdpo brings its reference along."""
    assert "method=trdpo" in compose.options_with("method.beta")


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("method.name", None),
        ("method.judge.model", ("method.judge", ["name", "beta"])),
        ("methd.name", ("methd", ["method", "later"])),
        ("method.beta.x", ("method.beta.x", [])),
        ("later.key", None),
    ],
)
def test_the_first_part_of_a_key_that_is_not_there_is_found(key: str, found: object):
    config = {"method": {"name": "dpo", "beta": 0.1}, "later": "${whatever}"}
    assert absent(config, key) == found


def test_an_option_given_as_a_list_is_told_and_left_out(compose: Composer):
    parsed = compose.parse(["method=[dpo,ipo]", "seed=1"])
    assert parsed.faults == [
        "method=[dpo,ipo]: one option is asked for; to sweep over several values: method=dpo,ipo -m"
    ]
    assert parsed.fixed == ["seed=1"]


def test_interpolations_of_a_users_config_follow_fixed_values(tmp_path: Path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "mine.yaml").write_text("defaults:\n  - default\n  - _self_\nbatch_size: ${seed}\n")
    with composer(Source(config_dir=str(tmp_path))) as compose:
        composed = compose.compose(["training=mine", "seed=3"], ["beta=0.2"])
    assert composed.config["training"]["batch_size"] == 3
