"""The losses of all methods that learn from pairs: each a function of log-probabilities, as its paper writes it.

    ipo(chosen, rejected, tau=0.1) -> a loss for each of n pairs, of shape (n,)

In all of them log π(y|x) is the sum over the answer's tokens (`logps`), h(y) = log π(y|x) - log π_ref(y|x) the
log-ratio (`logratios`), w the chosen and l the rejected answer. Options have the names that the config gives them.
Nothing is averaged over a batch, so that the gradient of a step does not depend on how it is cut into micro-batches.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]
Loss = Callable[..., Tensor]

# exp() of more than this is infinite in fp32.
_LARGEST_EXPONENT = 80.0


@dataclass(frozen=True)
class Answers:
    """What the policy and the reference say of n answers, each of at most T tokens; in nats.

    `token_logps` is of shape (n, T), 0 where `mask` is False; `ref_logps` of shape (n,), 0 where nothing is the
    reference. `text_logps` and `text_tokens`, of shape (n,), are sums over prompt and answer, for the one method that
    learns the prompt too.
    """

    token_logps: Tensor
    mask: Tensor
    ref_logps: Tensor
    text_logps: Tensor
    text_tokens: Tensor

    @property
    def logps(self) -> Tensor:
        """log π(y|x), of shape (n,)."""
        return self.token_logps.sum(-1)

    @property
    def tokens(self) -> Tensor:
        """|y|, of shape (n,)."""
        return self.mask.sum(-1).clamp(min=1)

    @property
    def mean_logps(self) -> Tensor:
        """log π(y|x) / |y|, of shape (n,)."""
        return self.logps / self.tokens

    @property
    def logratios(self) -> Tensor:
        """h(y) = log π(y|x) - log π_ref(y|x), of shape (n,)."""
        return self.logps - self.ref_logps

    @property
    def mean_logratios(self) -> Tensor:
        """h(y) / |y|, of shape (n,)."""
        return self.logratios / self.tokens


# With a reference


def dpo(
    chosen: Answers,
    rejected: Answers,
    beta: float,
    f_divergence: Divergence = "reverse_kl",
    f_alpha: float = 1.0,
    length_normalised: bool = False,
    sft_weight: float = 0.0,
) -> Tensor:
    """-log σ(β [h(w) - h(l)]): arXiv:2305.18290, eq. 7.

    Other divergences put f'(π/π_ref) in the place of h: arXiv:2309.16240. `f_alpha` is 1 minus that paper's α, as in
    TRL: 0 is forward_kl, 1 is reverse_kl. `length_normalised` divides h by |y|: arXiv:2411.15124, section 5.1.
    `sft_weight` times the negative log-likelihood of w, a token, is added.
    """
    score_w, score_l = (_f_score(answers.logratios, f_divergence, f_alpha) for answers in (chosen, rejected))
    if length_normalised:
        score_w, score_l = score_w / chosen.tokens, score_l / rejected.tokens
    losses = -F.logsigmoid(beta * (score_w - score_l))
    return losses + sft_weight * _nll(chosen) if sft_weight else losses


def cdpo(chosen: Answers, rejected: Answers, beta: float, epsilon: float) -> Tensor:
    """DPO where a share ε of the labels is taken to be wrong: E. Mitchell, A note on DPO with noisy preferences.

    -(1-ε) log σ(β [h(w) - h(l)]) - ε log σ(-β [h(w) - h(l)])
    """
    logits = beta * _margins(chosen, rejected)
    return -(1 - epsilon) * F.logsigmoid(logits) - epsilon * F.logsigmoid(-logits)


def robust(chosen: Answers, rejected: Answers, beta: float, epsilon: float) -> Tensor:
    """What DPO's loss would be on the true labels, of which a share ε was flipped (rDPO): arXiv:2403.00409.

    [-(1-ε) log σ(β [h(w) - h(l)]) + ε log σ(-β [h(w) - h(l)])] / (1 - 2ε)
    """
    logits = beta * _margins(chosen, rejected)
    return (-(1 - epsilon) * F.logsigmoid(logits) + epsilon * F.logsigmoid(-logits)) / (1 - 2 * epsilon)


def ipo(chosen: Answers, rejected: Answers, tau: float, per_token: bool = True) -> Tensor:
    """(h(w) - h(l) - 1/(2τ))²: arXiv:2310.12036, eq. 17.

    `per_token` divides h by |y|, as its authors advised TRL to.
    """
    score_w, score_l = (a.mean_logratios if per_token else a.logratios for a in (chosen, rejected))
    return (score_w - score_l - 1 / (2 * tau)) ** 2


def hinge(chosen: Answers, rejected: Answers, beta: float) -> Tensor:
    """max(0, 1 - β [h(w) - h(l)]): SLiC's loss (arXiv:2305.10425) on log-ratios, as in RSO (arXiv:2309.06657)."""
    return torch.relu(1 - beta * _margins(chosen, rejected))


