"""Whole runs of the methods that train on what their policy writes: what comes out, and how they stop and go on."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.examined import evaluated
from tests.fakes.judge_server import JudgeServer, Script, prefers_longer, question_of
from tests.fakes.tiny_runs import Recorder, method, run_config, run_spec
from trainers import checkpoints
from trainers.config_check import check
from trainers.data import load_pairs
from trainers.errors import InvalidInput
from trainers.rounds import prompts_of_round
from trainers.samples import Asked
from trainers.spec import RunFolder, RunResult
from trainers.train import train
from trainers.world_text import OPENINGS

pytestmark = pytest.mark.slow

# As small as can still be told apart.
SMALL: dict[str, dict[str, Any]] = {
    "rso": {"candidates": 4, "accepted": 2, "max_new_tokens": 60},
    "online_dpo": {"rounds": 3, "prompts_per_round": 10, "max_new_tokens": 60},
    "rloo": {"rounds": 3, "prompts_per_round": 6, "answers": 3, "max_new_tokens": 60},
    "backtranslation": {"seed_share": 0.5, "max_new_tokens": 60},
}
FEW = {"kind": "toy", "seed": 0, "max_train_samples": 16, "max_eval_samples": 8}
GOLD = {"reward_model": "builtin:gold", "sampling_batch": 16}


def config(name: str, **changes: Any) -> dict[str, Any]:
    section = {key[8:]: changes.pop(key) for key in list(changes) if key.startswith("method__")}
    return run_config(name, **{"method": method(name, **{**SMALL[name], **GOLD, **section}), "data": FEW, **changes})


def run(
    folder: Path, cache_dir: Path, reporter: Recorder | None = None, name: str = "online_dpo", **changes: Any
) -> RunResult:
    reporter = reporter or Recorder()
    result = train(run_spec(folder, cache_dir, config(name, **changes)), reporter)
    reporter.do_what_is_left()
    return result


def held_out(result: RunResult) -> dict[str, Any]:
    return {name: value for name, value in result.metrics.items() if name.startswith("eval/")}


def samples(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in RunFolder(folder).samples.read_text().splitlines()]


@pytest.mark.parametrize("name", SMALL)
def test_a_run_ends_with_the_one_scorers_measures_an_adapter_and_its_samples(
    tmp_path: Path, cache_dir: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    result = run(tmp_path, cache_dir, name=name, evaluation=evaluated(8))
    assert (result.status, result.error) == ("completed", None)
    assert set(result.metrics) >= {"eval/reward_accuracy", "eval/margin_nats", "eval/reward", "train/loss"}
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "checkpoints").exists()
    found = samples(tmp_path)
    assert len({(line["phase"], line["number"]) for line in found}) == len(found)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["rloo", "rso"])
def test_the_seed_decides_the_samples_and_the_numbers(tmp_path: Path, cache_dir: Path, name: str) -> None:
    first, again, other = (
        run(tmp_path / str(place), cache_dir, name=name, seed=seed) for place, seed in enumerate([1, 1, 2])
    )
    assert held_out(first) == held_out(again) != held_out(other)
    kept = [RunFolder(tmp_path / str(place)).samples.read_bytes() for place in range(3)]
    assert kept[0] == kept[1] != kept[2]


class Killed(Recorder):
    """Ends the process's run as a signal would, at a step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def report(self, step: int, metrics: Any) -> bool:
        if step == self._at:
            raise KeyboardInterrupt
        return super().report(step, metrics)


@pytest.mark.parametrize(
    ("name", "at", "peft"),
    [
        ("online_dpo", 5, "lora"),
        ("online_dpo", 5, "none"),
        ("rloo", 4, "lora"),
        ("rloo", 4, "none"),
        ("rso", 2, "lora"),
        ("backtranslation", 7, "none"),
    ],
)
def test_a_run_that_goes_on_ends_as_if_it_had_never_stopped(
    tmp_path: Path, cache_dir: Path, name: str, at: int, peft: str
) -> None:
    """Stopped in the middle of a later stage, where there are several."""
    changes: dict[str, Any] = {} if peft == "lora" else {"peft": {"kind": "none"}}
    whole = run(tmp_path / "whole", cache_dir, name=name, **changes)
    stopped = run(tmp_path / "parts", cache_dir, Recorder(stop_at=at), name, **changes)
    assert (stopped.status, stopped.steps) == ("cancelled", at)
    reporter = Recorder()
    parts = run(tmp_path / "parts", cache_dir, reporter, name, **changes)
    assert (parts.status, parts.steps) == ("completed", whole.steps)
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-5)
    assert samples(tmp_path / "parts") == samples(tmp_path / "whole")


