"""What a plan says of memory, time and GPUs, from the command line to what is printed."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator import cli, commands
from orchestrator.config import Source
from orchestrator.errors import BadCommand
from orchestrator.forecast import lines, size, table, words
from orchestrator.plan import Plan, make_plan
from trainers.footprint import Machine

LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)
SEVEN = {"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
         "max_position_embeddings": 32768, "sliding_window": 4096, "tie_word_embeddings": False}  # fmt: skip


@pytest.fixture
def seven(tmp_path: Path) -> str:
    """A folder that says what a 7B model is, and holds no weights."""
    folder = tmp_path / "seven"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SEVEN))
    return f"model.path={folder}"


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
    with pytest.raises(BadCommand, match="a GPU of the kind gpu=t4 has 16 GB"):
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
    assert any("GB" in fault for fault in caught.value.faults)
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
    made = plan("model=mistral7b", seven, "gpu=rtx4090", out=tmp_path)
    shown = Console(file=io.StringIO(), width=200)
    shown.print(table(made.memory))
    heading, row = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert heading.split("  ")[0] == "memory of"
    for part in ("weights", "adapter", "optimiser", "activations", "logits", "peak", "GPU-h each", "fits"):
        assert part in heading
    assert "mistral7b" in row
    assert "4.1 GB" in row
    told = "\n".join(words(made.memory))
    assert "memory is an estimate" in told
    assert "at 30% of the GPU's dense peak" in told


def test_a_narrow_screen_gets_a_sentence_for_each_row(tmp_path: Path, seven: str) -> None:
    (told,) = lines(plan("model=mistral7b", seven, "gpu=rtx4090", out=tmp_path).memory)
    assert told.startswith("mistral7b, dpo, LoRA r=16, 4 bits, 1 run: peak 8.9 GB of weights 4.1 GB, adapter 0.2 GB")
    assert told.endswith("fits: yes")


def test_a_run_here_is_not_weighed_for_another_gpu(tmp_path: Path) -> None:
    argv = ["gpu=h200", f"output_root={tmp_path}"]
    with pytest.raises(BadCommand, match="gpu=h200 is for plan and for launcher=slurm"):
        commands.carry_out(cli.parse(argv), argv)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "told"), [(0, "-"), (3e5, "0.3 MB"), (85e6, "85 MB"), (4.12e9, "4.1 GB"),
                                              (14.4e9, "14 GB")])  # fmt: skip
def test_sizes_have_two_figures(number: float, told: str) -> None:
    assert size(number) == told
