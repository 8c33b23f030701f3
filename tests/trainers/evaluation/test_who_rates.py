"""Who is to rate a policy's answers, and whose they are beside: what of it is told before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.examined import evaluated
from tests.fakes.small_configs import run_config
from trainers import inputs
from trainers.at_hand import missing
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.errors import InvalidInput
from trainers.evaluation.opponent import KEY, opponent
from trainers.spec import RunFolder, RunResult

JUDGE = {
    "base_url": "https://judge.example/v1", "model": "m", "key_variable": "K", "timeout_s": 1.0, "tries": 1,
    "concurrency": 1, "price_in": 0.0, "price_out": 0.0,
}  # fmt: skip
BANDIT = {"kind": "bandit", "pairs": "ab", "draws": None}


def config(name: str = "dpo", samples: int = 8, data: dict[str, Any] | None = None, **evaluation: Any) -> RunConfig:
    more = {} if data is None else {"data": data}
    return check(run_config(name, evaluation=evaluated(samples, **evaluation), **more))


def trained(folder: Path, config: dict[str, Any] | None = None, status: str | None = "completed") -> Path:
    """A run's folder with an adapter in it, as far as planning looks at one."""
    run = RunFolder(folder)
    run.adapter.mkdir(parents=True)
    (run.adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "task_type": "CAUSAL_LM"}')
    (run.adapter / "adapter_model.safetensors").write_bytes(b"weights")
    run.spec.write_text(json.dumps({"config": config or run_config()}))
    if status is not None:
        RunResult(folder.name, status).write(run)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize(
    ("evaluation", "told"),
    [
        ({"reward_model": "builtin:silver"}, r"evaluation\.reward_model=builtin:silver: the only one built in"),
        ({"reward_model": "builtin:gold", "data": BANDIT}, r"evaluation\.reward_model=builtin:gold knows the built-in"),
        ({"reward_model": "builtin:gold", "samples": 0}, r"evaluation\.reward_model: evaluation\.samples=0 leaves no"),
        ({"opponent": "x", "samples": 0}, r"evaluation\.opponent: evaluation\.samples=0"),
        ({"judge": JUDGE | {"base_url": "ftp://x"}}, r"evaluation\.judge\.base_url=ftp://x: that is no address"),
        ({"judge": JUDGE | {"base_url": "https://me:no@x"}}, r"the key comes from evaluation\.judge\.key_variable"),
        ({"judge": JUDGE | {"model": None}}, r"evaluation\.judge\.model is not given"),
        ({"judge": JUDGE | {"base_url": None}}, r"evaluation\.judge\.base_url is not given"),
    ],
)
def test_what_cannot_rate_is_told_by_the_evaluations_own_keys(evaluation: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        config(**evaluation)
    assert "method." not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no folder with a config.json"),
        ({"config.json": {"id2label": {"0": "bad", "1": "good"}}}, "it gives 2 numbers for a text, and a reward is"),
        ({"config.json": {"model_type": "llama"}}, "it gives 2 numbers"),
        ({"adapter_config.json": {"task_type": "CAUSAL_LM"}}, "not of one that rates"),
    ],
)
def test_a_folder_without_a_reward_model_is_told(tmp_path: Path, files: dict[str, Any], told: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (fault,) = missing(config(reward_model=str(tmp_path)))
    assert fault.startswith(f"evaluation.reward_model={tmp_path}: ")
    assert told in fault


def test_a_model_of_one_label_will_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"id2label": {"0": "LABEL_0"}}')
    assert missing(config(reward_model=str(tmp_path))) == []


def test_a_finished_run_is_an_opponent_by_its_id(tmp_path: Path) -> None:
    folder = trained(tmp_path / "t0001-s0-12345678")
    for given in (folder, folder / "adapter"):
        asked = config(opponent=str(given))
        assert missing(asked) == []
        found = opponent(asked)
        assert found is not None
        assert (found.name, found.part.adapter) == (folder.name, folder / "adapter")
        assert found.tokenizer == ("builtin:tiny", None)
    assert opponent(config()) is None


def test_the_opponent_is_the_run_whose_result_another_trial_shares(tmp_path: Path) -> None:
    first = trained(tmp_path / "t0000-s0-12345678")
    (tmp_path / "t0001-s0-12345678").mkdir()
    RunResult("t0001-s0-12345678", "completed", same_as=first.name).write(RunFolder(tmp_path / "t0001-s0-12345678"))
    found = opponent(config(opponent=str(tmp_path / "t0001-s0-12345678")))
    assert found is not None
    assert found.name == first.name


@pytest.mark.parametrize("status", ["failed", None])
def test_a_run_that_has_not_completed_is_no_opponent(tmp_path: Path, status: str | None) -> None:
    (fault,) = missing(config(opponent=str(trained(tmp_path / "run", status=status))))
    assert f"{KEY}={tmp_path / 'run'}: that folder has not completed" in fault


def test_what_is_no_policy_is_no_opponent(tmp_path: Path) -> None:
    rates = trained(tmp_path / "rates")
    (rates / "adapter" / "adapter_config.json").write_text('{"task_type": "SEQ_CLS"}')
    weightless = trained(tmp_path / "weightless")
    (weightless / "adapter" / "adapter_model.safetensors").unlink()
    (tmp_path / "empty").mkdir()
    for name, told in (
        ("rates", "a model that rates, not one that writes"),
        ("weightless", "kept no weights: training.save_final=false"),
        ("empty", "holds neither a run nor a model"),
        ("nowhere", "there is no such folder"),
    ):
        (fault,) = missing(config(opponent=str(tmp_path / name)))
        assert fault.startswith(f"{KEY}={tmp_path / name}: ")
        assert told in fault


def identity(**evaluation: Any) -> dict[str, Any]:
    inputs._digest.cache_clear()
    return inputs.identity(config(**evaluation))


def test_where_nobody_is_named_a_run_is_what_it_was_before_anybody_could_be() -> None:
    section = identity()["evaluation"]
    assert not {"reward_model", "opponent", "judge"} & set(section)


def test_who_rates_and_who_answers_beside_count_by_content(tmp_path: Path) -> None:
    (tmp_path / "rm").mkdir()
    (tmp_path / "rm" / "config.json").write_text("{}")
    other = trained(tmp_path / "run")
    named = {"reward_model": str(tmp_path / "rm"), "opponent": str(other)}
    before = identity(**named)
    assert before != identity()
    (tmp_path / "rm" / "config.json").write_text('{"a": 1}')
    changed = identity(**named)
    assert changed["evaluation"]["reward_model"] != before["evaluation"]["reward_model"]
    assert changed["evaluation"]["opponent"] == before["evaluation"]["opponent"]
    (other / "adapter" / "adapter_model.safetensors").write_bytes(b"others")
    assert identity(**named)["evaluation"]["opponent"] != before["evaluation"]["opponent"]
    resolved = inputs.resolved(config(**named))["evaluation"]
    assert (resolved["reward_model"], resolved["opponent"]) == (str(tmp_path / "rm"), str(other / "adapter"))


def test_how_patiently_a_judge_is_asked_makes_no_other_run() -> None:
    assert identity(judge=JUDGE) == identity(judge=JUDGE | {"tries": 9, "price_in": 1.0})
    assert identity(judge=JUDGE) != identity(judge=JUDGE | {"model": "other"})