@pytest.mark.parametrize("name", ["online_dpo", "backtranslation"])
@pytest.mark.parametrize("answers", [0, 2])
def test_a_stop_asked_while_it_samples_ends_soon_and_nothing_is_made_twice(
    tmp_path: Path, cache_dir: Path, name: str, answers: int
) -> None:
    stopping = Recorder(stop_in="sampling", after_asking=answers)
    stopped = run(tmp_path / "parts", cache_dir, stopping, name, method__sampling_batch=4)
    assert (stopped.status, stopped.error) == ("cancelled", None)
    before = samples(tmp_path / "parts") if answers else []
    assert len(before) == max(0, answers - 1) * (2 if name == "online_dpo" else 4)
    reporter = Recorder(stop_in="scoring", after_asking=2)
    run(tmp_path / "parts", cache_dir, reporter, name, method__sampling_batch=4)
    after = samples(tmp_path / "parts") if before else []
    assert after[: len(before)] == before


def test_a_killed_run_goes_on_from_the_last_stage_that_was_over(tmp_path: Path, cache_dir: Path) -> None:
    whole = run(tmp_path / "whole", cache_dir)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", cache_dir, Killed(whole.steps))
    over, before = checkpoints.newest_ended(tmp_path / "parts" / "checkpoints", 3)
    assert over == 1
    assert not (tmp_path / "parts" / "checkpoints" / "stage-0").exists()
    reporter = Recorder()
    parts = run(tmp_path / "parts", cache_dir, reporter)
    assert min(step for step, _ in reporter.reports) == before > 0
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-5)


def test_rounds_are_held_to_the_policys_start_also_where_all_weights_are_trained(
    tmp_path: Path, cache_dir: Path
) -> None:
    """With a learning rate of next to nothing the answers' log-ratios to the reference stay zero, round for round."""
    changes = {"peft": {"kind": "none"}, "training__learning_rate": 1e-12}
    result = run(tmp_path, cache_dir, name="rloo", **changes)
    assert result.metrics["train/kl"] == pytest.approx(0, abs=1e-4)
    moved = run(tmp_path / "moved", cache_dir, name="rloo", peft={"kind": "none"})
    assert moved.metrics["train/kl"] != pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("rso", {"method__candidates": 8, "method__accepted": 4}),
        ("online_dpo", {"method__prompts_per_round": 64, "method__rounds": 6}),
        ("rloo", {"method__prompts_per_round": 16, "method__rounds": 4, "method__answers": 4}),
    ],
)
def test_learning_from_the_known_reward_raises_it(
    tmp_path: Path, cache_dir: Path, name: str, changes: dict[str, Any]
) -> None:
    data = {"kind": "toy", "seed": 0, "max_train_samples": 96, "max_eval_samples": 64}
    reporter = Recorder()
    asked = {"data": data, "evaluation": evaluated(64, sampling_batch=64)}
    moved = run(tmp_path, cache_dir, reporter, name, training__learning_rate=4e-3, **asked, **changes)
    before, after = moved.metrics["eval/start_reward"], moved.metrics["eval/reward"]
    assert before is not None
    assert after is not None
    assert after > before + 0.5
    rewards = [value for _, value in reporter.of("train/reward_mean")]
    assert name == "rso" or rewards[-1] > rewards[0]


def test_what_rejection_sampling_keeps_is_better_than_what_was_sampled(tmp_path: Path, cache_dir: Path) -> None:
    metrics = run(tmp_path, cache_dir, name="rso", method__candidates=8).metrics
    sampled, kept = metrics["train/reward_mean"], metrics["train/accepted_reward_mean"]
    assert sampled is not None
    assert kept is not None
    assert kept > sampled + 1


@pytest.mark.parametrize(("loss", "pairing"), [("hinge", "first_round"), ("dpo", "tournament")])
def test_rejection_sampling_trains_with_either_loss_and_pairing(
    tmp_path: Path, cache_dir: Path, loss: str, pairing: str
) -> None:
    result = run(tmp_path, cache_dir, name="rso", method__loss=loss, method__pairing=pairing)
    assert (result.status, result.error) == ("completed", None)


