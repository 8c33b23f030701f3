"""What is told of other harnesses before anything runs."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.examined import evaluated
from tests.fakes.tiny_runs import run_config
from trainers import inputs
from trainers.config_check import check
from trainers.evaluation.harness_faults import Find, faults


def told(name: str = "dpo", samples: int = 8, find: Find = find_spec, **settings: Any) -> list[str]:
    return faults(check(run_config(name, evaluation=evaluated(samples=samples, **settings))), find)


def nowhere(_package: str) -> None:
    """Nothing is installed."""


def test_nothing_is_told_where_nothing_is_asked() -> None:
    assert told() == []


def test_tasks_without_the_harness() -> None:
    (fault,) = told(find=nowhere, lm_eval={"tasks": ["arc_easy", "piqa"]})
    assert fault.startswith(
        "evaluation.lm_eval.tasks=arc_easy,piqa: lm-eval is not installed: pip install 'prefsweep[eval]'"
    )


def test_an_annotator_without_the_harness() -> None:
    (fault,) = told(find=nowhere, alpaca_eval={"annotators_config": "chatgpt_fn"})
    assert "alpaca-eval is not installed: pip install 'prefsweep[eval]'" in fault


@pytest.mark.skipif(find_spec("alpaca_eval") is None, reason="alpaca_eval is not installed")
def test_an_annotator_is_a_folder_or_one_of_the_harness() -> None:
    assert told(alpaca_eval={"annotators_config": "chatgpt_fn"}) == []
    (fault,) = told(alpaca_eval={"annotators_config": "no_such"})
    assert "evaluation.alpaca_eval.annotators_config=no_such: neither an annotator's folder" in fault


def test_a_folder_of_tasks_that_is_not_there() -> None:
    assert any("include_path=/no/such: there is no such folder" in fault for fault in told(
        lm_eval={"tasks": ["arc_easy"], "include_path": "/no/such"}
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "it cannot be read (No such file or directory)"),
        ("[", "that is no JSON file"),
        ("{}", "that is no list of objects, or an empty one"),
        ('[{"instruction": "a"}, {"prompt": "b"}]', 'row 1 has no text "instruction"'),
        ('[{"instruction": "a"}]', None),
    ],
)
def test_a_file_of_prompts(tmp_path: Path, content: str | None, why: str | None) -> None:
    path = tmp_path / "prompts.json"
    if content is not None:
        path.write_text(content)
    found = told(alpaca_eval={"prompts": str(path)})
    assert [why is not None and f"evaluation.alpaca_eval.prompts={path}: {why}" in fault for fault in found] == (
        [] if why is None else [True]
    )


def test_export_without_answers() -> None:
    (fault,) = told(samples=0, alpaca_eval={"export": True})
    assert "needs answers, but evaluation.samples=0" in fault


def test_a_reward_model_cannot_be_asked() -> None:
    (fault,) = told("reward", alpaca_eval={"export": True})
    assert "method=reward trains no policy that could be asked" in fault


def test_what_is_not_asked_leaves_runs_what_they_were(tmp_path: Path) -> None:
    config = check(run_config(evaluation=evaluated()))
    assert not {"lm_eval", "alpaca_eval"} & inputs.identity(config)["evaluation"].keys()


def test_files_of_harnesses_are_known_by_their_content(tmp_path: Path) -> None:
    def identity() -> str:
        made = check(run_config(evaluation=evaluated(lm_eval={"tasks": ["a"], "include_path": str(tmp_path)})))
        assert inputs.resolved(made)["evaluation"]["lm_eval"]["include_path"] == str(tmp_path)
        inputs._digest.cache_clear()
        return json.dumps(inputs.identity(made))

    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "task.yaml").write_text("task: a")
    before = identity()
    (tmp_path / "deep" / "task.yaml").write_text("task: b")
    assert identity() != before
