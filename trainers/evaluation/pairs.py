"""What is measured on held-out pairs: accuracies and log-ratios, over all of them and by the length of their answers.

Scores of policy and reference, Buckets -> {"eval/reward_accuracy": 0.71, "eval/reward_accuracy.short": 0.65, ...}
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from trainers.data_pairs import Pair, plain
from trainers.data_tokens import TokenisedPair
from trainers.errors import TrainersError
from trainers.evaluation.names import pair_name
from trainers.evaluation.scorer import Scores
from trainers.metric_names import LENGTHS


class NonFiniteMetric(TrainersError):
    """A held-out measure is NaN or infinite: the policy gives some answer no finite log-probability."""


def metrics(policy: Scores, reference: Scores) -> dict[str, float]:
    """Measures on n held-out pairs, with h(y) = log π(y|x) - log π_ref(y|x), all sums over tokens, in nats:

    eval/policy_accuracy       share of pairs with log π(chosen) > log π(rejected)
    eval/policy_accuracy_norm  the same per token: log π(y)/|y|
    eval/reward_accuracy       share of pairs with h(chosen) > h(rejected)
    eval/margin_nats           mean of h(chosen) - h(rejected), not times beta
    eval/chosen_logratio       mean of h(chosen)
    eval/rejected_logratio     mean of h(rejected)
    eval/pairs                 n

    A tie counts one half, so an untrained policy has a reward accuracy of 0.5. NaN where a log-probability is not
    finite; see `check_finite`.
    """
    chosen, rejected = policy.chosen_logps.double(), policy.rejected_logps.double()
    chosen_ratio = chosen - reference.chosen_logps.double()
    rejected_ratio = rejected - reference.rejected_logps.double()
    margin = chosen_ratio - rejected_ratio
    return {
        "eval/policy_accuracy": share_positive(chosen - rejected),
        "eval/policy_accuracy_norm": share_positive(chosen / policy.chosen_tokens - rejected / policy.rejected_tokens),
        "eval/reward_accuracy": share_positive(margin),
        "eval/margin_nats": margin.mean().item(),
        "eval/chosen_logratio": chosen_ratio.mean().item(),
        "eval/rejected_logratio": rejected_ratio.mean().item(),
        "eval/pairs": float(len(policy)),
    }


@dataclass(frozen=True)
class HeldOut:
    """Held-out pairs in data order: their tokens, and their texts, None where the data are token ids."""

    pairs: Sequence[TokenisedPair]
    texts: Sequence[Pair] | None


@dataclass(frozen=True)
class Buckets:
    """Pairs by the length of their two answers together: places of the short, the medium and the long ones.

    Lengths are the data's own, characters of the texts, or tokens where the data are token ids: the same pair is in the
    same bucket for every model and every cut.
    """

    places: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Buckets":
        """Thirds of the pairs; equal lengths stay together, and where that leaves a bucket empty there are none."""
        if not lengths:
            return cls({})
        values = torch.tensor(lengths, dtype=torch.float64)
        first, second = (values.sort().values[math.ceil(len(lengths) * third / 3) - 1] for third in (1, 2))
        parts = [values <= first, (values > first) & (values <= second), values > second]
        places = {name: part.nonzero().squeeze(-1) for name, part in zip(LENGTHS, parts, strict=True)}
        return cls(places if all(len(place) for place in places.values()) else {})

    @classmethod
    def of_pairs(cls, held: HeldOut) -> "Buckets":
        """Of held-out pairs."""
        if held.texts is None:
            return cls.of([len(pair.chosen_ids) + len(pair.rejected_ids) for pair in held.pairs])
        return cls.of([len(plain(pair.chosen)) + len(plain(pair.rejected)) for pair in held.texts])

    def measured(self, measure: Callable[[torch.Tensor], Mapping[str, float]]) -> dict[str, float]:
        """What `measure` says of the pairs at some places, under "eval/margin_nats.short" and its like."""
        return {
            f"{metric}.{name}": value
            for name, places in self.places.items()
            for metric, value in measure(places).items()
        }


def all_metrics(policy: Scores, reference: Scores, buckets: Buckets) -> dict[str, float]:
    """`metrics` of all pairs and of each bucket."""
    by_length = buckets.measured(lambda places: metrics(policy.at(places), reference.at(places)))
    return metrics(policy, reference) | by_length


def check_finite(values: Mapping[str, float]) -> None:
    """Raises NonFiniteMetric naming the metrics that are NaN or infinite."""
    broken = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise NonFiniteMetric(f"{', '.join(broken)}: lower training.learning_rate, or raise the strength (beta)")


def share_positive(differences: torch.Tensor) -> float:
    """Share above zero, ties one half; NaN where a difference is, which comparing would hide."""
    if not bool(differences.isfinite().all()):
        return math.nan
    return ((differences > 0).double() + (differences == 0).double() / 2).mean().item()


def pair_table(held: HeldOut, policy: Scores, reference: Scores) -> pa.Table:
    """A row a pair, in data order: its name, and log-probabilities and log-ratios of its answers, in nats."""

    def names() -> list[str]:
        if held.texts is None:
            return [pair_name(pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) for pair in held.pairs]
        return [pair_name(pair.prompt, pair.chosen, pair.rejected) for pair in held.texts]

    columns: dict[str, Any] = {"pair": pa.array(names(), pa.string())}
    for side in ("chosen", "rejected"):
        logps, beside = getattr(policy, f"{side}_logps"), getattr(reference, f"{side}_logps")
        columns[f"{side}_logp"] = pa.array(logps.numpy(), pa.float32())
        columns[f"{side}_logratio"] = pa.array((logps.double() - beside.double()).float().numpy(), pa.float32())
        columns[f"{side}_tokens"] = pa.array(getattr(policy, f"{side}_tokens").numpy(), pa.int32())
    order = ["pair", *(f"{side}_{what}" for what in ("logp", "logratio", "tokens") for side in ("chosen", "rejected"))]
    return pa.table({name: columns[name] for name in order})
