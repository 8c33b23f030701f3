"""A real lm-evaluation-harness on the built-in model, with a task from local files."""

import json
import logging
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fakes.examined import evaluated, examined_config, pushed, subject
from tests.fakes.harnesses import needs, write_task
from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from trainers.errors import InvalidInput, Stopped
from trainers.evaluation import harness
from trainers.evaluation.of_policy import PolicyEvaluation
from trainers.evaluation.scorer import score, score_answers
from trainers.models import Policy, load_policy
from trainers.spec import RunFolder
from trainers.train import train
from trainers.world_text import all_prompts, write_answer

pytestmark = [pytest.mark.slow, needs("lm_eval"), pytest.mark.xdist_group("lm_eval")]

TASK = "few_choices"


def questions(count: int = 24) -> list[dict[str, Any]]:
    """Of two answers to a prompt and one to another, of unlike lengths; which one is right is drawn."""
    draw = random.Random(3)
    prompts = draw.sample(all_prompts(), count)
    return [
        {
            "question": prompt,
            "choices": [
                write_answer(draw, prompt),
                write_answer(draw, prompt),
                write_answer(draw, draw.choice(prompts)),
            ],
            "gold": draw.randrange(3),
        }
        for prompt in prompts
    ]


def asked(folder: Path, **changes: Any) -> dict[str, Any]:
    settings = {"tasks": [TASK], "include_path": str(folder), "batch_size": 5, **changes}
    return evaluated(samples=4, lm_eval=settings)


def by_our_scorer(policy: Policy, questions: list[dict[str, Any]]) -> tuple[float, float]:
    """Share of the questions whose right choice is the likeliest, and the likeliest a letter."""
    right, right_by_length = 0, 0
    for question in questions:
        prompt = policy.tokenizer(question["question"])["input_ids"]
        answers = [(prompt, policy.tokenizer(choice)["input_ids"]) for choice in question["choices"]]
        logps, _ = score_answers(policy.model, answers, 3, policy.pad_id)
        lengths = torch.tensor([len(choice) for choice in question["choices"]])
        right += int(logps.argmax()) == question["gold"]
        right_by_length += int((logps / lengths).argmax()) == question["gold"]
    return right / len(questions), right_by_length / len(questions)


@pytest.mark.parametrize("peft", ["lora", "none"])
def test_the_harness_finds_what_our_scorer_finds(tmp_path: Path, cache_dir: Path, peft: str) -> None:
    few = questions()
    changes = {} if peft == "lora" else {"peft": {"kind": "none"}}
    config = examined_config(evaluation=asked(write_task(tmp_path, few)), **changes)
    policy = pushed(load_policy(config, cache_dir), 0.1)
    found = harness.measured(subject(config, cache_dir, policy))
    accuracy, by_length = by_our_scorer(policy, few)
    assert 0 < accuracy < 1
    assert found.metrics[f"eval/lm_eval/{TASK}/acc"] == pytest.approx(accuracy)
    assert found.metrics[f"eval/lm_eval/{TASK}/acc_norm"] == pytest.approx(by_length)
    assert found.metrics[f"eval/lm_eval/{TASK}/acc_se"] == pytest.approx((accuracy * (1 - accuracy) / 23) ** 0.5)
    assert json.loads(found.files["lm_eval.json"])["n-samples"][TASK] == {"original": 24, "effective": 24}


def test_it_leaves_everything_as_it_was(
    tmp_path: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    config = examined_config(evaluation=asked(write_task(tmp_path, questions(4))))
    policy = pushed(load_policy(config, cache_dir))
    policy.model.train()
    weights = {name: (id(weight), weight.detach().clone()) for name, weight in policy.model.named_parameters()}
    level, environment, tokenizer = logging.getLogger().level, dict(os.environ), policy.tokenizer.padding_side
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index,union-attr]
    capfd.readouterr()
    harness.measured(subject(config, cache_dir, policy))
    told = capfd.readouterr()
    assert (told.out, told.err, caplog.records) == ("", "", [])
    assert policy.model.training
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index,union-attr]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert (logging.getLogger().level, policy.tokenizer.padding_side) == (level, tokenizer)
    assert dict(os.environ) == environment
    for name, weight in policy.model.named_parameters():
        assert id(weight) == weights[name][0]
        assert torch.equal(weight, weights[name][1])


def test_a_limit_and_examples_are_the_harnesses_own(tmp_path: Path, cache_dir: Path) -> None:
    config = examined_config(evaluation=asked(write_task(tmp_path, questions()), limit=6, num_fewshot=2))
    found = harness.measured(subject(config, cache_dir))
    told = json.loads(found.files["lm_eval.json"])
    assert told["n-samples"][TASK]["effective"] == 6
    assert told["n-shot"][TASK] == 2
    assert harness.measured(subject(config, cache_dir)).metrics == found.metrics


def test_it_can_be_stopped_in_the_middle(tmp_path: Path, cache_dir: Path) -> None:
    config = examined_config(evaluation=asked(write_task(tmp_path, questions())))
    passes = []

    def heed() -> None:
        passes.append(1)
        if len(passes) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        harness.measured(subject(config, cache_dir, heed=heed))


def test_unknown_tasks_are_told_before_training_with_what_may_be_meant(tmp_path: Path, cache_dir: Path) -> None:
    evaluation = asked(write_task(tmp_path / "tasks", questions(4)), tasks=["few_choises", "arc_eazy"])
    result = train(run_spec(tmp_path / "run", cache_dir, run_config(evaluation=evaluation)), Recorder())
    assert (result.status, result.steps) == ("failed", 0)
    assert "knows no few_choises: did you mean few_choices?" in (result.error or "")
    assert "knows no arc_eazy: did you mean arc_easy?" in (result.error or "")


def test_data_that_cannot_be_had_are_told_before_training(tmp_path: Path) -> None:
    folder = write_task(tmp_path, questions(4))
    (folder / f"{TASK}.jsonl").unlink()
    with pytest.raises(InvalidInput, match=r"lm_eval\.tasks=few_choices: "):
        harness.check_tasks(examined_config(evaluation=asked(folder)))


def test_a_run_keeps_what_the_tasks_say(tmp_path: Path, cache_dir: Path) -> None:
    evaluation = asked(write_task(tmp_path / "tasks", questions(6)))
    result = train(run_spec(tmp_path / "run", cache_dir, run_config(evaluation=evaluation)), Recorder())
    assert (result.status, result.error) == ("completed", None)
    folder = RunFolder(tmp_path / "run").evaluation
    told = json.loads(folder.metrics.read_text())
    assert told["metrics"][f"eval/lm_eval/{TASK}/acc"] == result.metrics[f"eval/lm_eval/{TASK}/acc"]
    assert told["versions"]["lm-eval"].startswith("0.4.")
    assert (folder.root / "lm_eval.json").is_file()


def test_a_task_that_fails_loses_its_measures_and_nothing_else(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_task(tmp_path, questions(4))
    config = examined_config(evaluation=asked(folder))
    (folder / f"{TASK}.jsonl").unlink()
    one = subject(config, cache_dir)
    reference = score(one.policy.model, one.held.pairs, 16, one.policy.pad_id)
    final = PolicyEvaluation(one, reference).conclude()
    assert not any("lm_eval" in name for name in final.metrics)
    assert final.metrics["eval/answers"] == 4
    assert "evaluation: lm-eval failed, its measures are missing: " in capsys.readouterr().err
