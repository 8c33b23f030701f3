"""The memory benchmark: that its cases run through the product, and what its table says of what was measured."""

from pathlib import Path

import pytest

from benchmarks.memory import write
from benchmarks.memory_case import Case, Measured, carry_out
from benchmarks.memory_cases import CPU_CASES, GPU_CASES
from benchmarks.meters import peaks

MIB, GIB = 2**20, 2**30


def test_phases_divide_what_is_given_out_and_given_back() -> None:
    events = [(1, 5), (2, -5), (4, 3), (6, -1)]
    assert peaks(events, [(0, "a"), (3, "b"), (5, "a")], held=10) == {"a": 15, "b": 13}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "full, rso"])
def test_a_case_is_a_whole_run_whose_phases_are_measured(name: str) -> None:
    found = carry_out(CPU_CASES[name].small())
    assert set(found.estimated) <= set(found.peaks)
    assert {"scoring", "training", "evaluating"} <= set(found.estimated)
    assert ("sampling" in found.estimated) == ("rso" in name)
    assert abs(found.off) < 0.2


def test_cases_of_a_gpu_train_every_way_that_is_estimated() -> None:
    assert {case.peft for case in GPU_CASES.values()} == {"lora", "qlora", "none"}
    assert {"dpo", "orpo", "rso", "kto", "reward"} <= {case.method for case in GPU_CASES.values()}
    checkpointed = [
        case.changes.get("training", {}).get("gradient_checkpointing", False) for case in GPU_CASES.values()
    ]
    assert {True, False} == set(checkpointed)
    assert len({case.max_length for case in GPU_CASES.values()}) > 2


def measured(**changes: int) -> Measured:
    return Measured(
        estimated={"training": 110 * MIB, "scoring": 50 * MIB},
        peaks={"training": 100 * MIB, "scoring": 50 * MIB},
        other=0, lost=5 * MIB, peak="the backward pass",
        beside={"resident": 120 * MIB, "reserved": 130 * MIB, "context": 0} | changes,
    )  # fmt: skip


def test_a_run_is_off_by_what_its_peak_is_off() -> None:
    assert measured().off == pytest.approx(0.1)


def test_the_table_of_a_cpu_says_that_no_gpu_was_measured(tmp_path: Path) -> None:
    write({"lora": measured()}, tmp_path / "m.md", gpu=False, where="here", left_out=[], failed=["dora"])
    told = (tmp_path / "m.md").read_text()
    assert "**no GPU was measured**" in told
    assert "| lora | 50 / 50 | - | 110 / 100 | - | +10% | yes | backward pass | 115 / 120 |" in told
    assert "Failed: dora." in told
    assert (tmp_path / "m.json").exists()


def test_the_table_of_a_gpu_is_in_gib_with_what_was_reserved(tmp_path: Path) -> None:
    one = Measured({"training": 2 * GIB}, {"training": 4 * GIB}, GIB // 2, GIB // 2, "scoring",
                   {"reserved": 4 * GIB, "context": GIB})  # fmt: skip
    write({"full": one}, tmp_path / "m.md", gpu=True, where="a GPU", left_out=["7b"], failed=[])
    told = (tmp_path / "m.md").read_text()
    assert "| full | - | - | 2.00 / 4.00 | - | -50% | NO | scoring | 3.00 / 5.00 |" in told
    assert "Left out, as they are not estimated to fit: 7b." in told


def test_a_small_case_keeps_what_it_is_about() -> None:
    assert Case({}, method="rso", max_length=4096).small().method == "rso"
