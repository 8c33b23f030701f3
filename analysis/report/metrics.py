"""Which metrics a report shows, in which order, and how it calls them.

eval/kl_per_token -> Metric("eval/kl_per_token", "KL per token", "nats", better="lower")
"""

from collections.abc import Sequence
from typing import Literal

from analysis.errors import BadQuestion
from analysis.report.content import Metric
from analysis.runs import Runs

Better = Literal["higher", "lower"] | None
# By which runs are ranked where nobody says: the first of these that a completed run has.
RANKED_BY = (
    "eval/win_rate",
    "eval/judge_win_rate",
    "eval/reward",
    "eval/reward_accuracy",
    "eval/policy_accuracy",
    "eval/margin_nats",
)
# Numbers that are no score of a policy: how many there are, and errors of other numbers.
_NO_SCORES = (
    "eval/pairs", "eval/answers", "eval/degenerate", "eval/judge_calls", "eval/judge_tokens_in",
    "eval/judge_tokens_out", "eval/judge_cost_usd",
)  # fmt: skip
# Log-probabilities of the token that ends an answer, from the token study.
EOS_LOGRATIO, EOS_LOGP = "tokens/eos_logratio", "tokens/eos_logp"
# Bookkeeping of the trainer: straight lines.
_DULL_CURVES = ("train/epoch", "train/num_tokens", "eval/pairs")

# Losses differ in kind between methods, and none of them says which policy is better.
_KNOWN: dict[str, tuple[str, str, Better]] = {
    "eval/win_rate": ("win rate", "", "higher"),
    "eval/win_rate_lc": ("win rate, length-controlled", "", "higher"),
    "eval/judge_win_rate": ("win rate by judge", "", "higher"),
    "eval/judge_win_rate_lc": ("win rate by judge, length-controlled", "", "higher"),
    "eval/reward": ("reward", "", "higher"),
    "eval/start_reward": ("reward of the opponent", "", None),
    "eval/reward_accuracy": ("reward accuracy", "", "higher"),
    "eval/policy_accuracy": ("policy accuracy", "", "higher"),
    "eval/policy_accuracy_norm": ("policy accuracy per token", "", "higher"),
    "eval/margin_nats": ("margin", "nats", "higher"),
    "eval/chosen_logratio": ("log-ratio of the chosen", "nats", None),
    "eval/rejected_logratio": ("log-ratio of the rejected", "nats", None),
    "eval/kl": ("KL to the reference", "nats", "lower"),
    "eval/kl_k3": ("KL to the reference, k3", "nats", "lower"),
    "eval/kl_per_token": ("KL per token", "nats", "lower"),
    "eval/entropy": ("entropy per token", "nats", None),
    "eval/repetition": ("repetition", "", "lower"),
    "eval/length": ("length of an answer", "tokens", None),
    "eval/ended": ("answers that ended", "", "higher"),
    "eval/rm_margin": ("margin of the reward model", "", "higher"),
    "train/loss": ("training loss", "", None),
    "train/loss_mean": ("mean training loss", "", None),
    "train/grad_norm": ("gradient norm", "", None),
    "train/learning_rate": ("learning rate", "", None),
    "train/rewards/margins": ("margin times strength, in training", "", None),
    "train/rewards/accuracies": ("reward accuracy in training", "", None),
    EOS_LOGRATIO: ("log-ratio of EOS", "nats", None),
    EOS_LOGP: ("log-probability of EOS", "nats", None),
}


def metric(name: str, decimals: int = 3) -> Metric:
    """How a metric is told; of one that is not known, its own name says what it is."""
    base, _, bucket = name.partition(".")
    label, unit, better = _KNOWN.get(base, (_spelt(base), "", None))
    return Metric(name, f"{label}, {bucket} answers" if bucket else label, unit, better, decimals)


def ranked_by(runs: Runs, asked: str | None) -> str:
    """The metric to rank by: the one asked for, else the first of RANKED_BY that there is; "" where there is none.

    Raises BadQuestion where no run has the one asked for.
    """
    there = with_values(runs)
    if asked is not None:
        if asked in there:
            return asked
        raise BadQuestion(f"{asked}: no completed run has this metric; there are {', '.join(there) or 'none'}")
    return next((name for name in (*RANKED_BY, *there) if name in there), "")


def with_values(runs: Runs) -> list[str]:
    """Metrics that some completed run has, evaluation's first."""
    frame = runs.completed.frame
    found = [name for name in runs.metrics if name in frame and frame[name].notna().any()]
    return sorted(found, key=lambda name: (not name.startswith("eval/"), name))


def scores(runs: Runs, first: str) -> list[str]:
    """Metrics that charts may show of a cell, the one ranked by first."""
    shown = [name for name in with_values(runs) if name not in _NO_SCORES and not name.endswith("_se")]
    shown = [name for name in shown if name.startswith("eval/") or name in ("train/loss", "train/loss_mean")]
    return ([first] if first else []) + [name for name in shown if name != first]


def curves(names: Sequence[str], first: str, most: int) -> list[str]:
    """Metrics of training to draw, at most so many: the one ranked by, the loss, evaluation's, then the trainer's."""
    known = list(_KNOWN)
    order = {first: -3, "train/loss": -2}

    def place(name: str) -> tuple[int, int, str]:
        return (
            order.get(name, 0 if name.startswith("eval/") else 1),
            known.index(name) if name in _KNOWN else 99,
            name,
        )

    kept = [name for name in names if name not in _DULL_CURVES and not name.endswith("_se")]
    return sorted(kept, key=place)[:most]


def _spelt(name: str) -> str:
    room, _, rest = name.partition("/")
    words = rest.replace("_", " ").replace("/", ": ")
    return f"{words} in training" if room == "train" else words or name