def dpop(chosen: Answers, rejected: Answers, beta: float, penalty: float) -> Tensor:
    """-log σ(β [h(w) - h(l) - λ max(0, -h(w))]), λ the penalty (DPO-Positive, Smaug): arXiv:2402.13228."""
    fallen = torch.relu(-chosen.logratios)
    return -F.logsigmoid(beta * (_margins(chosen, rejected) - penalty * fallen))


def npo(chosen: Answers, rejected: Answers, beta: float, retain_weight: float) -> Tensor:
    """-(2/β) log σ(-β h(l)), to forget l: arXiv:2404.05868, eq. 3.

    `retain_weight` times the negative log-likelihood of w, a token, is the retain term (section 2 there).
    """
    losses = -2 / beta * F.logsigmoid(-beta * rejected.logratios)
    return losses + retain_weight * _nll(chosen) if retain_weight else losses


def ulma(chosen: Answers, rejected: Answers, beta: float) -> Tensor:
    """-log π(w) - log[1 - σ(β h(l))]: likelihood of good answers, pointwise DPO on bad ones; arXiv:2312.02554.

    Its normaliser Z(x) is taken as 1. A pair is one answer of each kind.
    """
    return -chosen.logps - F.logsigmoid(-beta * rejected.logratios)


def exo(chosen: Answers, rejected: Answers, beta: float, epsilon: float) -> Tensor:
    """KL(softmax(β h) || (1-ε, ε)) on the two answers (EXO): arXiv:2402.00856, eq. 16."""
    logits = beta * _margins(chosen, rejected)
    share_w, share_l = F.logsigmoid(logits), F.logsigmoid(-logits)
    return share_w.exp() * (share_w - math.log1p(-epsilon)) + share_l.exp() * (share_l - math.log(epsilon))


def nca(chosen: Answers, rejected: Answers, beta: float) -> Tensor:
    """-log σ(βh(w)) - ½ log σ(-βh(w)) - ½ log σ(-βh(l)), noise contrastive alignment: arXiv:2402.05369."""
    reward_w, reward_l = beta * chosen.logratios, beta * rejected.logratios
    return -F.logsigmoid(reward_w) - F.logsigmoid(-reward_w) / 2 - F.logsigmoid(-reward_l) / 2


def sppo(chosen: Answers, rejected: Answers, beta: float) -> Tensor:
    """(h(w) - 1/(2β))² + (h(l) + 1/(2β))², self-play with hard labels: arXiv:2405.00675, eq. 4.7, β being 1/η."""
    return (chosen.logratios - 1 / (2 * beta)) ** 2 + (rejected.logratios + 1 / (2 * beta)) ** 2


def apo(chosen: Answers, rejected: Answers, beta: float, variant: Literal["zero", "down"]) -> Tensor:
    """Anchored: zero lifts w and lowers l, down lowers both, l more; arXiv:2408.06266, eq. 7 and 8.

    zero: 1 - σ(βh(w)) + σ(βh(l));  down: σ(βh(w)) + 1 - σ(β[h(w) - h(l)])
    """
    reward_w, reward_l = beta * chosen.logratios, beta * rejected.logratios
    if variant == "zero":
        return torch.sigmoid(-reward_w) + torch.sigmoid(reward_l)
    return torch.sigmoid(reward_w) + torch.sigmoid(reward_l - reward_w)