def test_a_trained_reward_model_serves_and_reads_the_tokens_that_were_sampled(tmp_path: Path, cache_dir: Path) -> None:
    (tmp_path / "rm").mkdir()
    trained = train(run_spec(tmp_path / "rm", cache_dir, run_config("reward")), Recorder())
    assert trained.status == "completed"
    result = run(tmp_path / "run", cache_dir, method__reward_model=str(tmp_path / "rm" / "adapter"))
    assert (result.status, result.error) == ("completed", None)
    rewards = {value for line in samples(tmp_path / "run") for value in line["rewards"]}
    assert len(rewards) > 30


def test_rejection_sampling_without_two_answers_to_compare_says_so(tmp_path: Path, cache_dir: Path) -> None:
    """All candidates are the same one."""
    result = run(tmp_path, cache_dir, name="rso", method__temperature=1e-6)
    assert result.status == "failed"
    assert "there is nothing to train on: no two accepted answers to a prompt differ in reward" in str(result.error)


def test_a_judge_labels_the_rounds(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", "sk-never-written-anywhere")
    settings = method("online_dpo")["judge"]
    with JudgeServer(prefers_longer) as server:
        judge = {**settings, "base_url": server.url, "model": "judge-1", "key_variable": "TEST_JUDGE_KEY"}
        changes = {"method__reward_model": None, "method__judge": {**judge, "price_in": 1.0}}
        cache = tmp_path / "cache"
        (tmp_path / "cache").mkdir()
        (cache / "world").symlink_to(cache_dir / "world")
        result = run(tmp_path / "run", cache, **changes)
        asked = len(server.requests)
        assert (result.status, result.error) == ("completed", None)
        again = run(tmp_path / "again", cache, **changes)
        assert len(server.requests) == asked
    assert held_out(again) == held_out(result)
    assert "train/reward_mean" not in result.metrics
    assert result.metrics["train/judge_requests"] == asked > 20
    assert result.metrics["train/judge_cost_usd"] == pytest.approx(asked * 100 / 1e6)
    assert again.metrics["train/judge_cost_usd"] == 0
    for line in samples(tmp_path / "run")[:10]:
        longer = len(line["answers"][0]["text"]) - len(line["answers"][1]["text"])
        assert line["rewards"] == ([1.0, 0.0] if longer > 0 else [0.0, 1.0] if longer < 0 else [0.5, 0.5])
    files = [path for folder in (tmp_path / "run", cache / "judge") for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if b"sk-never-written-anywhere" in path.read_bytes()]


ROUNDS: dict[str, Any] = {"method__rounds": 4, "method__prompts_per_round": 4, "method__reward_model": None}


def judged(server: JudgeServer) -> dict[str, Any]:
    judge = {**method("online_dpo")["judge"], "base_url": server.url, "model": "judge-1", "concurrency": 1}
    return {**ROUNDS, "method__judge": {**judge, "price_in": 1.0}}


def cache_without_verdicts(folder: Path, cache_dir: Path) -> Path:
    folder.mkdir()
    (folder / "world").symlink_to(cache_dir / "world")
    return folder


def ties_in(cache_dir: Path, *rounds: int) -> Script:
    """A judge that prefers no answer in these rounds; each of 16 prompts comes in one of four."""
    asked = check(config("online_dpo", **{**ROUNDS, "method__reward_model": "builtin:gold"}))
    pairs = load_pairs(asked.data, cache_dir).train
    texts = dict.fromkeys(pair.prompt for pair in pairs)
    prompts = [Asked([place], text) for place, text in enumerate(texts)]
    tied = {prompt.text for number in rounds for prompt in prompts_of_round(prompts, number, 4, asked.seed).values()}
    return lambda body: "tie" if question_of(body)["question"] in tied else prefers_longer(body)


@pytest.mark.parametrize("skipped", [0, 1, 3])
def test_a_round_in_which_all_are_ties_is_left_out(tmp_path: Path, cache_dir: Path, skipped: int) -> None:
    reporter = Recorder()
    with JudgeServer(ties_in(cache_dir, skipped)) as server:
        result = run(
            tmp_path / "run", cache_without_verdicts(tmp_path / "cache", cache_dir), reporter, **judged(server)
        )
    assert (result.status, result.error) == ("completed", None)
    assert result.metrics["train/skipped_rounds"] == 1
    made = [value for _, value in reporter.of("train/made_pairs")]
    assert [number for number, value in enumerate(made) if value == 0] == [skipped]


def test_a_run_in_which_nothing_was_preferred_says_so(tmp_path: Path, cache_dir: Path) -> None:
    with JudgeServer(lambda _: "tie") as server:
        result = run(tmp_path / "run", cache_without_verdicts(tmp_path / "cache", cache_dir), **judged(server))
    assert result.status == "failed"
    assert result.error == (
        "InvalidInput: there is nothing to train on: in none of 4 rounds was an answer preferred to another: "
        "raise method.temperature"
    )


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_run_that_goes_on_after_a_round_that_was_left_out_ends_the_same(
    tmp_path: Path, cache_dir: Path, at: int
) -> None:
    with JudgeServer(ties_in(cache_dir, 1)) as server:
        cache = cache_without_verdicts(tmp_path / "cache", cache_dir)
        whole = run(tmp_path / "whole", cache, **judged(server))
        stopped = run(tmp_path / "parts", cache, Recorder(stop_at=at), **judged(server))
        assert (stopped.status, stopped.steps) == ("cancelled", at)
        parts = run(tmp_path / "parts", cache, **judged(server))
    assert (parts.status, parts.steps, whole.steps) == ("completed", 3, 3)
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-5)
    assert parts.metrics["train/skipped_rounds"] == 1


