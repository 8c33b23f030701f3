"""Training on answers one by one: the loss by hand, and whole runs."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.answers import section
from tests.fakes.tiny_runs import Ignored, Recorder, bandit, pair, probabilities, run_config, run_spec, training_of
from trainers import losses, world
from trainers.data_config import Toy
from trainers.evaluation.scorer import Scores
from trainers.spec import RunResult
from trainers.train import train
from trainers.trl_engine import build

HELD_OUT = 3


class Told(Ignored):
    """Keeps what the trainer tells."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def logged(self, step: int, metrics: Mapping[str, float]) -> bool:
        self.values |= metrics
        return False


def test_two_answers_of_known_log_ratios_have_kto_s_loss(tmp_path: Path) -> None:
    """With beta = 1, z0 = mean(0.1, 0.5) = 0.3, weights 2 and 3:

    the good answer's log-ratio is z0 + ln 3: 2 (1 - 3/4) = 0.5; the bad one's is z0: 3 (1 - 1/2) = 1.5; the mean is 1.
    """
    policy = bandit([0.3, -0.2, 0.5, 0.1, -0.4])
    logps = probabilities(policy).log()
    # Answers 1 and 2, and beside them 3 and 4 as answers to other prompts.
    pairs = [pair([1], [3]), pair([2], [4])]
    z0, count = 0.3, torch.ones(2, dtype=torch.long)
    own, others = torch.tensor([z0 + math.log(3), z0]), torch.tensor([0.1, 0.5])
    reference = Scores(logps[[1, 2]] - own, logps[[3, 4]] - others, count, count)
    weights = {"beta": 1.0, "desirable_weight": 2.0, "undesirable_weight": 3.0}
    made = training_of(policy, pairs, tmp_path, {"name": "kto", **weights}, reference)
    watch = Told()
    trainer, _ = build(dataclasses.replace(made, watch=watch, desirable=[True, False]))
    trainer.train()
    expected = losses.kto(own, torch.tensor([True, False]), torch.tensor(z0), **weights).mean()
    assert expected.item() == pytest.approx(1.0)
    assert watch.values["train/loss"] == pytest.approx(1.0, abs=1e-5)
    assert watch.values["train/kl"] == pytest.approx(z0, abs=1e-5)


def data(folder: Path, cache_dir: Path, answers: int) -> dict[str, Any]:
    """The built-in world's answers one by one, good and bad in turn, with held-out pairs of other prompts."""
    toy = Toy(kind="toy", seed=0, max_train_samples=answers, max_eval_samples=HELD_OUT)
    train_pairs, heldout = world.toy_pairs(toy, cache_dir)
    rows = [
        {"prompt": one.prompt, "completion": one.rejected if number % 2 else one.chosen, "label": number % 2 == 0}
        for number, one in enumerate(train_pairs)
    ]
    held = [{"prompt": one.prompt, "chosen": one.chosen, "rejected": one.rejected} for one in heldout]
    return section(folder, rows, held)


def run(folder: Path, cache_dir: Path, reporter: Recorder, method: str, answers: int, **changes: Any) -> RunResult:
    config = run_config(method, data=data(folder, cache_dir, answers), **changes)
    result = train(run_spec(folder / "run", cache_dir, config), reporter)
    reporter.do_what_is_left()
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "answers", "steps"), [("kto", 17, 6), ("kto", 16, 4), ("sft", 17, 6)], ids=["odd", "even", "nine good"]
)
def test_two_epochs_take_the_steps_that_were_told(
    tmp_path: Path, cache_dir: Path, method: str, answers: int, steps: int
) -> None:
    """Batches of four pairs are eight answers: 17 make three; the nine good ones among 17 are three of four."""
    reporter = Recorder()
    result = run(tmp_path, cache_dir, reporter, method, answers, training__epochs=2)
    assert (result.status, result.error, result.steps) == ("completed", None, steps)
    assert ("training", steps) in reporter.phases
    assert result.metrics["train/epoch"] == 2.0
    assert result.metrics["eval/pairs"] == HELD_OUT


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, cache_dir: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = run(tmp_path / "a", cache_dir, Recorder(), "kto", 17, training__epochs=2)
    first = run(tmp_path / "b", cache_dir, Recorder(stop_at=2), "kto", 17, training__epochs=2)
    again = run(tmp_path / "b", cache_dir, Recorder(), "kto", 17, training__epochs=2)
    assert (first.status, again.status) == ("cancelled", "completed")
    assert again.metrics["eval/margin_nats"] == pytest.approx(whole.metrics["eval/margin_nats"], abs=1e-5)


@pytest.mark.slow
def test_kto_raises_good_answers_and_lowers_bad_ones(tmp_path: Path, cache_dir: Path) -> None:
    reporter = Recorder()
    result = run(
        tmp_path, cache_dir, reporter, "kto", 16, training__epochs=8, training__learning_rate=5e-3,
        training__logging_steps=1,
    )  # fmt: skip
    margins = [value for _, value in reporter.of("train/rewards/margins")]
    assert result.status == "completed"
    assert margins[0] == pytest.approx(0, abs=1e-4)
    assert margins[-1] > 0.5
