"""Where each method ends on two actions, in closed form.

s = logit of the policy's probability of action w, s0 the reference's, p the share of pairs that w won (0 < p < 1).
"""

import math


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


def orpo(p: float, lambda_: float) -> float:
    """Root of (sigmoid(s) - p) + 2 lambda (sigmoid(2 s) - p): likelihood of the winner, and log odds ratio 2 s."""
    low, high = -50.0, 50.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if (sigmoid(middle) - p) + 2 * lambda_ * (sigmoid(2 * middle) - p) > 0:
            high = middle
        else:
            low = middle
    return low


def sft(p: float) -> float:
    """The policy that says w as often as w was chosen."""
    return logit(p)
