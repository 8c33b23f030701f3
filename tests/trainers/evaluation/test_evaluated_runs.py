"""Whole runs with their evaluation at the end: what is left of it, and what stops or breaks it."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.fakes.examined import evaluated, mute, write_chats
from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from tests.fakes.wandb_server import WandbServer
from trainers import tracking
from trainers.spec import EvaluationFolder, RunFolder, RunResult
from trainers.train import train

pytestmark = pytest.mark.slow


def run(
    folder: Path, cache_dir: Path, reporter: Recorder | None = None, method: str = "dpo", **changes: Any
) -> RunResult:
    reporter = reporter or Recorder()
    config = run_config(method, **{"evaluation": evaluated(), "training__learning_rate": 3e-3, **changes})
    result = train(run_spec(folder, cache_dir, config), reporter)
    reporter.do_what_is_left()
    return result


def left(folder: Path) -> EvaluationFolder:
    return RunFolder(folder).evaluation


def answers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in left(folder).answers.read_text().splitlines()]


@pytest.mark.parametrize(("method", "peft"), [("dpo", "lora"), ("orpo", "lora"), ("dpo", "none")])
def test_a_run_leaves_what_its_measures_are_made_of(tmp_path: Path, cache_dir: Path, method: str, peft: str) -> None:
    changes = {"peft": {"kind": "none"}, "training__learning_rate": 3e-4} if peft == "none" else {}
    result = run(tmp_path, cache_dir, method=method, **changes)
    assert (result.status, result.error, result.degenerate) == ("completed", None, None)
    told = json.loads(left(tmp_path).metrics.read_text())
    assert told["metrics"] == {name: value for name, value in result.metrics.items() if name.startswith("eval/")}
    assert (told["policy"], told["degenerate"], told["versions"]) == ("final", None, result.versions)
    pairs = pq.read_table(left(tmp_path).pairs).to_pydict()
    margins = [
        chosen - rejected for chosen, rejected in zip(pairs["chosen_logratio"], pairs["rejected_logratio"], strict=True)
    ]
    assert len(set(pairs["pair"])) == 16
    assert sum(margins) / 16 == pytest.approx(result.metrics["eval/margin_nats"], abs=1e-4)
    assert sum(margin > 0 for margin in margins) / 16 == result.metrics["eval/reward_accuracy"]
    rows = answers(tmp_path)
    assert sum(row["kl"] for row in rows) / len(rows) == pytest.approx(result.metrics["eval/kl"])
    assert (result.metrics["eval/kl"] or 0) > 0.01
    assert json.loads(left(tmp_path).tokens.read_text())["eos"]["id"] == 257


def test_all_runs_are_asked_the_same_and_beside_the_same_answers(tmp_path: Path, cache_dir: Path) -> None:
    found = []
    for place, (method, seed) in enumerate([("dpo", 0), ("ipo", 1), ("sft", 2)]):
        run(tmp_path / str(place), cache_dir, method=method, seed=seed)
        found.append(answers(tmp_path / str(place)))
    first = found[0]
    for rows in found[1:]:
        for key in ("prompt", "prompt_text", "start_text", "start_reward"):
            assert [row[key] for row in rows] == [row[key] for row in first]
        assert [row["text"] for row in rows] != [row["text"] for row in first]
    names = [pq.read_table(left(tmp_path / str(place)).pairs)["pair"].to_pylist() for place in range(3)]
    assert names[0] == names[1] == names[2]


def test_on_the_way_only_pairs_are_measured_unless_answers_are_asked_for(tmp_path: Path, cache_dir: Path) -> None:
    reporter = Recorder()
    run(tmp_path / "pairs", cache_dir, reporter, evaluation=evaluated(every=4))
    assert [step for step, _ in reporter.of("eval/margin_nats")] == [4, 8, 8]
    assert [step for step, _ in reporter.of("eval/kl")] == [8]
    reporter = Recorder()
    run(tmp_path / "answers", cache_dir, reporter, evaluation=evaluated(samples_every=4))
    assert [step for step, _ in reporter.of("eval/margin_nats")] == [8]
    assert [step for step, _ in reporter.of("eval/kl")] == [4, 8, 8]


def test_examining_leaves_the_training_as_it_is(tmp_path: Path, cache_dir: Path) -> None:
    dropout = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}
    often = run(tmp_path / "often", cache_dir, peft=dropout, evaluation=evaluated(samples_every=2))
    never = run(tmp_path / "never", cache_dir, peft=dropout, evaluation=evaluated(0))
    for name, value in never.metrics.items():
        if name.startswith("eval/"):
            assert often.metrics[name] == value


def test_a_measure_that_cannot_be_taken_is_null_and_told_and_fails_no_run(
    tmp_path: Path, cache_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path, cache_dir, evaluation=evaluated(1))
    assert (result.status, result.error) == ("completed", None)
    assert result.metrics["eval/kl_se"] is None
    assert json.loads(left(tmp_path).metrics.read_text())["metrics"]["eval/kl_se"] is None
    assert "evaluation: no finite value of eval/kl_se" in capfd.readouterr().err


def test_a_policy_that_says_nothing_completes_as_a_degenerate_one(tmp_path: Path, cache_dir: Path) -> None:
    policy = mute(tmp_path / "mute", cache_dir)
    changes = {"model__path": str(policy), "peft": {"kind": "none"}, "training__learning_rate": 1e-12}
    result = run(tmp_path / "run", cache_dir, **changes)
    assert (result.status, result.error, result.degenerate) == ("completed", None, "empty")
    assert result.metrics["eval/degenerate"] == 1.0
    assert {row["text"] for row in answers(tmp_path / "run")} == {""}
    assert json.loads(left(tmp_path / "run").metrics.read_text())["degenerate"] == "empty"
    assert RunResult(**json.loads(json.dumps(vars(result)))).degenerate == "empty"


def test_a_policy_that_was_driven_too_far_is_degenerate(tmp_path: Path, cache_dir: Path) -> None:
    result = run(tmp_path, cache_dir, training__learning_rate=0.1, training__epochs=4, method__beta=0.001)
    assert result.status == "completed"
    assert "kl" in (result.degenerate or "").split(", ")


@pytest.mark.parametrize("peft", ["lora", "none"])
def test_where_a_run_begins_at_another_one_that_one_is_what_it_is_beside(
    tmp_path: Path, cache_dir: Path, peft: str
) -> None:
    run(tmp_path / "first", cache_dir)
    start = {"kind": "checkpoint", "path": str(tmp_path / "first")}
    changes = {} if peft == "lora" else {"peft": {"kind": "none"}}
    still = run(tmp_path / "still", cache_dir, start=start, training__learning_rate=1e-12, **changes)
    assert (still.status, still.error) == ("completed", None)
    assert still.metrics["eval/kl"] == pytest.approx(0, abs=1e-6)
    begun = [row["start_text"] for row in answers(tmp_path / "still")]
    assert begun != [row["start_text"] for row in answers(tmp_path / "first")]


def test_chats_are_answered_through_their_template(tmp_path: Path, cache_dir: Path) -> None:
    path = str(write_chats(tmp_path / "chats.jsonl"))
    data = {
        "kind": "jsonl", "path": path, "eval_path": None, "prompt_field": "prompt", "chosen_field": "chosen",
        "rejected_field": "rejected", "eval_fraction": 0.4, "split_seed": 0, "max_train_samples": None,
        "max_eval_samples": None,
    }  # fmt: skip
    result = run(tmp_path / "run", cache_dir, data=data)
    assert (result.status, result.error) == ("completed", None)
    assert "eval/reward" not in result.metrics
    assert all(row["prompt_text"].startswith("Say ") for row in answers(tmp_path / "run"))


@pytest.mark.parametrize(
    ("method", "data"), [("dpo", {"kind": "bandit", "pairs": "ab*2 ba", "draws": None}), ("reward", None)]
)
def test_who_writes_no_texts_is_measured_on_pairs_alone(
    tmp_path: Path, cache_dir: Path, method: str, data: dict[str, Any] | None
) -> None:
    changes = {} if data is None else {
        "data": data, "model__path": "builtin:bandit/0/0", "peft": {"kind": "none"}
    }  # fmt: skip
    result = run(tmp_path, cache_dir, method=method, **changes)
    assert (result.status, result.error) == ("completed", None)
    assert not {"eval/kl", "eval/degenerate"} & set(result.metrics)
    assert sorted(path.name for path in left(tmp_path).root.iterdir()) == (
        ["metrics.json"] if method == "reward" else ["metrics.json", "pairs.parquet"]
    )


@pytest.mark.parametrize("patience", [5, 7, 9])
def test_a_stop_in_the_evaluation_keeps_all_steps_and_the_rest_is_done_later(
    tmp_path: Path, cache_dir: Path, patience: int
) -> None:
    whole = run(tmp_path / "whole", cache_dir)
    stopped = run(tmp_path / "parts", cache_dir, Recorder(stop_in="evaluating", after_asking=patience))
    assert (stopped.status, stopped.steps, stopped.error) == ("cancelled", 8, None)
    assert not left(tmp_path / "parts").metrics.exists()
    again = run(tmp_path / "parts", cache_dir)
    assert again.status == "completed"
    assert again.metrics["eval/kl"] == pytest.approx(whole.metrics["eval/kl"], abs=1e-4)


def test_measures_are_told_by_the_length_of_the_answers(tmp_path: Path, cache_dir: Path) -> None:
    metrics = run(tmp_path, cache_dir, evaluation=evaluated(0)).metrics
    parts = [metrics[f"eval/pairs.{length}"] or 0 for length in ("short", "medium", "long")]
    assert sum(parts) == metrics["eval/pairs"]
    accuracies = [metrics[f"eval/reward_accuracy.{length}"] or 0 for length in ("short", "medium", "long")]
    whole = sum(part * accuracy for part, accuracy in zip(parts, accuracies, strict=True)) / sum(parts)
    assert whole == pytest.approx(metrics["eval/reward_accuracy"])


def test_wandb_gets_the_files_and_what_the_run_came_to(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    with WandbServer() as server:
        section = {"mode": "online", "project": "tests", "entity": None, "base_url": server.url}
        result = run(tmp_path, cache_dir, tracking=section)
        (there,) = server.runs.values()
    tracking._end_service()
    for path in left(tmp_path).root.iterdir():
        assert there.files[f"evaluation/{path.name}"] == path.read_bytes()
    assert there.summary["status"] == "completed"
    for name, value in result.metrics.items():
        if value is not None and math.isfinite(value):
            assert there.summary[name] == pytest.approx(value), name
