"""The methods, one row each: what a reader wants to know before choosing, and what the engine needs to start one.

`method=ipo` -> METHODS["ipo"] -> a trainer on pairs with the loss `trainers.losses.ipo` and the strength `method.tau`.
docs/methods.md is made from this table by `trainers.method_docs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# fixed: log-probabilities computed once, before training; moving: it follows the policy, and is asked at every step;
# unconditional: log-probabilities of answers without their prompts, of the policy's start.
Reference = Literal["fixed", "moving", "unconditional", "none"]


@dataclass(frozen=True)
class Method:
    """A loss with its data format and its needs."""

    name: str
    title: str
    paper: str
    # The key of `method.` that holds the policy back, None where there is none; on the command line also `beta`.
    strength: str | None
    # Values of it that people use, in words.
    usual: str
    reference: Reference
    # What the loss is computed on. pairs: chosen and rejected together; unpaired: each answer by itself, good or bad,
    # those of pairs too; demonstrations: good answers alone, chosen ones of pairs too; comparisons: pairs, for a reward
    # model; prompts: what the policy itself writes, from what stands in pairs.
    data_format: Literal["pairs", "unpaired", "demonstrations", "comparisons", "prompts"] = "pairs"
    # Whether what the loss compares is averaged over an answer's tokens, and so what is logged as its reward.
    per_token: bool = False
    # Its function in `trainers.losses`, where that has another name.
    own_loss: str = ""

    @property
    def loss(self) -> str:
        """Name of its loss in `trainers.losses`."""
        return self.own_loss or self.name

    @property
    def needs_reference(self) -> bool:
        """Whether training compares with a reference that the user may choose."""
        return self.reference in ("fixed", "moving")


# Methods with a reference that do not ask it pair by pair at each step, so that it cannot move under them.
STILL = frozenset({"kto", "sdpo", "rso", "online_dpo", "rloo"})
# As `method.reward_model`: the built-in world's known reward.
GOLD = "builtin:gold"


def _table(*methods: Method) -> Mapping[str, Method]:
    return {method.name: method for method in methods}


_BETA = "0.01 to 0.5"
METHODS = _table(
    # With a reference
    Method("dpo", "Direct Preference Optimization", "arXiv:2305.18290, eq. 7", "beta", _BETA, "fixed"),
    Method("cdpo", "Conservative DPO: labels with noise", "Mitchell 2023, A note on DPO with noisy preferences & "
           "relationship to IPO", "beta", _BETA, "fixed"),
    Method("robust", "Robust DPO: unbiased under flipped labels", "arXiv:2403.00409", "beta", _BETA, "fixed"),
    Method("ipo", "Identity Preference Optimisation", "arXiv:2310.12036, eq. 17", "tau", "0.01 to 1", "fixed"),
    Method("hinge", "SLiC's hinge loss on log-ratios, as in RSO", "arXiv:2309.06657; arXiv:2305.10425", "beta",
           _BETA, "fixed"),
    Method("kto", "Kahneman-Tversky Optimisation", "arXiv:2402.01306", "beta", _BETA, "fixed", "unpaired"),
    Method("dpop", "DPO-Positive (Smaug)", "arXiv:2402.13228", "beta", "0.1 to 0.5", "fixed"),
    Method("npo", "Negative Preference Optimisation: forget the rejected", "arXiv:2404.05868, eq. 3", "beta",
           "0.05 to 0.5", "fixed"),
    Method("ulma", "Unified Language Model Alignment, pointwise", "arXiv:2312.02554", "beta", _BETA, "fixed"),
    Method("trdpo", "Trust Region DPO: the reference follows the policy", "arXiv:2404.09656", "beta", "0.01 to 0.5",
           "moving", own_loss="dpo"),
    Method("sdpo", "Stepwise DPO: each stage's policy is the next one's reference", "arXiv:2403.19270", "beta",
           "0.01 to 0.5", "fixed", own_loss="dpo"),
    Method("exo", "Efficient Exact Optimisation", "arXiv:2402.00856, eq. 16", "beta", "0.1 to 1", "fixed"),
    Method("nca", "Noise Contrastive Alignment", "arXiv:2402.05369", "beta", "0.001 to 0.1", "fixed"),
    Method("sppo", "Self-Play Preference Optimisation, hard labels", "arXiv:2405.00675, eq. 4.7", "beta",
           "0.001 to 0.1", "fixed"),
    Method("apo", "Anchored Preference Optimisation, zero or down", "arXiv:2408.06266, eq. 7 and 8", "beta",
           "0.05 to 0.5", "fixed"),
    Method("likelihood", "Pairwise logistic loss on the likelihood ratio", "arXiv:2407.13709", "beta", "0.001 to 0.5",
           "unconditional"),
    # Without
    Method("posterior", "Pairwise logistic loss on the policy's own probability", "arXiv:2407.13709", "beta",
           "0.001 to 0.5", "none"),
    Method("orpo", "Odds Ratio Preference Optimization", "arXiv:2403.07691, eq. 6", "lambda", "0.1 to 1", "none",
           per_token=True),
    Method("cpo", "Contrastive Preference Optimization", "arXiv:2401.08417, eq. 3", "beta", "0.05 to 0.5", "none"),
    Method("simpo", "Simple Preference Optimization", "arXiv:2405.14734, eq. 6", "beta", "2 to 10", "none",
           per_token=True),
    Method("unlikelihood", "Likelihood of the chosen, unlikelihood of the rejected tokens", "arXiv:1908.04319", "alpha",
           "0.1 to 1", "none", per_token=True),
    Method("sft", "Supervised fine-tuning on the chosen answers: the baseline", "maximum likelihood", None, "",
           "none", "demonstrations"),
    # On what the policy itself writes, and the reward model that says what it is worth
    Method("reward", "Bradley-Terry reward model, for the methods that need one", "arXiv:2203.02155, eq. 1", None, "",
           "none", "comparisons"),
    Method("rso", "Statistical rejection sampling from the start, then hinge or DPO", "arXiv:2309.06657, algorithm 1",
           "beta", "0.05 to 0.5", "fixed", "prompts"),
    Method("online_dpo", "Online DPO: rounds of own answers, labelled by a reward model or a judge",
           "arXiv:2402.04792", "beta", "0.05 to 0.5", "fixed", "prompts", own_loss="dpo"),
    Method("rloo", "REINFORCE leave-one-out: the baseline of reinforcement learning", "arXiv:2402.14740", "beta",
           "0.01 to 0.1", "fixed", "prompts"),
    Method("backtranslation", "Instruction back-translation (Humpback): prompts for unlabelled texts",
           "arXiv:2308.06259", None, "", "none", "prompts"),
)  # fmt: skip
