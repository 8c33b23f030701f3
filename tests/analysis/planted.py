"""Studies with planted rewards, for tests of what is said of them: prompts and seeds differ, and one strength is best.

planted(tmp_path, {0.05: 1.0, 0.1: 1.0, 0.5: 0.2}) -> DPO at three strengths, of which the first two are equally good
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.fakes.finished_study import Finished, finished_study

PROMPTS = 60


def planted(
    root: Path,
    rewards: Mapping[float, float],
    *,
    methods: Sequence[str] = ("dpo",),
    seeds: Sequence[int] = (0, 1, 2),
    seed_sd: float = 0.02,
    prompts: int = PROMPTS,
    name: str = "study",
    more: Sequence[Finished] = (),
    config: Mapping[str, Any] | None = None,
) -> Path:
    """The folder of a study whose runs have answers with these mean rewards, by strength."""
    random = np.random.default_rng(0)
    hard = random.normal(size=prompts)
    runs = [
        answered(method, beta, seed, mean + seed_sd * random.normal(), hard, random, config or {})
        for method in methods
        for beta, mean in rewards.items()
        for seed in seeds
    ]
    return finished_study(root, [*runs, *more], name=name)


def answered(
    method: str,
    beta: float,
    seed: int,
    mean: float,
    hard: "np.ndarray[Any, Any]",
    random: np.random.Generator,
    config: Mapping[str, Any],
) -> Finished:
    """A run whose answers have rewards around `mean`, less where a prompt is hard; its KL is 1/beta."""
    rewards = mean - hard + 0.3 * random.normal(size=len(hard))
    starts = -hard + 0.3 * random.normal(size=len(hard))
    kls = (1 / beta) * np.exp(0.1 * random.normal(size=len(hard)))
    wins = (rewards > starts).astype(float)
    answers = [
        answer(place, reward=rewards[place], start_reward=starts[place], kl=kls[place], win=wins[place],
               text=f"{method} {beta:g} says {place}")
        for place in range(len(hard))
    ]  # fmt: skip
    metrics = {
        "eval/reward": float(rewards.mean()),
        "eval/start_reward": float(starts.mean()),
        "eval/kl": float(kls.mean()),
        "eval/win_rate": float(wins.mean()),
        "eval/length": 12.0,
        "train/loss": 0.5 * beta,
        "train/rewards/margins": beta,
    }
    return Finished(method, beta, seed, metrics=metrics, answers=answers, config=config)


def answer(place: int, **values: Any) -> dict[str, Any]:
    """One line of answers.jsonl."""
    known = {
        "prompt": f"{place:016x}", "prompt_text": f"question {place}", "text": "yes", "tokens": 12, "ended": True,
        "kl": 1.0, "k1": 1.0, "k3": 1.0, "entropy": 1.0, "repetition": 0.0, "reward": 0.0, "start_text": "no",
        "start_tokens": 3, "start_reward": 0.0, "win": 0.5, "opponent": "start",
    }  # fmt: skip
    plain = {name: float(value) if isinstance(value, np.floating) else value for name, value in values.items()}
    return {**known, **plain}
