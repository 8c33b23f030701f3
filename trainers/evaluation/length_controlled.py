"""How often a policy wins at its opponent's length: length-controlled win rates, arXiv:2404.04475.

wins [1, 1, 0, 1], characters [90, 80, 40, 75] against [50, 50, 50, 60] -> what would be left of 0.75 at equal lengths

Raters like long answers, so that a policy gains by writing more. The model is a logistic regression on wins,

    logit P(win) = θ + φ · tanh((length - opponent's length) / sd of these differences)

and the rate is σ(θ): the difference set to zero, all else as it is. A tie, or a judge who says one thing in one order
and another in the other, counts as a share of a win. The paper's third term, how difficult each instruction is, is
estimated from many models on the same prompts; one evaluation has one model, and it is left out. What is left is the
paper's model within one policy and opponent: rates may be compared where the opponent is the same.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# A normal prior of sd 5, in log-odds, on θ and φ each: (θ² + φ²) / (2 · 5²) is added to the loss. Where all wins are
# alike, or length alone tells them apart, the likelihood grows for ever along a line, and this stops it: 64 wins of 64
# are 0.996. Odds of e^5 are beyond what is measured on some hundred prompts, so that elsewhere it changes little.
RIDGE = 1 / 5.0**2
_STEPS, _ENOUGH = 100, 1e-10


def win_rate(wins: Sequence[float | None], lengths: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """The rate at equal length, in (0, 1), and its standard error over the prompts.

    `wins` are shares of a win in [0, 1] by prompt, `lengths` and `others` those of the policy's and the opponent's
    answers, in characters as in the paper, which are the same for every tokenizer. A win that is not known (None or
    NaN) is left out. Both are NaN of fewer than two, and where all answers differ by the same length from the
    opponent's, which leaves nothing to tell its effect by; where none differs at all the rate is the plain one.

    The error is by the delta method from θ's, which comes from the residuals and not from the model, because ties vary
    less than coins do: each residual is weighed as if its prompt had been left out (HC3, MacKinnon and White 1985).
    """
    rows = [
        (float(win), float(own) - float(other))
        for win, own, other in zip(wins, lengths, others, strict=True)
        if win is not None and math.isfinite(win)
    ]
    if len(rows) < 2:
        return math.nan, math.nan
    won, longer = np.array(rows, dtype=np.float64).T
    spread = float(longer.std(ddof=1))
    if spread == 0.0 and longer[0] != 0.0:
        return math.nan, math.nan
    design = np.ones((len(won), 1))
    if spread:
        design = np.column_stack([design, np.tanh(longer / spread)])
    found = _fit(design, won)
    rate = float(_sigmoid(found[:1])[0])
    return rate, rate * (1.0 - rate) * math.sqrt(_variance(design, won, found))


def _fit(design: Floats, won: Floats) -> Floats:
    """What minimises the loss, by Newton's method; the ridge makes it strictly convex."""
    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = _sigmoid(design @ found)
        slope = design.T @ (chance - won) + RIDGE * found
        step = np.linalg.solve(_curvature(design, chance), slope)
        # Newton's steps may go too far where chances are close to 0 or 1.
        size = 1.0
        while size > 1e-6 and _loss(design, won, found - size * step) > _loss(design, won, found):
            size /= 2
        found = found - size * step
        if float(np.abs(step).max()) < _ENOUGH:
            break
    return found


def _variance(design: Floats, won: Floats, found: Floats) -> float:
    """Of the first coefficient."""
    chance = _sigmoid(design @ found)
    inverse = np.linalg.inv(_curvature(design, chance))
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design) * chance * (1.0 - chance)
    residuals = (won - chance) / (1.0 - leverage)
    scores = design * residuals[:, None]
    return float((inverse @ (scores.T @ scores) @ inverse)[0, 0])


def _curvature(design: Floats, chance: Floats) -> Floats:
    weighed: Floats = design.T @ (design * (chance * (1.0 - chance))[:, None])
    return weighed + RIDGE * np.eye(design.shape[1])


def _loss(design: Floats, won: Floats, found: Floats) -> float:
    logits = design @ found
    return float((np.logaddexp(0.0, logits) - won * logits).sum() + RIDGE / 2 * (found @ found))


def _sigmoid(logits: Floats) -> Floats:
    chance: Floats = np.exp(-np.logaddexp(0.0, -logits))
    return chance
