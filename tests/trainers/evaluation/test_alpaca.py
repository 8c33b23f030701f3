"""The policy's answers as alpaca_eval reads them, and the real alpaca_eval's judgement by an endpoint on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.examined import evaluated, examined_config, pushed, subject, write_chats
from tests.fakes.harnesses import needs, says_longer, write_annotator, write_difficulties
from tests.fakes.judge_server import JudgeServer
from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from trainers.evaluation import alpaca_judge
from trainers.evaluation.beside_harnesses import Beside
from trainers.evaluation.examine import NOTHING, examine
from trainers.evaluation.other_harnesses import ask
from trainers.models import load_policy
from trainers.spec import RunFolder
from trainers.train import train

pytestmark = pytest.mark.slow


def asked(samples: int = 8, **settings: Any) -> dict[str, Any]:
    return evaluated(samples=samples, alpaca_eval={"export": True, **settings})


def read(found: Beside, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(found.files[f"alpaca_eval/{name}.json"])
    return rows


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Any:
    with JudgeServer(says_longer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
        yield server


def test_answers_to_held_out_prompts_are_exported_beside_those_of_the_start(cache_dir: Path) -> None:
    config = examined_config(evaluation=asked())
    one = subject(config, cache_dir, pushed(load_policy(config, cache_dir)))
    findings = examine(one)
    found = ask(one, findings)
    assert [(row["instruction"], row["output"]) for row in read(found, "outputs")] == [
        (row["prompt_text"], row["text"]) for row in findings.answers
    ]
    assert [row["output"] for row in read(found, "reference")] == [row["start_text"] for row in findings.answers]
    assert {row["generator"] for row in read(found, "outputs")} == {"tiny dpo 0.1, seed 0"}
    assert {row["generator"] for row in read(found, "reference")} == {"start"}
    assert found.metrics == {}


def test_prompts_of_a_file_are_answered_by_the_policy_and_the_start(tmp_path: Path, cache_dir: Path) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps([{"instruction": text} for text in ("Recall the sea:", "Praise the cold rain:")]))
    config = examined_config(evaluation=asked(samples=0, prompts=str(prompts)))
    one = subject(config, cache_dir)
    found = ask(one, NOTHING)
    assert [row["instruction"] for row in read(found, "outputs")] == ["Recall the sea:", "Praise the cold rain:"]
    assert all(row["output"] for name in ("outputs", "reference") for row in read(found, name))
    # Not trained yet, it is the start; the two draw different random numbers all the same.
    assert read(found, "outputs") != read(found, "reference")
    assert ask(one, NOTHING).files == found.files


def test_prompts_of_a_file_are_messages_where_the_data_are(tmp_path: Path, cache_dir: Path) -> None:
    path = str(write_chats(tmp_path / "chats.jsonl"))
    data = {
        "kind": "jsonl", "path": path, "eval_path": path, "prompt_field": "prompt", "chosen_field": "chosen",
        "rejected_field": "rejected", "eval_fraction": 0.1, "split_seed": 0, "max_train_samples": None,
        "max_eval_samples": None,
    }  # fmt: skip
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps([{"instruction": f"Say {number}"} for number in range(8)]))
    config = examined_config(evaluation=asked(prompts=str(prompts)), data=data, model__chat_template="builtin:chatml")
    one = subject(config, cache_dir)
    # The same prompts draw the same random numbers, so that their answers show how they were asked.
    assert [row["output"] for row in read(ask(one, NOTHING), "outputs")] == [
        row["text"] for row in examine(one).answers
    ]


def test_a_reference_of_a_file_leaves_out_what_it_has_no_answer_to(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = examined_config(evaluation=asked())
    one = subject(config, cache_dir)
    findings = examine(one)
    known = [str(row["prompt_text"]) for row in findings.answers]
    rows = [{"instruction": text, "output": f"to {text}", "generator": "theirs"} for text in reversed(known[2:])]
    (tmp_path / "reference.json").write_text(json.dumps(rows))
    config = examined_config(evaluation=asked(reference=str(tmp_path / "reference.json")))
    found = ask(subject(config, cache_dir), findings)
    assert [row["instruction"] for row in read(found, "outputs")] == known[2:]
    assert [row["output"] for row in read(found, "reference")] == [f"to {text}" for text in known[2:]]
    assert "has no answer to 2 of 8 prompts: they are left out" in capsys.readouterr().err


@needs("alpaca_eval")
def test_alpaca_eval_judges_as_its_annotator_does(tmp_path: Path, cache_dir: Path, judge: JudgeServer) -> None:
    config = examined_config(evaluation=asked(annotators_config=str(write_annotator(tmp_path / "longer"))))
    one = subject(config, cache_dir, pushed(load_policy(config, cache_dir), 0.1))
    found = ask(one, examine(one))
    pairs = [
        (len(own["output"].strip()), len(other["output"].strip()), own["output"] == other["output"])
        for own, other in zip(read(found, "outputs"), read(found, "reference"), strict=True)
    ]
    unlike = [(own, other) for own, other, same in pairs if own != other or same]
    assert len(unlike) == len(pairs), "no answers of one length, whose winner their places decide"
    wins = [0.5 if same else float(own > other) for own, other, same in pairs]
    assert found.metrics["eval/alpaca_eval/win_rate"] == pytest.approx(sum(wins) / len(wins))
    assert found.metrics["eval/alpaca_eval/judged"] == 8
    assert found.metrics["eval/alpaca_eval/win_rate_se"] > 0
    assert "eval/alpaca_eval/length_controlled_winrate" not in found.metrics
    assert found.versions == {"alpaca-eval": "0.6.6"}
    assert [row["instruction"] for row in read(found, "annotations")] == [
        row["instruction"] for row in read(found, "outputs")
    ]
    asked_for = len(judge.requests)
    assert ask(one, examine(one)).metrics == found.metrics
    assert len(judge.requests) == asked_for, "nothing is asked twice"


@needs("alpaca_eval")
@pytest.mark.parametrize("known", [True, False])
def test_the_length_controlled_rate_is_alpaca_evals_own(tmp_path: Path, judge: JudgeServer, known: bool) -> None:
    """Of a policy that wins by its length alone."""
    annotator = write_annotator(tmp_path / "longer")
    if known:
        write_difficulties(tmp_path / "hub", 40)
    texts = [f"Question {number}" for number in range(40)]
    for name, longer in (("outputs", 30), ("reference", 10)):
        rows = [
            {"instruction": text, "output": "x" * (20 + longer * (place % 4 > 0) + place), "generator": name}
            for place, text in enumerate(texts)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    question = {"annotators_config": str(annotator), "length_controlled": True, "cache": str(tmp_path / "cache.json")}
    (tmp_path / "question.json").write_text(json.dumps(question))
    program = [sys.executable, "-P", str(Path(alpaca_judge.__file__)), str(tmp_path)]
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    subprocess.run(program, check=True, env=environment, capture_output=True)
    said = json.loads((tmp_path / "said.json").read_bytes())
    assert said["win_rate"] == pytest.approx(87.5)
    if known:
        assert said["length_controlled"] is None
        assert 0 < said["length_controlled_winrate"] < said["win_rate"]
    else:
        assert said["length_controlled"]
        assert "length_controlled_winrate" not in said


@needs("alpaca_eval")
def test_a_judge_that_refuses_loses_no_run(
    tmp_path: Path, cache_dir: Path, judge: JudgeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    judge.script = lambda _body: (401, {}, b'{"error": {"message": "no such key"}}')
    evaluation = asked(annotators_config=str(write_annotator(tmp_path / "longer")))
    result = train(run_spec(tmp_path / "run", cache_dir, run_config(evaluation=evaluation)), Recorder())
    assert (result.status, result.error) == ("completed", None)
    assert not any("alpaca_eval" in name for name in result.metrics)
    assert "evaluation: alpaca_eval failed, its measures are missing: JudgeFailed: " in capfd.readouterr().err
    left = RunFolder(tmp_path / "run").evaluation.root / "alpaca_eval"
    assert sorted(path.name for path in left.iterdir()) == ["outputs.json", "reference.json"]
