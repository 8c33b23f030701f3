"""A study in which runs begin where others ended: its plan, what a person is told of it, and what its runs are."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.config import Source
from orchestrator.errors import BadCommand
from orchestrator.objective import Objective
from orchestrator.plan import Plan, make_plan
from orchestrator.plan_view import show_plan
from orchestrator.table import make_table
from orchestrator.trial_runs import by_trial
from trainers.footprint import Machine

pytestmark = pytest.mark.slow

LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)
FROM_SFT = ("start=run", "start.run={method:sft}")


def plan(out: Path, *overrides: str) -> Plan:
    return make_plan([*overrides, f"output_root={out}"], sweep=True, source=Source(), machine=LAPTOP)


def fingerprints(made: Plan) -> dict[str, str]:
    return {run.method: run.fingerprint for run in made.runs}


def test_each_seed_begins_at_its_own(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=sft,dpo", "seed=0,1", *FROM_SFT)
    sft, dpo = made.runs[:2], made.runs[2:]
    assert [run.needs for run in dpo] == [(run.run_id,) for run in sft]
    assert [run.needs for run in sft] == [(), ()]


def test_a_run_that_begins_at_one_and_is_held_to_another_needs_both(tmp_path: Path) -> None:
    """The one that is held to is no more than another run: it begins at the first, as all do."""
    words = ("method=sft,ipo,dpo", *FROM_SFT, "reference=self,run", "reference.run={method:ipo,reference:self}")
    made = plan(tmp_path, *words)
    held = next(run for run in made.runs if run.params == {"method": "dpo", "reference": "run"})
    by_id = {run.run_id: dict(run.params) for run in made.runs}
    assert [by_id[other]["method"] for other in held.needs] == ["sft", "ipo"]
    assert by_id[held.needs[1]]["reference"] == "self"


def test_a_run_is_what_it_begins_at(tmp_path: Path) -> None:
    """What the named run computes is what it computes alone; the other is another run than from the model."""
    alone, begun = (fingerprints(plan(tmp_path, "method=sft,dpo", *words)) for words in ((), FROM_SFT))
    assert alone["sft"] == begun["sft"]
    assert alone["dpo"] != begun["dpo"]
    other = fingerprints(plan(tmp_path, "method=sft,dpo", *FROM_SFT, "data.seed=1"))
    assert len({alone["dpo"], begun["dpo"], other["dpo"]}) == 3


def test_from_the_model_and_from_another_run_may_be_swept_side_by_side(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=sft,dpo", "start=base,run", "start.run={method:sft}")
    assert len({run.fingerprint for run in made.runs}) == 3
    assert [len(run.needs) for run in made.runs] == [0, 0, 0, 1]


def shown(made: Plan) -> str:
    out = io.StringIO()
    show_plan(made, True, Console(file=out, width=200))
    return out.getvalue()


def test_the_plan_says_which_trial_starts_from_which(tmp_path: Path) -> None:
    text = shown(plan(tmp_path, "method=sft,dpo", *FROM_SFT))
    rows = [line.split() for line in text.splitlines()[:3]]
    assert rows == [
        ["trial", "method", "starts", "from", "seeds", "done"],
        ["0", "sft", "0", "0/1"],
        ["1", "dpo", "trial", "0", "0", "0/1"],
    ]
    assert "1 run of them after others of the study, which they begin at or are held to" in " ".join(text.split())


def test_the_table_says_so_too_and_that_references_differ(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=sft,dpo,ipo", *FROM_SFT)
    objective = Objective("eval/reward_accuracy", "maximize")
    captions = make_table(by_trial(made.runs), {}, ["method"], objective).captions()
    assert "trials 1, 2 start from trial 0" in captions
    assert any("references differ (self, self after start=run)" in line for line in captions)


def test_of_starts_of_one_kind_the_references_differ_by_what_they_are(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=sft,dpo", "training.learning_rate=1e-3,2e-3", *FROM_SFT)
    runs = {number: own for number, own in by_trial(made.runs).items() if own[0].method == "dpo"}
    captions = make_table(runs, {}, [], Objective("eval/reward_accuracy", "maximize")).captions()
    assert any("references differ (self after start=run)" in line for line in captions)


@pytest.mark.parametrize(("reference", "shared"), [("self", 0), ("model", 2)])
def test_a_step_computes_ahead_what_knows_nothing_of_the_start(tmp_path: Path, reference: str, shared: int) -> None:
    words = ["method=sft,dpo", "beta=0.1,0.5", *FROM_SFT, "reference_step=true", f"reference={reference}"]
    made = plan(tmp_path, *words, *(["reference.path=builtin:tiny"] if reference == "model" else []))
    assert sum(bool(run.after) for run in made.runs) == shared
    for step in made.steps:
        assert (step.needs, step.config["start"]["kind"]) == ((), "base")


def test_nobody_would_submit_what_waits_in_a_study_that_is_left(tmp_path: Path) -> None:
    words = ("launcher=slurm", "launcher.cluster=local", "launcher.detach=true")
    with pytest.raises(BadCommand, match="some runs wait for others of this study"):
        plan(tmp_path, "method=sft,dpo", *FROM_SFT, *words)


def test_a_start_that_is_not_named_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(BadCommand) as told:
        plan(tmp_path, "start=run")
    (fault,) = told.value.faults
    assert fault.startswith("start.run: must be given: what tells that run from the others")
