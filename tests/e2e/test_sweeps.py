"""Sweeps over methods of different settings, from the command to the table and back. Quick runs."""

import csv

import pytest

from tests.e2e.conftest import Cli

pytestmark = pytest.mark.slow

QUICK = [
    "tracking=disabled",
    "launcher.workers=2",
    "launcher.target=tests.e2e.quick_run:train",
    "launcher.preload=[]",
]
SWEEP = ["method=dpo,trdpo,sft", "reference=self,moving", "beta=0.1,0.5", "method.f_alpha=0.2,0.4", "-m"]


def test_a_sweep_whose_trials_have_different_keys_is_resumed_as_it_was(cli: Cli):
    code, text = cli.finish(cli.sweep(*QUICK, *SWEEP))
    assert code == 0, text
    assert "left out: 2 trials, method=trdpo with reference=self: only a reference that moves will do" in text
    assert "left out: 1 trial, method=sft with reference=moving" in text
    rows = list(csv.DictReader((cli.study / "table.csv").open()))
    keys = ("method", "reference", "beta", "method.f_alpha")
    assert [tuple(row[key] for key in keys) for row in rows[-4:]] == [
        ("dpo", "moving", "0.5", "0.4"),
        ("trdpo", "moving", "0.1", ""),
        ("trdpo", "moving", "0.5", ""),
        ("sft", "self", "", ""),
    ]
    assert len(rows) == 11
    for path in cli.study.glob("runs/t001*/result.json"):
        path.unlink()
    code, text = cli.finish(cli.start("resume", str(cli.study)))
    assert code == 0, text
    assert len(cli.results()) == 11
    assert {len(path.read_text()) for path in cli.study.glob("runs/t000*/carried_out")} == {1}
