"""The main job on real weights: compose, train, evaluate, track, tabulate, and go on after a kill."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.fakes.judged_pairs import judged_pairs
from trainers.world import policy

pytestmark = pytest.mark.slow

SMALL = ["model=tiny", "data.max_train_samples=32", "data.max_eval_samples=16", "training.max_length=256"]
KEY = "0123456789abcdef0123456789abcdef01234567"


def test_three_methods_train_and_are_compared(cli: Cli):
    """The title's line, on the built-in model and data."""
    code, text = cli.finish(
        cli.sweep("method=dpo,ipo,orpo", *SMALL, "tracking=disabled", "-m", "beta=0.1,0.5", "launcher.workers=2")
    )
    assert code == 0, text
    rows = list(csv.DictReader((cli.study / "table.csv").open()))
    assert [(row["method"], row["beta"]) for row in rows] == [
        (method, beta) for method in ("dpo", "ipo", "orpo") for beta in ("0.1", "0.5")
    ]
    assert {row["state"] for row in rows} == {"complete"}
    assert len({row["eval/margin_nats"] for row in rows}) == len(rows), "each trial has trained a policy of its own"
    assert sum(row["best"] == "best" for row in rows) >= 1
    for run in cli.study.glob("runs/*"):
        assert (run / "adapter" / "adapter_model.safetensors").exists()
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(steps)
        assert steps[-1] == 4


def test_pairs_that_people_judged_train(cli: Cli, repository: Path, tmp_path: Path):
    """With what spoils them told."""
    pairs = judged_pairs(repository, tmp_path)
    words = ["method=dpo,sft", *SMALL, "data=jsonl", f"data.path={pairs}", "tracking=disabled"]
    code, text = cli.finish(cli.sweep(*words, "-m", "beta=0.1,0.2"))
    assert code == 0, text
    assert "repeat an earlier pair" in text
    results = cli.results()
    assert len(results) == 3, "sft has no strength: one run for both"
    assert all(result.metrics["eval/pairs"] == 16 for result in results.values())


def test_a_run_killed_in_training_goes_on_from_its_checkpoint(cli: Cli):
    """kill -9 in the middle: the next attempt begins at the newest checkpoint, and its numbers are those of no kill."""
    words = [*SMALL, "training.batch_size=2", "training.save_steps=2", "training.logging_steps=1", "tracking=disabled"]
    process = cli.sweep(*words)
    run = cli.run_under_way()
    until = time.monotonic() + 60
    while not list(run.glob("checkpoints/checkpoint-4")):
        assert time.monotonic() < until, "no checkpoint came"
        time.sleep(0.002)
    os.kill(json.loads((run / "heartbeat").read_text())["pid"], signal.SIGKILL)
    code, text = cli.finish(process)
    assert code == 1
    assert "killed by signal 9" in text
    code, text = cli.finish(cli.start("resume", str(cli.study)))
    assert code == 0, text
    resumed = next(iter(cli.results().values()))
    assert resumed.attempts == 2
    times = {line["step"]: line["time"] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())}
    assert sorted(times) == list(range(1, 17)), "each step is there once"
    assert (
        max(later - earlier for earlier, later in zip(list(times.values()), list(times.values())[1:], strict=False)) > 1
    )

    whole = Cli(cli.repository, cli.out / "again", Path(cli.environment["PREFSWEEP_CACHE"]))
    assert whole.finish(whole.sweep(*words))[0] == 0
    expected = next(iter(whole.results().values()))
    assert resumed.metrics["eval/margin_nats"] == pytest.approx(expected.metrics["eval/margin_nats"], abs=1e-5)


def test_a_loss_that_is_no_number_fails_its_run_alone(cli: Cli):
    code, text = cli.finish(
        cli.sweep(*SMALL, "tracking=disabled", "-m", "training.learning_rate=1e-3,1e30", "training.max_grad_norm=0")
    )
    assert code == 1
    assert "lower training.learning_rate" in text
    assert sorted(result.status for result in cli.results().values()) == ["completed", "failed"]


def test_an_unreachable_tracker_costs_no_run_and_no_key(cli: Cli):
    """A key is configured, its server is not there: the run goes on, says so once, and the key is nowhere on disk."""
    words = [*SMALL, "tracking=online", "tracking.base_url=http://127.0.0.1:9"]
    code, text = cli.finish(cli.sweep(*words, WANDB_API_KEY=KEY))
    assert code == 0, text
    assert KEY not in text
    for path in cli.out.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_data_that_changed_since_are_not_mixed_in(cli: Cli, tmp_path: Path):
    """A study that goes on after an edit of its data says so, and trains nothing on the new ones."""
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Question {i}?", "chosen": f"Right {i}", "rejected": f"Wrong {i}"} for i in range(40)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["data=jsonl", f"data.path={pairs}", "tracking=disabled", "-m", "beta=0.1,0.2"]
    assert cli.finish(cli.sweep(*words))[0] == 0
    next(cli.study.glob("runs/t0001*/result.json")).unlink()
    pairs.write_text(pairs.read_text().replace("Right 3", "Right !"))
    code, text = cli.finish(cli.start("resume", str(cli.study)))
    assert code == 1
    assert f"data.path={pairs} has changed since the study was made" in text
    code, text = cli.finish(cli.sweep(*words))
    assert code == 2
    assert "has changed since the study was made" in text


def test_the_qlora_overlay_runs_in_the_small(cli: Cli, tmp_path: Path):
    """ORPO, 4-bit NF4, LoRA, paged 8-bit AdamW and chat data, as for 7B, on the built-in policy as a local model."""
    for split, count in (("train_prefs", 24), ("test_prefs", 8)):
        lines = []
        for i in range(count):
            asked = {"role": "user", "content": f"Question {split} {i}?"}
            good, bad = ({"role": "assistant", "content": f"{text} {i}"} for text in ("Yes", "No"))
            lines.append(json.dumps({"prompt": asked["content"], "chosen": [asked, good], "rejected": [asked, bad]}))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    model = policy(Path(cli.environment["PREFSWEEP_CACHE"]))
    code, text = cli.finish(
        cli.sweep("+experiment=orpo_mistral_qlora", f"model.path={model}", "model.parameters_b=0.0001",
                  f"data.path={tmp_path}", "training.max_steps=3", "evaluation.every=2", "tracking=disabled")
    )  # fmt: skip
    assert code == 0, text
    (result,) = cli.results().values()
    assert result.steps == 3
    assert result.metrics["eval/pairs"] == 8
    assert "bitsandbytes" in result.versions


def test_runs_in_the_controllers_own_process_give_the_same_numbers(cli: Cli):
    words = [*SMALL, "tracking=disabled"]
    assert cli.finish(cli.sweep(*words))[0] == 0
    inline = Cli(cli.repository, cli.out / "inline", Path(cli.environment["PREFSWEEP_CACHE"]))
    assert inline.finish(inline.sweep(*words, "launcher=inline"))[0] == 0
    (one,), (other,) = cli.results().values(), inline.results().values()
    assert one.metrics["eval/margin_nats"] == pytest.approx(other.metrics["eval/margin_nats"], abs=1e-5)
