"""Which runs share a step that computes their reference's log-probabilities, and which do not."""

from pathlib import Path

import pytest

from orchestrator.config import Source
from orchestrator.plan import Plan, make_plan
from trainers.machine import Machine

LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)


def plan(out: Path, *overrides: str) -> Plan:
    return make_plan([*overrides, f"output_root={out}"], sweep=True, source=Source(), machine=LAPTOP)


def sharing(made: Plan) -> list[tuple[str, int]]:
    return [(step.run_id, sum(step.run_id in run.after for run in made.runs)) for step in made.steps]


def test_runs_of_one_reference_share_a_step_where_it_is_wanted(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=dpo,ipo", "beta=0.1,0.5", "seed=0,1", "reference_step=true")
    ((step_id, runs),) = sharing(made)
    assert step_id.startswith("reference-")
    assert runs == 8


def test_on_one_machine_the_policy_is_its_own_reference_and_asked_on_the_spot(tmp_path: Path) -> None:
    assert plan(tmp_path, "method=dpo,ipo", "beta=0.1,0.5").steps == []


def test_on_a_cluster_it_is_asked_once_for_all(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=dpo,ipo", "launcher=slurm", "launcher.cluster=local")
    assert [runs for _, runs in sharing(made)] == [2]


def test_nobody_would_wait_for_a_step_of_a_study_that_is_left(tmp_path: Path) -> None:
    words = ("method=dpo,ipo", "launcher=slurm", "launcher.cluster=local", "launcher.detach=true")
    assert plan(tmp_path, *words).steps == []


@pytest.mark.parametrize("method", ["orpo", "sft", "posterior", "trdpo"])
def test_a_method_that_compares_with_no_fixed_reference_waits_for_none(tmp_path: Path, method: str) -> None:
    made = plan(tmp_path, f"method=dpo,{method}", "beta=0.1,0.5", "reference_step=true")
    assert [runs for _, runs in sharing(made)] == [2]


def test_one_run_alone_needs_no_step(tmp_path: Path) -> None:
    assert plan(tmp_path, "method=dpo", "reference_step=true").steps == []


@pytest.mark.parametrize(
    "changed", ["training.max_length=256,512", "data.seed=0,1", "model.dtype=float32,bfloat16", "peft=lora,none"]
)
def test_what_decides_on_log_probabilities_divides_them(tmp_path: Path, changed: str) -> None:
    made = plan(tmp_path, "method=dpo,ipo", "beta=0.1,0.5", changed, "reference_step=true")
    assert [runs for _, runs in sharing(made)] == [4, 4]


@pytest.mark.parametrize("changed", ["beta=0.1,0.5", "seed=0,1", "peft.r=4,8", "training.learning_rate=1e-3,1e-4"])
def test_what_does_not_decide_on_them_shares_them(tmp_path: Path, changed: str) -> None:
    assert len(plan(tmp_path, "method=dpo,ipo", changed, "reference_step=true").steps) == 1


def test_the_step_is_no_run_of_the_table(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=dpo,ipo", "reference_step=true")
    assert not {step.run_id for step in made.steps} & {run.run_id for run in made.runs}
    assert all(step.needs == () and step.after == () for step in made.steps)
