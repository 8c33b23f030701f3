"""What tests of the analysis share: runs with all their parts, and frames to compare."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from tests.fakes.finished_study import Finished

PAIRS = {
    "pair": ["00000000000000aa", "00000000000000bb"],
    "chosen_logp": [-10.0, -12.5],
    "rejected_logp": [-11.0, -9.25],
    "chosen_logratio": [1.5, -0.5],
    "rejected_logratio": [-2.0, 0.25],
    "chosen_tokens": [5, 7],
    "rejected_tokens": [6, 4],
}
ANSWER = {
    "prompt": "00000000000000cc", "prompt_text": "Say <b>hi</b>", "text": "hi \u2028 \x00 \U0001f600", "tokens": 3,
    "ended": True, "kl": 0.5, "k1": 0.75, "k3": 0.625, "entropy": 1.25, "repetition": 0.0, "reward": None,
    "start_text": "ho", "start_tokens": 2, "start_reward": None, "win": 0.5, "opponent": "start",
}  # fmt: skip
TOKENS = {"eos": {"id": 2, "mean_logratio": 0.5, "logp": -1.0, "count": 4}, "lowered": [], "raised": []}


def whole_run(beta: float = 0.1, seed: int = 0, **changes: Any) -> Finished:
    """A run with a history of three steps and an evaluation."""
    history = [
        {"step": step, "time": 1.8e9 + step, "train/loss": 0.7 - step * beta, "train/rewards/margins": step * 0.25}
        for step in (1, 2, 3)
    ]
    last = {"train/loss": 0.7 - 3 * beta, "train/rewards/margins": 0.75}
    values: Mapping[str, Any] = {
        "beta": beta,
        "seed": seed,
        "metrics": {"eval/reward_accuracy": 0.75, "eval/kl": beta, **last},
        "history": [*history, {"step": 3, "time": 1.8e9, "eval/reward_accuracy": 0.75, "eval/kl": beta}],
        "pairs": PAIRS,
        "answers": [ANSWER, {**ANSWER, "prompt": "00000000000000dd", "reward": 2.5, "win": None}],
        "tokens": TOKENS,
        "evaluated": {"temperature": 1.0},
    }
    return Finished(**{**values, **changes})


@pytest.fixture
def same() -> Any:
    """Whether two frames say the same of the same runs, but for where these were read from."""

    def compare(one: pd.DataFrame, other: pd.DataFrame, but: tuple[str, ...] = ("source",)) -> None:
        both = [frame.sort_values("run_id").reset_index(drop=True).drop(columns=list(but)) for frame in (one, other)]
        pd.testing.assert_frame_equal(both[0], both[1], check_like=True)

    return compare
