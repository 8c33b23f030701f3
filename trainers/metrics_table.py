"""Every metric, one row each: what it is, in which unit, which way is better, and what its number depends on.

"eval/margin_nats" -> Metric(unit="nats", better="maximize", depends={"reference"}, instead=("eval/policy_accuracy",)):
a number that is only told beside a reference ranks nothing across references.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from trainers.metric_names import LENGTHS

Direction = Literal["maximize", "minimize"]
# What must be alike among runs whose numbers are set side by side. `method`: its loss; `strength`: its beta, tau or
# lambda; `reference`: what log-ratios are taken to; `tokenizer`: what a token is; `opponent`: whose answers they are
# judged against; `rater`: the reward model; `judge`: the judge; `sampling`: how answers were drawn. Held-out data must
# be for all.
Dependence = Literal["method", "strength", "reference", "tokenizer", "opponent", "rater", "judge", "sampling"]


@dataclass(frozen=True)
class Metric:
    """What a number means. `better` is None where neither way is: a distance, a count."""

    name: str
    title: str
    unit: str
    better: Direction | None
    depends: frozenset[Dependence] = frozenset()
    # What to look at where this one may not be compared, the best first.
    instead: tuple[str, ...] = ()
    # The least and the largest it can be.
    bounds: tuple[float, float] | None = None
    # The better way where it is one of two that are weighed against each other.
    frontier: Direction | None = None


_ACCURACIES = ("eval/win_rate", "eval/reward", "eval/policy_accuracy")
_OF_ANSWERS = ("eval/reward", "eval/policy_accuracy")
_SHARE = (0.0, 1.0)
_NOT_NEGATIVE = (0.0, math.inf)


def _table(*metrics: Metric) -> Mapping[str, Metric]:
    return {metric.name: metric for metric in metrics}


def _on(*depends: Dependence) -> frozenset[Dependence]:
    return frozenset(depends)


METRICS = _table(
    # Held-out pairs: trainers.evaluation.pairs
    Metric("eval/policy_accuracy", "pairs whose chosen answer is more likely", "share", "maximize", bounds=_SHARE),
    Metric("eval/policy_accuracy_norm", "the same per token", "share", "maximize", _on("tokenizer"),
           ("eval/policy_accuracy",), _SHARE),
    Metric("eval/reward_accuracy", "pairs whose chosen answer gained more on the reference", "share", "maximize",
           _on("reference"), ("eval/policy_accuracy",), _SHARE),
    Metric("eval/margin_nats", "gain of the chosen over the rejected answer", "nats", "maximize", _on("reference"),
           ("eval/policy_accuracy",)),
    Metric("eval/chosen_logratio", "log-ratio of chosen answers", "nats", "maximize", _on("reference"),
           ("eval/policy_accuracy",)),
    Metric("eval/rejected_logratio", "log-ratio of rejected answers", "nats", None, _on("reference"),
           ("eval/policy_accuracy",)),
    Metric("eval/pairs", "held-out pairs", "count", None),
    Metric("eval/rm_margin", "a reward model's margin", "its own", "maximize", _on("method", "strength"),
           ("eval/reward_accuracy",)),
    # Answers to held-out prompts: trainers.evaluation.examine
    Metric("eval/win_rate", "answers that beat the opponent's", "share", "maximize",
           _on("opponent", "rater", "sampling"), _OF_ANSWERS, _SHARE),
    Metric("eval/win_rate_lc", "the same at equal length", "share", "maximize",
           _on("opponent", "rater", "sampling"), _OF_ANSWERS, _SHARE),
    Metric("eval/judge_win_rate", "answers that the judge prefers to the opponent's", "share", "maximize",
           _on("opponent", "judge", "sampling"), _OF_ANSWERS, _SHARE),
    Metric("eval/judge_win_rate_lc", "the same at equal length", "share", "maximize",
           _on("opponent", "judge", "sampling"), _OF_ANSWERS, _SHARE),
    Metric("eval/reward", "reward of answers", "the rater's", "maximize", _on("rater", "sampling"),
           ("eval/policy_accuracy",)),
    Metric("eval/start_reward", "reward of the opponent's answers", "the rater's", None, _on("rater", "sampling")),
    Metric("eval/kl", "KL to the reference", "nats an answer", None, _on("reference", "sampling"), _OF_ANSWERS,
           _NOT_NEGATIVE, frontier="minimize"),
    Metric("eval/kl_k1", "KL to the reference, k1", "nats an answer", None, _on("reference", "sampling"), _OF_ANSWERS,
           frontier="minimize"),
    Metric("eval/kl_k3", "KL to the reference, k3", "nats an answer", None, _on("reference", "sampling"), _OF_ANSWERS,
           _NOT_NEGATIVE, frontier="minimize"),
    Metric("eval/kl_per_token", "KL to the reference", "nats a token", None,
           _on("reference", "sampling", "tokenizer"), _OF_ANSWERS, _NOT_NEGATIVE, frontier="minimize"),
    Metric("eval/entropy", "entropy of answers", "nats a token", None, _on("sampling", "tokenizer"), _OF_ANSWERS,
           _NOT_NEGATIVE, frontier="maximize"),
    Metric("eval/repetition", "repetition in answers", "share", "minimize", _on("sampling", "tokenizer"), _OF_ANSWERS,
           _SHARE),
    Metric("eval/length", "length of answers", "tokens", None, _on("sampling", "tokenizer"), _OF_ANSWERS,
           _NOT_NEGATIVE, frontier="minimize"),
    Metric("eval/ended", "answers that end by themselves", "share", "maximize", _on("sampling", "tokenizer"),
           _OF_ANSWERS, _SHARE),
    Metric("eval/answers", "sampled answers", "count", None),
    Metric("eval/degenerate", "degenerate policies", "share", "minimize", bounds=_SHARE),
    Metric("eval/judge_calls", "questions put to the judge", "count", None),
    Metric("eval/judge_tokens_in", "tokens that the judge read", "count", None),
    Metric("eval/judge_tokens_out", "tokens that the judge wrote", "count", None),
    Metric("eval/judge_cost_usd", "what the judge cost", "USD", "minimize"),
    # Other harnesses: trainers.evaluation.other_harnesses; those of lm-eval are below
    Metric("eval/alpaca_eval/win_rate", "answers that alpaca_eval prefers", "share", "maximize",
           _on("opponent", "rater", "sampling"), _OF_ANSWERS, _SHARE),
    Metric("eval/alpaca_eval/length_controlled_winrate", "the same at equal length", "share", "maximize",
           _on("opponent", "rater", "sampling"), _OF_ANSWERS, _SHARE),
    Metric("eval/alpaca_eval/judged", "answers that alpaca_eval judged", "count", None),
    # What TRL logs while it trains
    Metric("train/rewards/accuracies", "the implicit reward's accuracy on training pairs", "share", "maximize",
           _on("method", "reference"), ("eval/reward_accuracy", *_ACCURACIES), _SHARE),
    Metric("train/runtime_s", "time of training", "seconds", "minimize"),
    Metric("train/pairs_per_second", "speed of training", "pairs a second", "maximize"),
    Metric("train/steps_per_second", "speed of training", "steps a second", "maximize"),
)  # fmt: skip
# By how a name begins, the first that fits: TRL has many of them, and a method adds its own.
FAMILIES = (
    Metric("train/rewards/", "times the strength", "nats times the strength", "maximize",
           _on("method", "strength", "reference"), ("eval/margin_nats", *_ACCURACIES)),
    Metric("train/eval_rewards/", "times the strength", "nats times the strength", "maximize",
           _on("method", "strength", "reference"), ("eval/margin_nats", *_ACCURACIES)),
    Metric("train/", "of training", "", None, _on("method", "strength", "reference"), _ACCURACIES),
)  # fmt: skip
_LOSS = Metric("loss", "the method's own loss", "the method's own", "minimize", _on("method", "strength", "reference"),
               _ACCURACIES)  # fmt: skip
_BUCKETS = tuple(f".{length}" for length in LENGTHS)
_ERROR = "_se"
_LM_EVAL = "eval/lm_eval/"
# Its metrics whose better way is known; what is no share is in units of its own.
_SHARES = ("acc", "acc_norm", "exact_match", "f1", "pass@1", "mc1", "mc2")
_PERPLEXITIES = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte")


def known(name: str) -> Metric | None:
    """The row of a metric; by length (`eval/reward_accuracy.short`) that of the whole; None where nothing says.

    A standard error (`eval/kl_se`) may be compared as what it is the error of.
    """
    if name.endswith(_ERROR) and (of := known(name.removesuffix(_ERROR))) is not None:
        return replace(of, name=name, title=f"standard error of {of.title}", better=None, bounds=None, frontier=None)
    for bucket in _BUCKETS:
        name = name.removesuffix(bucket)
    if name in METRICS:
        return METRICS[name]
    if name.startswith(_LM_EVAL):
        return _of_lm_eval(name)
    if name.rsplit("/", 1)[-1] in ("loss", "eval_loss", "loss_mean"):
        return _LOSS
    return next((family for family in FAMILIES if name.startswith(family.name)), None)


def _of_lm_eval(name: str) -> Metric:
    """eval/lm_eval/arc_easy/acc, or eval/lm_eval/gsm8k/exact_match.strict-match."""
    task, _, metric = name.removeprefix(_LM_EVAL).rpartition("/")
    kind = metric.partition(".")[0]
    if kind in _SHARES:
        return Metric(name, f"{metric} of {task}", "share", "maximize", bounds=_SHARE)
    return Metric(name, f"{metric} of {task}", "its own", "minimize" if kind in _PERPLEXITIES else None)
