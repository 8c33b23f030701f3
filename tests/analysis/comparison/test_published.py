"""Published numbers in the shapes they are typed into. The rows are copies of a few from papers' tables."""

from pathlib import Path

import pytest

from analysis.comparison.published import read_published, stands_beside
from analysis.errors import BadQuestion
from orchestrator.published import Number
from tests.fakes.small_configs import run_config

LONG = """table,base,reference_or_method,beta,metric,value
1,mistral-7b-sft-beta,none(SFT),inf,AE2_LC,7.57
1,mistral-7b-sft-beta,prior work (zephyr),0.1,AE2_LC,13.42
1,mistral-7b-sft-beta,self,0.1,AE2_LC,14.03
2,tulu-2-7b,self,0.05,acc_reward|acc_policy,0.778|0.483
3,mistral-7b-sft-beta,posterior,100,AE2_LC|policy_acc|length,12.84|0.697|744.5
4,tulu-2-7b,llama-3-70b-instruct,0.1,AE2_LC,degenerate
"""
WITH_ERRORS = """table,row,metric,value,se
1,Phi-2+SFT+DPO,AE1|AE2,50.63|0.78,1.77|0.22
1,Mistral-ORPO-alpha(lambda 0.1),AE1|AE2,87.92|11.33,1.14|0.97
2,OPT-125M HH,RM win vs SFT|DPO|PPO,84.0|41.7|66.1,0.62|0.77|0.26
"""
WIDE = """model,AE2_LC,AE2_WR,ArenaHard
Mistral Base 7B DPO (Zephyr),15.1,12.5,10.4
Mistral Base 7B R-DPO,17.4,12.8,9.9
Llama 3 Instruct 8B SimPO v0.2,53.7,47.5,36.5
"""


def numbers(tmp_path: Path, text: str) -> list[Number]:
    (tmp_path / "paper.csv").write_text(text)
    return list(read_published(str(tmp_path / "paper.csv")).numbers)


def test_several_numbers_in_a_cell_are_several_numbers(tmp_path: Path):
    found = [number for number in numbers(tmp_path, LONG) if number.source == "paper, table 2"]
    assert [(number.metric, number.value, number.of) for number in found] == [
        ("eval/reward_accuracy", "0.778", "tulu-2-7b"),
        ("eval/policy_accuracy", "0.483", "tulu-2-7b"),
    ]
    assert dict(found[0].beside) == {"method": "dpo", "reference": "self", "beta": "0.05"}


def test_a_method_among_the_words_is_what_a_number_stands_beside(tmp_path: Path):
    found = {(number.value, number.of): dict(number.beside) for number in numbers(tmp_path, LONG)}
    assert found["7.57", "mistral-7b-sft-beta, none"] == {"method": "sft"}
    assert found["12.84", "mistral-7b-sft-beta"] == {"method": "posterior", "beta": "100"}
    assert found["degenerate", "tulu-2-7b, reference llama-3-70b-instruct"]["reference"] == "llama-3-70b-instruct"


def test_errors_are_printed_with_their_numbers(tmp_path: Path):
    found = numbers(tmp_path, WITH_ERRORS)
    assert [number.value for number in found[:2]] == ["50.63 ± 1.77", "0.78 ± 0.22"]
    assert dict(found[0].beside) == {"method": "dpo"}
    assert (dict(found[2].beside), found[2].of) == ({"method": "orpo", "beta": "0.1"}, "Mistral-alpha")
    assert [number.metric for number in found[4:]] == ["RM win vs SFT", "RM win vs DPO", "RM win vs PPO"]


def test_a_column_a_metric(tmp_path: Path):
    found = numbers(tmp_path, WIDE)
    assert [(number.metric, number.value) for number in found[:3]] == [
        ("AlpacaEval 2 LC", "15.1"), ("AlpacaEval 2 WR", "12.5"), ("Arena-Hard", "10.4"),
    ]  # fmt: skip
    assert (dict(found[0].beside), found[0].of) == ({"method": "dpo"}, "Mistral Base 7B (Zephyr)")
    assert dict(found[-1].beside) == {"method": "simpo"}


@pytest.mark.parametrize("text", [LONG, WITH_ERRORS, WIDE])
def test_numbers_of_what_is_not_here_stand_beside_nothing(tmp_path: Path, text: str):
    (tmp_path / "paper.csv").write_text(text)
    beside = stands_beside(read_published(str(tmp_path / "paper.csv")), run_config("dpo", method__beta=0.1))
    assert {number.value for number in beside} <= {"14.03", "50.63 ± 1.77", "0.78 ± 0.22", "15.1", "12.5", "10.4"}
    assert beside


def test_our_own_shape_is_read_as_the_table_of_a_study_reads_it():
    assert read_published("reference_strength").numbers[0].source.startswith("arXiv:2407.13709")


def test_a_config_of_somebody_elses_has_nothing_beside_it():
    assert stands_beside(read_published("reference_strength"), {"learning_rate": 1e-5}) == []


@pytest.mark.parametrize(
    ("name", "told"), [("reference_strenght", "did you mean reference_strength?"), ("nowhere.csv", "No such file")]
)
def test_a_file_that_is_not_there_is_told(name: str, told: str):
    with pytest.raises(BadQuestion, match=told.replace("?", r"\?")):
        read_published(name)


def test_a_file_without_numbers_is_told(tmp_path: Path):
    with pytest.raises(BadQuestion, match="no numbers"):
        numbers(tmp_path, "a,b\nx,y\n")
