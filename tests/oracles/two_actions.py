"""Where each method ends on two actions, in closed form.

s = logit of the policy's probability of action w, s0 the reference's, p the share of pairs that w won (0 < p < 1).

Where a method has no closed form, `minimum` looks for the least expected loss of its paper's formula. There h(w) and
h(l) are the log-ratios of the two actions, and a loss of theirs is met with p as it stands and with 1 - p swapped.
"""

import math
from collections.abc import Callable

# A loss of the chosen and of the rejected answer's log-ratio, or of their log-probabilities.
PairLoss = Callable[[float, float], float]


def logit(p: float) -> float:
    """log(p / (1 - p))."""
    return math.log(p / (1 - p))


def sigmoid(s: float) -> float:
    """The inverse of `logit`."""
    return 1 / (1 + math.exp(-s))


def dpo(p: float, beta: float, s0: float) -> float:
    """d/ds E[-log sigmoid(beta (s - s0))] = 0, that is sigmoid(beta (s - s0)) = p. arXiv:2305.18290, eq. 7."""
    return s0 + logit(p) / beta


def ipo(p: float, tau: float, s0: float) -> float:
    """What least squares finds of +1/(2 tau) at wins and -1/(2 tau) at losses: their mean. arXiv:2310.12036, eq. 17."""
    return s0 + (2 * p - 1) / (2 * tau)


def cdpo(p: float, beta: float, epsilon: float, s0: float) -> float:
    """DPO where each label is right with 1 - epsilon: w wins p (1 - epsilon) + (1 - p) epsilon of them."""
    return dpo(p * (1 - epsilon) + (1 - p) * epsilon, beta, s0)


def robust(p: float, beta: float, epsilon: float, s0: float) -> float:
    """DPO on the wins before a share epsilon of labels was flipped; finite for those in (0, 1). arXiv:2403.00409."""
    return dpo((p - epsilon) / (1 - 2 * epsilon), beta, s0)


def hinge(p: float, beta: float, s0: float) -> float:
    """Of p max(0, 1 - m) + (1 - p) max(0, 1 + m), m = beta (s - s0), the kink on the winner's side."""
    return s0 + math.copysign(1 / beta, p - 0.5)


def exo(p: float, beta: float, epsilon: float, s0: float) -> float:
    """With q = sigmoid(beta (s - s0)), p KL(q || 1-eps, eps) + (1-p) KL(q || eps, 1-eps) is least at the geometric
    mean of the two: logit q = (2p - 1) logit(1 - eps). arXiv:2402.00856, eq. 16."""
    return s0 + (2 * p - 1) * logit(1 - epsilon) / beta


def posterior(p: float, beta: float) -> float:
    """DPO without a reference: sigmoid(beta s) = p. arXiv:2407.13709."""
    return logit(p) / beta


def simpo(p: float, beta: float, gamma: float) -> float:
    """Answers of one token. With u = e^(beta s), g = e^-gamma: (1-p) g u^2 - (2p-1) u - p g = 0, and u > 0.

    arXiv:2405.14734, eq. 6.
    """
    g, lead = math.exp(-gamma), 2 * p - 1
    return math.log((lead + math.sqrt(lead**2 + 4 * p * (1 - p) * g**2)) / (2 * (1 - p) * g)) / beta


def cpo(p: float, beta: float, nll_weight: float) -> float:
    """Root of weight (sigmoid(s) - p) + beta (sigmoid(beta s) - p). arXiv:2401.08417, eq. 3."""
    return root(lambda s: nll_weight * (sigmoid(s) - p) + beta * (sigmoid(beta * s) - p))


def orpo(p: float, lambda_: float) -> float:
    """Root of (sigmoid(s) - p) + 2 lambda (sigmoid(2 s) - p): likelihood of the winner, and log odds ratio 2 s."""
    return root(lambda s: (sigmoid(s) - p) + 2 * lambda_ * (sigmoid(2 * s) - p))


def unlikelihood(p: float) -> float:
    """1 - pi(l) is pi(w): likelihood once more, whatever its weight."""
    return logit(p)


def sft(p: float) -> float:
    """The policy that says w as often as w was chosen."""
    return logit(p)


def f_dpo(p: float, beta: float, s0: float, slope: Callable[[float], float]) -> float:
    """Root of beta [f'(t_w) - f'(t_l)] = logit p, t = policy / reference, `slope` being f'. arXiv:2309.16240."""

    def beyond(s: float) -> float:
        ahead = slope(sigmoid(s) / sigmoid(s0)) - slope(sigmoid(-s) / sigmoid(-s0))
        return beta * ahead - logit(p)

    return root(beyond, 20.0)


def root(rising: Callable[[float], float], bound: float = 50.0) -> float:
    """Where an increasing function is zero, by halving [-bound, bound]."""
    low, high = -bound, bound
    while high - low > 1e-12:
        middle = (low + high) / 2
        if rising(middle) > 0:
            high = middle
        else:
            low = middle
    return low


def minimum(p: float, loss: PairLoss, s0: float | None = None) -> float:
    """Where p loss(w, l) + (1 - p) loss(l, w) is least: the best of a grid on [-20, 20], then golden sections.

    The arguments are log-ratios to s0, or log-probabilities without one.
    """

    def expected(s: float) -> float:
        one, other = log_sigmoid(s), log_sigmoid(-s)
        if s0 is not None:
            one, other = one - log_sigmoid(s0), other - log_sigmoid(-s0)
        return p * loss(one, other) + (1 - p) * loss(other, one)

    best = min((index / 100 for index in range(-2000, 2001)), key=expected)
    low, high, golden = best - 0.01, best + 0.01, (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if expected(left) < expected(right):
            high = right
        else:
            low = left
    return (low + high) / 2


def log_sigmoid(x: float) -> float:
    """log(1 / (1 + e^-x))."""
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))
