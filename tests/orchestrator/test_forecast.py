"""What a plan says of memory, time and GPUs, from the command line to what is printed."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator import cli, commands
from orchestrator.config import Source
from orchestrator.errors import BadCommand
from orchestrator.forecast import lines, table, words
from orchestrator.plan import Plan, make_plan
from orchestrator.plan_view import show_plan
from tests.fakes.shapes import MISTRAL_7B, model_folder
from trainers.machine import Machine

LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)


@pytest.fixture
def seven(tmp_path: Path) -> str:
    """A folder that says what a 7B model is, and holds no weights."""
    return f"model.path={model_folder(tmp_path / 'seven', MISTRAL_7B)}"


def plan(*overrides: str, out: Path, fitting: bool = True) -> Plan:
    given = [*overrides, f"output_root={out}"]
    return make_plan(given, sweep=True, source=Source(), machine=LAPTOP, fitting=fitting)


def test_the_gpu_that_is_planned_for_changes_no_run(tmp_path: Path) -> None:
    here, there = (plan("beta=0.1,0.5", *gpu, out=tmp_path) for gpu in ([], ["gpu=h200"]))
    assert (here.identity, [run.run_id for run in here.runs]) == (there.identity, [run.run_id for run in there.runs])


def test_a_named_gpu_is_what_has_to_have_room(tmp_path: Path, seven: str) -> None:
    (need,) = plan("model=mistral7b", seven, "gpu=a100-80", out=tmp_path).memory
    assert (need.fits, need.machine.gpu_model) == (True, "a100-80")
    assert need.hours is not None
    with pytest.raises(BadCommand, match=r"a GPU of the kind gpu=t4 has 15\.0 GiB"):
        plan("model=mistral7b", seven, "gpu=t4", "quantization=none", out=tmp_path)


def test_a_plan_that_may_not_fit_tells_which_runs_do_not(tmp_path: Path, seven: str) -> None:
    made = plan(
        "model=mistral7b", seven, "gpu=rtx4090", "quantization=none", "peft=lora,none", out=tmp_path, fitting=False
    )
    assert [need.fits for need in made.memory] == [True, False]
    (told,) = made.unfit
    assert "full fine-tuning (peft=none)" in told
    assert told.endswith("(trial 1: peft=none)")


def test_a_plan_with_other_faults_tells_them_all(tmp_path: Path, seven: str) -> None:
    with pytest.raises(BadCommand) as caught:
        plan("model=mistral7b", seven, "quantization=none", "training.batch_size=600", out=tmp_path, fitting=False)
    assert any("GiB" in fault for fault in caught.value.faults)
    assert any("do not fill one batch" in fault for fault in caught.value.faults)


def test_runs_that_take_the_same_are_one_row(tmp_path: Path) -> None:
    made = plan("method=dpo,ipo,orpo", "beta=0.1,0.5", "seed=0,1", out=tmp_path)
    assert [(need.methods, need.runs) for need in made.memory] == [(("dpo", "ipo", "orpo"), 12)]


def test_a_job_whose_gpu_is_not_known_may_or_may_not_fit(tmp_path: Path, seven: str) -> None:
    slurm = ("launcher=slurm", "launcher.cluster=slurm", "model=mistral7b", seven)
    (need,) = plan(*slurm, out=tmp_path).memory
    assert need.fits is None
    (known,) = plan(*slurm, "launcher.gpu_mem_gb=80", out=tmp_path).memory
    assert known.fits
    (named,) = plan(*slurm, "gpu=h100-80", out=tmp_path).memory
    assert (named.fits, named.machine.gpu_model) == (True, "h100-80")


def test_a_length_beyond_the_window_is_in_the_plan(tmp_path: Path, seven: str) -> None:
    made = plan("model=mistral7b", seven, "gpu=h200", "training.max_length=8192", out=tmp_path)
    assert ["attends to the last 4096 tokens" in warning for warning in made.warnings] == [True]


def test_the_table_says_what_takes_how_much(tmp_path: Path, seven: str) -> None:
    made = plan("model=mistral7b", seven, "gpu=rtx4090", "evaluation.samples=0", out=tmp_path)
    shown = Console(file=io.StringIO(), width=200)
    shown.print(table(made.memory))
    heading, row = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert heading.split("  ")[0] == "GiB of"
    for part in ("weights", "adapter", "optimiser", "activations", "other", "lost", "peak", "GPU-h each", "fits"):
        assert part in heading
    assert "mistral7b" in row
    assert "backward pass" in row
    assert "3.84" in row
    told = "\n".join(words(made.memory))
    assert "memory is an estimate" in told
    assert "at 30% of the GPU's dense peak" in told


def test_the_parts_of_a_row_add_up_to_its_peak(tmp_path: Path, seven: str) -> None:
    made = plan("model=mistral7b", seven, "gpu=h200", "peft=lora,none", "quantization=none", out=tmp_path)
    shown = Console(file=io.StringIO(), width=300)
    shown.print(table(made.memory))
    heading, *rows = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    columns = re.split(r"\s{2,}", heading.strip())
    for row in rows:
        cells = dict(zip(columns, re.split(r"\s{2,}", row.strip()), strict=True))
        parts = [cells[name] for name in columns[columns.index("runs") + 1 : columns.index("peak")]]
        sizes = [float(cell) for cell in parts if cell != "-"]
        assert sum(sizes) == pytest.approx(float(cells["peak"]), abs=0.05 * len(sizes))


def test_hours_are_told_of_runs_that_fit_and_left_out_of_others(tmp_path: Path, seven: str) -> None:
    made = plan(
        "model=mistral7b", seven, "gpu=rtx4090", "quantization=none", "peft=lora,none", out=tmp_path, fitting=False
    )
    fits, does_not = lines(made.memory)
    assert "GPU-hours each <= " in fits
    assert does_not.endswith("; GPU-hours each -; fits: NO")
    told = "\n".join(words(made.memory))
    assert "GPU-hours for 1 run," in told
    assert "no GPU-hours are counted for what does not fit: mistral7b, dpo, full fine-tuning (1 run)" in told


def test_a_plan_in_which_some_runs_fit_says_how_they_would_be_launched(tmp_path: Path, seven: str) -> None:
    words = ("model=mistral7b", seven, "gpu=rtx4090", "quantization=none")
    some = shown(plan(*words, "peft=lora,none", out=tmp_path, fitting=False))
    assert "launcher local: 1 run at a time on 1 GPU, 4 threads each, of those that fit" in some
    none = shown(plan(*words, "peft=none", out=tmp_path, fitting=False))
    assert "launcher local: none of the runs fits" in none


def shown(made: Plan) -> str:
    console = Console(file=io.StringIO(), width=1000)
    show_plan(made, True, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_a_step_that_scores_a_reference_is_a_row_of_its_own(tmp_path: Path, seven: str) -> None:
    larger = model_folder(tmp_path / "larger", MISTRAL_7B, num_hidden_layers=48)
    step, runs = plan(
        "model=mistral7b", seven, "gpu=h200", "reference=model", f"reference.path={larger}", "beta=0.1,0.5",
        "evaluation.samples=0",
        out=tmp_path,
    ).memory  # fmt: skip
    assert (step.step, step.runs, step.model, step.how) == (True, 1, "reference=model", "before the runs")
    assert step.estimate.most("reference") > 0
    assert (runs.step, runs.runs) == (False, 2)
    assert runs.estimate.most("reference") == 0
    assert step.hours is not None
    told = "\n".join(words([step, runs]))
    assert "GPU-hours for 2 runs and 1 step," in told


def test_one_run_alone_scores_its_reference_itself(tmp_path: Path, seven: str) -> None:
    larger = model_folder(tmp_path / "larger", MISTRAL_7B, num_hidden_layers=48)
    (run,) = plan(
        "model=mistral7b", seven, "gpu=h200", "reference=model", f"reference.path={larger}", out=tmp_path
    ).memory
    assert run.estimate.most("reference") > 0


def test_a_step_that_does_not_fit_is_a_fault_of_the_study(tmp_path: Path, seven: str) -> None:
    larger = model_folder(tmp_path / "larger", MISTRAL_7B, num_hidden_layers=96)
    words = ("model=mistral7b", seven, "reference=model", f"reference.path={larger}", "reference.quantization=none")
    made = plan(*words, "gpu=rtx4090", "beta=0.1,0.5", "evaluation.samples=0", out=tmp_path, fitting=False)
    (told,) = made.unfit
    assert told.startswith("reference=model needs ")
    assert [need.fits for need in made.memory] == [False, True]


def test_hours_of_pairs_that_nobody_has_counted_are_not_known(tmp_path: Path, seven: str) -> None:
    made = plan("model=mistral7b", seven, "gpu=h200", "data=hh", out=tmp_path, fitting=False)
    assert "GPU-hours of 1 run are not known, as the number of their pairs is not" in "\n".join(words(made.memory))


def test_a_narrow_screen_gets_a_sentence_for_each_row(tmp_path: Path, seven: str) -> None:
    (told,) = lines(plan("model=mistral7b", seven, "gpu=rtx4090", "evaluation.samples=0", out=tmp_path).memory)
    assert told.startswith("mistral7b, dpo, LoRA r=16, 4 bits, 1 run: peak 8.")
    assert " GiB in the backward pass, weights 3.84 + adapter 0.16 + " in told
    assert told.endswith("fits: yes")


def test_a_run_here_is_not_weighed_for_another_gpu(tmp_path: Path) -> None:
    argv = ["gpu=h200", f"output_root={tmp_path}"]
    with pytest.raises(BadCommand, match="gpu=h200 is for plan and for launcher=slurm"):
        commands.carry_out(cli.parse(argv), argv)
    assert not list(tmp_path.iterdir())
