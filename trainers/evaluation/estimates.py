"""Estimates of how far a policy has moved, from answers that were sampled from it, each with its standard error.

d_t = log π(y_t) - log ref(y_t) of an answer's tokens -> k1 = Σ d_t, k3 = Σ (exp(-d_t) - 1 + d_t)

Both, and Σ_t KL_t over the whole vocabulary, have KL(π || ref) of whole answers as their mean over answers sampled at
temperature 1: by the chain rule, E Σ_t KL_t = E Σ_t d_t = KL, and E exp(-d_t) = 1. k1 is noisy and may be negative; k3
never is (J. Schulman, "Approximating KL divergence", 2020); the sum over the vocabulary has the least noise.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def k1(logratios: Tensor) -> float:
    """Of an answer, `logratios` being d_t of its tokens; nats."""
    return float(logratios.double().sum())


def k3(logratios: Tensor) -> float:
    """As k1."""
    steps = logratios.double()
    return float((torch.expm1(-steps) + steps).sum())


def k3_of(logratio: float) -> float:
    """As k3, of an answer of which only the sum of its d_t is known; infinite where that is far below 0."""
    return k3(torch.tensor([logratio]))


def mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean over n answers to independent prompts, and its standard error sd/√n; NaN where there are too few."""
    if not values:
        return math.nan, math.nan
    found = torch.tensor(values, dtype=torch.float64)
    error = (found.std() / math.sqrt(len(found))).item() if len(found) > 1 else math.nan
    return found.mean().item(), error


def ratio(values: Sequence[float], counts: Sequence[float]) -> tuple[float, float]:
    """Σ values / Σ counts, such as nats a token, and its standard error by the delta method.

    The error is that of the mean of (values - ratio counts), over the mean count.
    """
    total = sum(counts)
    if not total:
        return math.nan, math.nan
    rate = sum(values) / total
    residuals = [value - rate * count for value, count in zip(values, counts, strict=True)]
    _, error = mean(residuals)
    return rate, error / (total / len(counts))
