"""Where DPO and IPO end on comparisons of a few actions, for a policy that can take any value (IPO paper, section 5).

wins[i][j] counts the pairs in which action i was chosen over j. theta is relative to log of the reference, its mean 0.
"""

from typing import Any

import numpy as np

Vector = np.ndarray[Any, np.dtype[np.float64]]
Wins = Vector


def ipo(wins: Wins, tau: float) -> Vector:
    """Least squares on the comparison graph: L theta = (wins - losses) / (2 tau), L its Laplacian.

    Unique up to a constant where the graph is connected.
    """
    games = wins + wins.T
    laplacian = np.diag(games.sum(axis=1)) - games
    return np.linalg.pinv(laplacian) @ (wins.sum(axis=1) - wins.sum(axis=0)) / (2 * tau)


def dpo(wins: Wins, beta: float) -> Vector:
    """Bradley-Terry's maximum likelihood over beta, by Zermelo's iteration.

    Finite only if every action is beaten, directly or over others, by every other.
    """
    games = wins + wins.T
    strengths = np.ones(len(wins))
    for _ in range(10_000):
        strengths = wins.sum(axis=1) / (games / (strengths[:, None] + strengths[None, :])).sum(axis=1)
        strengths /= strengths.sum()
    theta = np.log(strengths)
    return np.asarray((theta - theta.mean()) / beta)


def policy(theta: Vector, reference: Vector) -> Vector:
    """Probabilities: the reference's, times exp(theta), normalised."""
    weights = reference * np.exp(theta - theta.max())
    return np.asarray(weights / weights.sum())
