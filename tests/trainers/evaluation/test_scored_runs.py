"""Whole runs whose answers a model rates, an endpoint judges, or another run's are beside, and what goes wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.examined import evaluated, examined_config, pushed, reversed_vocabulary, subject
from tests.fakes.judge_server import JudgeServer, Said, prefers_longer
from tests.fakes.tiny_runs import Recorder, method, run_config, run_spec
from trainers import world
from trainers.evaluation.answers import opponent_answers, start_answers
from trainers.evaluation.examine import examine
from trainers.evaluation.prompts import prompts
from trainers.models import load_policy
from trainers.spec import RunFolder, RunResult
from trainers.train import train

pytestmark = pytest.mark.slow

KEY = "sk-never-written-anywhere"


def run(folder: Path, cache_dir: Path, name: str = "dpo", **evaluation: Any) -> RunResult:
    config = run_config(name, evaluation=evaluated(**evaluation), training__learning_rate=3e-3)
    spec = run_spec(folder, cache_dir, config)
    spec.write()
    result = train(spec, Recorder())
    result.write(RunFolder(folder))
    return result


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in RunFolder(folder).evaluation.answers.read_text().splitlines()]


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RunFolder(folder).evaluation.metrics.read_text())
    return found


def judge(url: str, **changes: Any) -> dict[str, Any]:
    known = method("online_dpo")["judge"]
    return {**known, "base_url": url, "model": "judge-1", "key_variable": "TEST_JUDGE_KEY", "tries": 1, **changes}


@pytest.fixture
def cache(tmp_path: Path, cache_dir: Path) -> Path:
    """With the built-in world, and nothing else."""
    world.policy(cache_dir)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "world").symlink_to(cache_dir / "world")
    return tmp_path / "cache"


def test_a_trained_reward_model_rates_both_and_another_runs_policy_answers_beside(tmp_path: Path, cache: Path) -> None:
    assert run(tmp_path / "rm", cache, "reward").status == "completed"
    assert run(tmp_path / "other", cache, "ipo").status == "completed"
    given = {"reward_model": str(tmp_path / "rm" / "adapter"), "opponent": str(tmp_path / "other")}
    result = run(tmp_path / "run", cache, **given)
    assert (result.status, result.error) == ("completed", None)
    found, beside = rows(tmp_path / "run"), rows(tmp_path / "other")
    assert {row["opponent"] for row in found} == {"other"}
    assert [row["start_text"] for row in found] != [row["start_text"] for row in beside]
    # No whole numbers, as the known reward has them.
    assert any(row["reward"] % 1 for row in found)
    assert [row["win"] for row in found] == [
        float(row["reward"] > row["start_reward"]) + (row["reward"] == row["start_reward"]) / 2 for row in found
    ]
    assert result.metrics["eval/win_rate"] == sum(row["win"] for row in found) / len(found)
    assert result.metrics["eval/win_rate_lc"] is not None
    assert "eval/judge_calls" not in result.metrics

    kept = {path: path.stat().st_mtime_ns for path in (cache / "answers").iterdir()}
    run(tmp_path / "again", cache, "orpo", **given)
    assert [row["start_text"] for row in rows(tmp_path / "again")] == [row["start_text"] for row in found]
    assert {path: path.stat().st_mtime_ns for path in (cache / "answers").iterdir()} == kept


def test_an_opponent_answers_as_its_own_policy_does(tmp_path: Path, cache: Path) -> None:
    """Greedily, where no random numbers tell the two apart."""
    other = run(tmp_path / "other", cache, "ipo", temperature=0.0)
    run(tmp_path / "run", cache, opponent=str(tmp_path / "other"), temperature=0.0)
    assert other.status == "completed"
    expected = [row["text"] for row in rows(tmp_path / "other")]
    assert [row["start_text"] for row in rows(tmp_path / "run")] == expected


def test_an_opponent_with_another_tokenizer_is_told_in_the_policys_tokens(tmp_path: Path, cache_dir: Path) -> None:
    """It says of texts what the start does; greedily so do its answers."""
    strange = reversed_vocabulary(world.policy(cache_dir), tmp_path / "other")
    section = evaluated(temperature=0.0, opponent=str(strange))
    config = examined_config(evaluation=section)
    of = subject(config, cache_dir, pushed(load_policy(config, cache_dir)))
    asked = prompts(of.held, 8)
    assert of.held.texts is not None
    texts = [of.held.texts[prompt.place] for prompt in asked]
    found = opponent_answers(config, of.policy, asked, texts, cache_dir, of.heed, of.world)
    start = start_answers(config, of.policy, asked, cache_dir, of.heed, of.world)
    assert [(answer.text, answer.ids, answer.ended) for answer in found] == [
        (answer.text, answer.ids, answer.ended) for answer in start
    ]
    assert {row["opponent"] for row in examine(of).answers} == {str(strange)}


def test_a_judge_is_asked_in_both_orders_once_and_its_cost_is_counted(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", KEY)
    with JudgeServer(prefers_longer) as server:
        result = run(tmp_path / "run", cache, judge=judge(server.url, price_in=2.0, price_out=10.0))
        asked = len(server.requests)
        again = run(tmp_path / "again", cache, judge=judge(server.url))
        assert len(server.requests) == asked
    found = rows(tmp_path / "run")
    assert [row["judge_win"] for row in found] == [
        (len(row["text"]) > len(row["start_text"])) + (len(row["text"]) == len(row["start_text"])) / 2 for row in found
    ]
    metrics = result.metrics
    assert metrics["eval/judge_win_rate"] == sum(row["judge_win"] for row in found) / len(found)
    assert metrics["eval/judge_calls"] == asked == 2 * sum(row["text"] != row["start_text"] for row in found)
    assert (metrics["eval/judge_tokens_in"], metrics["eval/judge_tokens_out"]) == (100 * asked, 5 * asked)
    assert metrics["eval/judge_cost_usd"] == pytest.approx(asked * (100 * 2 + 5 * 10) / 1e6)
    assert again.metrics["eval/judge_calls"] == 0
    assert "eval/judge_cost_usd" not in again.metrics
    assert again.metrics["eval/judge_win_rate"] == metrics["eval/judge_win_rate"]
    files = [path for folder in (tmp_path / "run", cache) for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_judge_that_goes_away_costs_its_measure_and_not_the_run(
    tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    left = [5]

    def leaving(body: dict[str, Any]) -> Said:
        left[0] -= 1
        return (503, {}, b"") if left[0] < 0 else prefers_longer(body)

    with JudgeServer(leaving) as server:
        result = run(tmp_path / "run", cache, judge=judge(server.url, concurrency=1))
        assert (result.status, result.error) == ("completed", None)
        for name in ("eval/judge_win_rate", "eval/judge_win_rate_se", "eval/judge_win_rate_lc"):
            assert result.metrics[name] is None
            assert "did not answer in 1 tries (status 503)" in told(tmp_path / "run")["missing"][name]
            assert "evaluation.judge.tries" in told(tmp_path / "run")["missing"][name]
        assert "method.judge" not in capfd.readouterr().err
        assert result.metrics["eval/judge_calls"] == 5
        assert result.metrics["eval/win_rate"] is not None
        assert {row["judge_win"] for row in rows(tmp_path / "run")} == {None}
        assert RunFolder(tmp_path / "run").adapter.is_dir()
        left[0] = 1000
        again = run(tmp_path / "again", cache, judge=judge(server.url))
    assert again.metrics["eval/judge_win_rate"] is not None
    assert again.metrics["eval/judge_calls"] == 2 * 8 - 5


def test_a_reward_model_that_cannot_be_loaded_costs_its_measures_and_not_the_run(
    tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rm").mkdir()
    (tmp_path / "rm" / "config.json").write_text('{"model_type": "llama", "id2label": {"0": "LABEL_0"}}')
    result = run(tmp_path / "run", cache, reward_model=str(tmp_path / "rm"))
    assert (result.status, result.error) == ("completed", None)
    assert (result.metrics["eval/reward"], result.metrics["eval/win_rate_lc"]) == (None, None)
    assert result.metrics["eval/kl"] is not None
    why = told(tmp_path / "run")["missing"]["eval/reward"]
    assert why.startswith(f"evaluation.reward_model={tmp_path / 'rm'} cannot rate: OSError: ")
    assert why in capfd.readouterr().err


def test_an_opponent_that_cannot_be_loaded_costs_what_is_beside_it(tmp_path: Path, cache: Path) -> None:
    run(tmp_path / "other", cache, "ipo")
    weights = tmp_path / "other" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    result = run(tmp_path / "run", cache, opponent=str(tmp_path / "other"))
    assert (result.status, result.error) == ("completed", None)
    assert (result.metrics["eval/win_rate"], result.metrics["eval/start_reward"]) == (None, None)
    assert result.metrics["eval/reward"] is not None
    assert "cannot answer" in told(tmp_path / "run")["missing"]["eval/win_rate"]
    assert {row["start_text"] for row in rows(tmp_path / "run")} == {None}


def test_beside_another_opponent_a_runaway_length_is_still_held_against_the_start(tmp_path: Path, cache: Path) -> None:
    """Of so few tokens no answer of the start ends either."""
    run(tmp_path / "other", cache, "ipo")
    shutil.rmtree(cache / "answers")
    result = run(tmp_path / "run", cache, opponent=str(tmp_path / "other"), max_new_tokens=5)
    assert result.metrics["eval/ended"] == 0.0
    assert "length" not in (result.degenerate or "")
    assert len(list((cache / "answers").iterdir())) == 2
