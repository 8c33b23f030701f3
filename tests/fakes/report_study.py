"""Runs with all that a report shows, made up but of a plausible shape: for its tests, its benchmark, and to look at.

    finished_study(root, report_runs(methods=("dpo", "ipo"), strengths=(0.05, 0.1), seeds=(0, 1)))

Scores are hump-shaped in the strength, KL falls with it, and what each method and reference is worth is planted.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tests.fakes.finished_study import Finished, changed

WORTH = {"dpo": 0.66, "ipo": 0.63, "orpo": 0.58, "kto": 0.61, "simpo": 0.6, "sft": 0.52}
BEST_STRENGTH = {"dpo": 0.1, "ipo": 0.2, "orpo": 0.3, "kto": 0.05, "simpo": 0.5}
SELF = {"kind": "self"}
LARGER = {"kind": "model", "path": "/models/larger"}
SUBJECTS = ("a river", "the old clock", "bread", "a lighthouse", "two cats", "the moon", "a violin", "rain")
TASKS = (
    "Describe {} to a child.",
    "Write two sentences about {}.",
    "What would {} say, could it speak?",
    "Why is {} useful?",
)
OPENINGS = ("Think of", "Imagine", "Let me tell you about", "There is something about")
TOKENS = (
    " the", " a", ".", ",", " not", " I", "\n", " however", " Certainly", "!", "</s>", " sorry", "##", " very", "é",
    " but", " and", " of", " as", " an", " AI", "\t", " sure", " happy", " help", ":", ";", " no", " yes", "…",
)  # fmt: skip


def report_runs(
    methods: Sequence[str] = ("dpo", "ipo", "orpo"),
    strengths: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.5),
    seeds: Sequence[int] = (0, 1),
    references: Sequence[Mapping[str, Any]] = (SELF,),
    steps: int = 60,
    prompts: int = 6,
    log_every: int = 1,
) -> list[Finished]:
    """A run for each combination, all completed."""
    return [
        _run(method, strength, seed, reference, steps, prompts, log_every)
        for method in methods
        for reference in references
        for strength in strengths
        for seed in seeds
    ]


def with_trouble(runs: Sequence[Finished]) -> list[Finished]:
    """The same with two failed runs, one that never ended, a cancelled one and two that are degenerate."""
    made = list(runs)
    error = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    for place in (3, 4):
        made[place] = changed(made[place], status="failed", error=error, metrics={}, answers=(), tokens=None)
    made[7] = changed(made[7], status=None, metrics={}, answers=(), tokens=None)
    made[8] = changed(made[8], status="cancelled", metrics={}, answers=(), tokens=None)
    for place in (10, 11):
        made[place] = changed(made[place], degenerate="repetition 0.83 is above 0.5")
    return made


def _run(
    method: str, strength: float, seed: int, reference: Mapping[str, Any], steps: int, prompts: int, log_every: int
) -> Finished:
    larger = reference.get("kind") == "model"
    key = f"{method} {strength} {seed} {larger}"
    chance = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]))
    off = math.log10(strength / BEST_STRENGTH.get(method, 0.1))
    kl = 9 * strength**-0.45 * (1.15 if method == "ipo" else 1) * (0.8 if larger else 1) + chance.normal(0, 0.4)
    win = WORTH.get(method, 0.6) - 0.09 * off**2 + (0.03 if larger else 0) + chance.normal(0, 0.012)
    metrics = {
        "eval/win_rate": float(win),
        "eval/reward": float(6 * (win - 0.5) + chance.normal(0, 0.05)),
        "eval/kl": float(max(kl, 0.1)),
        "eval/kl_per_token": float(max(kl, 0.1) / 40),
        "eval/reward_accuracy": float(0.5 + (win - 0.5) * 0.9),
        "eval/margin_nats": float(2 + 0.3 * kl),
        "eval/length": float(38 + 4 * off + chance.normal(0, 1)),
        "eval/pairs": 256.0,
        "train/loss": 0.45,
    }
    return Finished(
        method, strength, seed, metrics=metrics, config={"reference": dict(reference)},
        params={"reference": "model" if larger else "self"},
        history=list(_history(chance, metrics, steps, log_every)),
        answers=list(_answers(chance, key, metrics, prompts)) if prompts else (),
        tokens=_tokens(chance, strength) if prompts else None,
    )  # fmt: skip


def _history(
    chance: np.random.Generator, metrics: Mapping[str, float], steps: int, log_every: int
) -> Iterator[Mapping[str, Any]]:
    noise = chance.normal(0, 1, (steps + 1, 3))
    for step in range(log_every, steps + 1, log_every):
        part = step / steps
        fall = math.exp(-3 * part)
        yield {
            "step": step,
            "time": 1.77e9 + step,
            "train/loss": 0.42 + 0.27 * fall + 0.02 * noise[step, 0],
            "train/grad_norm": float(0.4 + abs(noise[step, 1]) * 0.3),
            "train/rewards/margins": 0.8 * (1 - fall) + 0.06 * noise[step, 2],
            "train/learning_rate": 5e-6 * (1 - part),
        }
        if step % max(1, steps // 10) == 0:
            yield {
                "step": step,
                "time": 1.77e9 + step,
                "eval/win_rate": 0.5 + (metrics["eval/win_rate"] - 0.5) * (1 - fall) + 0.008 * noise[step, 1],
                "eval/reward": metrics["eval/reward"] * (1 - fall),
                "eval/kl": metrics["eval/kl"] * part,
            }


def _answers(
    chance: np.random.Generator, key: str, metrics: Mapping[str, float], prompts: int
) -> Iterator[Mapping[str, Any]]:
    for place in range(prompts):
        subject = SUBJECTS[place % len(SUBJECTS)]
        asked = TASKS[place % len(TASKS)].format(subject)
        reward, started = metrics["eval/reward"] + chance.normal(0, 1), chance.normal(0, 1)
        length = int(chance.integers(1, 4))
        tone = ("quiet", "bright", "patient", "stubborn", "kind")[int(chance.integers(0, 5))]
        yield {
            "prompt": hashlib.sha256(f"{place} {asked}".encode()).hexdigest()[:16],
            "prompt_text": asked,
            "text": f"{OPENINGS[int(chance.integers(0, 4))]} {subject}: "
            + f"it is {tone} and it keeps on going. " * length,
            "tokens": 14 * length + 6,
            "ended": bool(chance.random() < 0.9),
            "kl": float(abs(metrics["eval/kl"] + chance.normal(0, 2))),
            "k1": 1.0,
            "k3": 1.0,
            "entropy": 1.4,
            "repetition": 0.1,
            "reward": float(reward),
            "start_text": f"{subject.capitalize()} is a thing that many people know.",
            "start_tokens": 11,
            "start_reward": float(started),
            "win": 1.0 if reward > started else 0.0,
            "opponent": "start",
        }


def _tokens(chance: np.random.Generator, strength: float) -> Mapping[str, Any]:
    width = 0.25 * strength**-0.4
    ratios = chance.normal(-0.15, width, 1500)
    counts, edges = np.histogram(ratios, bins=40, range=(-4, 4))

    def listed(sign: int) -> list[dict[str, Any]]:
        sizes = np.sort(np.abs(chance.normal(0, width, 50)) + 2 * width)[::-1]
        return [
            {
                "id": place,
                "token": TOKENS[place % len(TOKENS)],
                "mean_logratio": sign * float(size),
                "count": 90 - place,
            }
            for place, size in enumerate(sizes)
        ]

    return {
        "eos": {"id": 2, "token": "</s>", "mean_logratio": -1.1 * width, "logp": -2.0 - width, "count": 256},
        "lowered": listed(-1),
        "raised": listed(1),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