@pytest.mark.parametrize("answers", [1, 3])
def test_what_a_judge_costs_is_counted_through_all_attempts(tmp_path: Path, cache_dir: Path, answers: int) -> None:
    """Also of replies that came just before the run was stopped, and label nothing yet."""
    with JudgeServer() as server:
        cache = cache_without_verdicts(tmp_path / "cache", cache_dir)
        changes = {**judged(server), "method__sampling_batch": 4}
        stopping = Recorder(stop_in="sampling", after_asking=answers)
        assert run(tmp_path / "run", cache, stopping, **changes).status == "cancelled"
        assert run(tmp_path / "run", cache, Recorder(stop_at=2), **changes).status == "cancelled"
        result = run(tmp_path / "run", cache, **changes)
        asked = len(server.requests)
    assert (result.status, result.metrics["train/judge_requests"]) == ("completed", asked)
    assert result.metrics["train/judge_cost_usd"] == pytest.approx(asked * 100 / 1e6)


def test_a_backward_model_writes_prompts_of_the_language(tmp_path: Path, cache_dir: Path) -> None:
    """None of them begins like a prompt before it is trained: the policy only ever wrote answers."""
    data = {"kind": "toy", "seed": 0, "max_train_samples": 128, "max_eval_samples": 8}
    changes = {"peft": {"kind": "none"}, "training__epochs": 4, "training__learning_rate": 3e-3}
    run(tmp_path, cache_dir, name="backtranslation", data=data, method__iterations=1, **changes)
    written = [line["answers"][0]["text"] for line in samples(tmp_path) if line["phase"] == "instructions"]
    assert len(written) == 64
    assert sum(text.startswith(OPENINGS) for text in written) > 20


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("rso", {"method__reward_model": None}, r"needs a reward model: give method\.reward_model=FOLDER"),
        ("rloo", {"method__reward_model": None}, r"needs a reward model"),
        ("online_dpo", {"method__reward_model": None}, r"or a judge: method\.judge\.base_url"),
        ("rso", {"method__reward_model": "builtin:silver"}, r"the only one built in is builtin:gold"),
        ("backtranslation", {"method__reward_model": None, "method__score": "reward_model"}, "needs a reward model"),
        ("rso", {"reference": {"kind": "none"}}, "needs a reference"),
        ("rso", {"reference": {"kind": "moving", "mixup": 0.5, "sync_steps": 4}}, "no use for reference=moving"),
    ],
)
def test_a_method_that_lacks_its_needs_is_refused(name: str, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        check(config(name, **changes))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://x", "no address"),
        ("https://", "no address"),
        ("https://x/v1?key=1", "no address"),
        ("http://u:sk-1@x", "no name or"),
    ],
)
def test_an_endpoint_that_is_none_is_refused_without_quoting_a_key(url: str, told: str) -> None:
    judge = {**method("online_dpo")["judge"], "base_url": url, "model": "m"}
    with pytest.raises(InvalidInput, match=told) as refused:
        check(config("online_dpo", method__reward_model=None, method__judge=judge))
    assert "sk-1" not in str(refused.value)


def test_a_judge_and_a_reward_model_are_one_too_many() -> None:
    judge = {**method("online_dpo")["judge"], "base_url": "https://x/v1", "model": "m"}
    with pytest.raises(InvalidInput, match="give one of them"):
        check(config("online_dpo", method__judge=judge))


def test_gold_knows_the_built_in_world_only() -> None:
    data = yaml.safe_load((Path(__file__).resolve().parents[2] / "conf" / "data" / "hh.yaml").read_text())
    with pytest.raises(InvalidInput, match="knows the built-in world only"):
        check(config("rso", data=data))
