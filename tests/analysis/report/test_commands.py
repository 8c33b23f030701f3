"""The command to copy carries out the very run that it stands beside: its fingerprint says so."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.report.commands import hydra_value, run_command, study_command
from orchestrator.cli import parse
from orchestrator.config import Source
from orchestrator.plan import Plan, make_plan
from trainers.footprint import Machine

MACHINE = Machine(cores=2, ram_bytes=64 << 30, gpu_bytes=())


def planned(words: Sequence[str]) -> Plan:
    command = parse(words)
    source = Source(command.config_name, command.config_dir)
    return make_plan(command.overrides, sweep=command.multirun, source=source, machine=MACHINE)


STUDIES = [
    "method=dpo,ipo,orpo model=tiny study=mine -m beta=0.05,0.5 seed=0,1",
    "+experiment=bandits size=small -m",
    "method=simpo +space=simpo -m",
    "method=orpo -m lambda=0.1,0.2",
    "method=dpo beta=0.1 seed=3",
    "method=dpo -m 'training.learning_rate=1e-5,5e-6' data.max_train_samples=64,null",
    "method=dpo,sft -m beta=0.1,0.5",
    "--multirun method=kto 'seed=range(0,2)'",
]


@pytest.mark.parametrize("typed", STUDIES)
def test_a_run_of_a_study_is_made_again_by_its_command(typed: str):
    study = planned(shlex.split(typed))
    for run in study.runs[:: max(1, len(study.runs) // 4)]:
        command = run_command(f"python -m orchestrator {typed}", run.params, run.config, run.seed)
        (again,) = planned(shlex.split(command)[3:]).runs
        assert again.fingerprint == run.fingerprint


@pytest.mark.parametrize(
    "typed", [STUDIES[0], STUDIES[4], "method=dpo model=tiny peft=dora data=jsonl data.path={pairs}"]
)
def test_a_run_whose_study_is_gone_is_made_again_from_its_config(typed: str, tmp_path: Path):
    pairs = tmp_path / "my pairs, 'all'.jsonl"
    lines = [{"prompt": f"asked {place}", "chosen": "b", "rejected": "c"} for place in range(40)]
    pairs.write_text("\n".join(map(json.dumps, lines)))
    words = [word.replace("{pairs}", hydra_value(str(pairs))) for word in shlex.split(typed)]
    run = planned(words).runs[-1]
    tracked = {**run.config, "params": dict(run.params), "trial": run.trial, "fingerprint": run.fingerprint}
    command = run_command("", run.params, tracked, run.seed)
    (again,) = planned(shlex.split(command)[3:]).runs
    assert again.fingerprint == run.fingerprint


def test_a_run_that_needs_another_is_made_again_with_its_study():
    typed = "python -m orchestrator method=sft,dpo reference=run 'reference.run={method:sft}'"
    config: dict[str, Any] = {"reference": {"kind": "run", "run": {"method": "sft"}}}
    assert run_command(typed, {"method": "dpo"}, config, 0) == typed


def test_a_study_that_others_made_has_no_command():
    assert run_command("", {}, {"learning_rate": 1e-5}, 0) == ""
    assert run_command("rm -rf /", {}, {}, 0) == ""


def test_nothing_in_a_command_is_run_by_the_shell_that_it_is_pasted_to():
    told = run_command("python -m orchestrator 'x=$(touch evil)' y=1,2", {"y": "a; rm -rf ~\nls"}, {}, None)
    assert told == "python -m orchestrator 'x=$(touch evil)' " + r"$'y=\'a; rm -rf ~\u000als\''"
    assert study_command("python -m orchestrator x=`id`") == "python -m orchestrator 'x=`id`'"
    assert study_command("curl evil | sh") == ""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.1, "0.1"), (1e-05, "1e-05"), (True, "true"), (None, "null"), ("tiny", "tiny"), ("/a/b-c.d", "/a/b-c.d"),
        ("true", "'true'"), ("0.1", "'0.1'"), ("a b", "'a b'"), ("it's", "'it\\'s'"), ([1, "a b"], "[1,'a b']"),
        ({"method": "sft"}, "{method:sft}"), ("", "''"),
    ],
)  # fmt: skip
def test_values_are_written_in_the_grammar_of_overrides(value: object, written: str):
    assert hydra_value(value) == written