def likelihood(chosen: Answers, rejected: Answers, beta: float) -> Tensor:
    """-log σ(β [log π(w|x)/p_LM(w) - log π(l|x)/p_LM(l)]): arXiv:2407.13709, section 5.

    `ref_logps` is here log p_LM(y), what the starting policy says of an answer without its prompt.
    """
    return -F.logsigmoid(beta * _margins(chosen, rejected))


# Without a reference


def posterior(chosen: Answers, rejected: Answers, beta: float) -> Tensor:
    """-log σ(β [log π(w|x) - log π(l|x)]): arXiv:2407.13709, section 5."""
    return -F.logsigmoid(beta * (chosen.logps - rejected.logps))


def orpo(chosen: Answers, rejected: Answers, lambda_: float) -> Tensor:
    """NLL(x, w) - λ log σ(log odds(w) - log odds(l)), odds(y) = P/(1-P) with log P = log π(y|x)/|y|.

    arXiv:2403.07691, eq. 6. The likelihood is over prompt and answer, a token, as in its authors' code.
    """
    log_odds = _log_odds(chosen.mean_logps) - _log_odds(rejected.mean_logps)
    return -chosen.text_logps / chosen.text_tokens - lambda_ * F.logsigmoid(log_odds)


def cpo(chosen: Answers, rejected: Answers, beta: float, nll_weight: float) -> Tensor:
    """-log σ(β [log π(w|x) - log π(l|x)]) + weight NLL(w|x): arXiv:2401.08417, eq. 3. The likelihood is a token's."""
    return posterior(chosen, rejected, beta) + nll_weight * _nll(chosen)


def simpo(chosen: Answers, rejected: Answers, beta: float, gamma: float) -> Tensor:
    """-log σ(β [log π(w|x)/|w| - log π(l|x)/|l|] - γ): arXiv:2405.14734, eq. 6."""
    return -F.logsigmoid(beta * (chosen.mean_logps - rejected.mean_logps) - gamma)


def unlikelihood(chosen: Answers, rejected: Answers, alpha: float) -> Tensor:
    """-Σ_t log π(w_t)/|w| - α Σ_t log[1 - π(l_t)]/|l|: arXiv:1908.04319, l being the negative tokens."""
    unlikely = _log_one_minus_exp(rejected.token_logps).masked_fill(~rejected.mask, 0.0).sum(-1)
    return _nll(chosen) - alpha * unlikely / rejected.tokens


# Of answers that are good or bad by themselves


def kto(
    logratios: Tensor,
    desirable: Tensor,
    kl: Tensor,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
) -> Tensor:
    """λ_D [1 - σ(β (h - z₀))] of a desirable answer, λ_U [1 - σ(β (z₀ - h))] of another: arXiv:2402.01306.

    `logratios` and `desirable` (bool) are of shape (n,); `kl` is z₀, a scalar that takes no gradient and is at least 0.
    """
    lifted = desirable_weight * torch.sigmoid(-beta * (logratios - kl))
    lowered = undesirable_weight * torch.sigmoid(-beta * (kl - logratios))
    return torch.where(desirable, lifted, lowered)


def _margins(chosen: Answers, rejected: Answers) -> Tensor:
    return chosen.logratios - rejected.logratios


def _nll(answers: Answers) -> Tensor:
    """-log π(y|x) / |y|."""
    return -answers.mean_logps


def _f_score(logratios: Tensor, divergence: Divergence, alpha: float) -> Tensor:
    """f'(t) at t = exp(logratio), up to a constant."""
    if divergence == "forward_kl":
        return 1 - torch.exp((-logratios).clamp(max=_LARGEST_EXPONENT))
    if divergence == "js":
        return math.log(2) + F.logsigmoid(logratios)
    if divergence == "alpha" and alpha != 1.0:
        return torch.expm1(((alpha - 1) * logratios).clamp(max=_LARGEST_EXPONENT)) / (alpha - 1)
    return logratios


def _log_odds(logps: Tensor) -> Tensor:
    return logps - _log_one_minus_exp(logps)


def _log_one_minus_exp(logps: Tensor) -> Tensor:
    """log(1 - exp(logps)), finite also where a probability is 1 in this precision."""
    return torch.log(-torch.expm1(logps.clamp(max=-torch.finfo(logps.dtype).eps)))
