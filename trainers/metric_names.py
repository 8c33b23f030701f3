"""Names of metrics: those of the scorer, and how TRL's spellings become ours.

{"loss": 0.69, "rewards/chosen": 0.1, "train_runtime": 3.2} -> {"train/loss": 0.69, "train/rewards/chosen": 0.1,
"train/runtime_s": 3.2}
"""

from collections.abc import Mapping
from typing import Any

# What `trainers.evaluation.pairs.metrics` measures; then of a reward model.
EVAL_METRICS = (
    "eval/reward_accuracy",
    "eval/policy_accuracy",
    "eval/policy_accuracy_norm",
    "eval/margin_nats",
    "eval/chosen_logratio",
    "eval/rejected_logratio",
    "eval/pairs",
    "eval/rm_margin",
)
# What `trainers.evaluation.examine` measures of sampled answers, where evaluation.samples asks for some.
SAMPLE_METRICS = (
    "eval/kl", "eval/kl_se", "eval/kl_per_token", "eval/kl_per_token_se", "eval/kl_k1", "eval/kl_k1_se", "eval/kl_k3",
    "eval/kl_k3_se", "eval/entropy", "eval/repetition", "eval/length", "eval/ended", "eval/answers", "eval/reward",
    "eval/reward_se", "eval/start_reward", "eval/win_rate", "eval/win_rate_se", "eval/win_rate_lc",
    "eval/win_rate_lc_se", "eval/degenerate", "eval/judge_win_rate", "eval/judge_win_rate_se", "eval/judge_win_rate_lc",
    "eval/judge_win_rate_lc_se", "eval/judge_calls", "eval/judge_tokens_in", "eval/judge_tokens_out",
    "eval/judge_cost_usd",
)  # fmt: skip
# Of held-out pairs, whose measures are also told by the length of their answers, as eval/margin_nats.short.
LENGTHS = ("short", "medium", "long")
# What the trainer tells once, at the end.
_AT_THE_END = {
    "train_runtime": "train/runtime_s",
    "train_samples_per_second": "train/pairs_per_second",
    "train_steps_per_second": "train/steps_per_second",
    # The mean over the whole run, beside the last steps' `train/loss`.
    "train_loss": "train/loss_mean",
}
# The trainer counts operations with a formula for dense pretraining, which adapters and pairs do not fit.
# Its history names the step of each entry besides.
_DROPPED = {"total_flos", "step"}


def from_trl(logs: Mapping[str, Any]) -> dict[str, float]:
    """TRL's log of one moment under `train/`, TRL's own names kept; values that are no numbers are left out."""
    return {
        _AT_THE_END.get(name, f"train/{name}"): float(value)
        for name, value in logs.items()
        if name not in _DROPPED and isinstance(value, int | float)
    }
