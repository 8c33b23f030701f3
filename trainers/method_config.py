"""The schema of each method's own settings, as `method.` has them; `trainers/methods.py` is the table of the methods.

A setting has the name of its loss's argument in `trainers/losses.py`, or of what `trainers/trl_engine.py` does with it.
"""

from typing import Annotated, Literal

from pydantic import Field

from trainers.sections import Count, Section, Strength, Weight

# A share of labels that may be wrong: from one half on they would say nothing, or the opposite.
Noise = Annotated[float, Field(gt=0, lt=0.5)]


class DPO(Section):
    name: Literal["dpo"]
    beta: Strength
    f_divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"]
    f_alpha: Annotated[float, Field(allow_inf_nan=False)]
    length_normalised: bool
    sft_weight: Weight


class CDPO(Section):
    name: Literal["cdpo"]
    beta: Strength
    epsilon: Noise


class Robust(Section):
    name: Literal["robust"]
    beta: Strength
    epsilon: Noise


class IPO(Section):
    name: Literal["ipo"]
    tau: Strength
    per_token: bool


class Hinge(Section):
    name: Literal["hinge"]
    beta: Strength


class KTO(Section):
    name: Literal["kto"]
    beta: Strength
    desirable_weight: Weight
    undesirable_weight: Weight


class DPOP(Section):
    name: Literal["dpop"]
    beta: Strength
    penalty: Weight


class NPO(Section):
    name: Literal["npo"]
    beta: Strength
    retain_weight: Weight


class ULMA(Section):
    name: Literal["ulma"]
    beta: Strength


class TRDPO(Section):
    name: Literal["trdpo"]
    beta: Strength


class SDPO(Section):
    name: Literal["sdpo"]
    beta: Strength
    stages: Annotated[int, Field(ge=2)]
    order: Literal["easy_first", "data"]


class EXO(Section):
    name: Literal["exo"]
    beta: Strength
    epsilon: Noise


class NCA(Section):
    name: Literal["nca"]
    beta: Strength


class SPPO(Section):
    name: Literal["sppo"]
    beta: Strength


class APO(Section):
    name: Literal["apo"]
    beta: Strength
    variant: Literal["zero", "down"]


class Likelihood(Section):
    name: Literal["likelihood"]
    beta: Strength


class Posterior(Section):
    name: Literal["posterior"]
    beta: Strength


class ORPO(Section):
    name: Literal["orpo"]
    # `lambda` is a word of Python's.
    lambda_: Strength = Field(alias="lambda")


class CPO(Section):
    name: Literal["cpo"]
    beta: Strength
    nll_weight: Weight


class SimPO(Section):
    name: Literal["simpo"]
    beta: Strength
    gamma: Weight


class Unlikelihood(Section):
    name: Literal["unlikelihood"]
    alpha: Strength


class SFT(Section):
    name: Literal["sft"]


class Reward(Section):
    name: Literal["reward"]
    center: Weight


class Sampled(Section):
    """A method that samples answers: how, `sampling_batch` of them in a forward pass."""

    max_new_tokens: Count
    temperature: Strength
    sampling_batch: Count


class RSO(Sampled):
    name: Literal["rso"]
    beta: Strength
    loss: Literal["hinge", "dpo"]
    reward_model: str | None
    candidates: Annotated[int, Field(ge=2)]
    accepted: Annotated[int, Field(ge=2)]
    rejection_beta: Strength
    pairing: Literal["first_round", "tournament"]


class Judge(Section):
    base_url: str | None
    model: str | None
    key_variable: str
    timeout_s: Strength
    tries: Count
    concurrency: Count
    price_in: Weight
    price_out: Weight


class OnlineDPO(Sampled):
    name: Literal["online_dpo"]
    beta: Strength
    reward_model: str | None
    judge: Judge
    rounds: Count
    prompts_per_round: Count


class RLOO(Sampled):
    name: Literal["rloo"]
    beta: Strength
    reward_model: str | None
    answers: Annotated[int, Field(ge=2)]
    rounds: Count
    prompts_per_round: Count
    clip: Strength


class Backtranslation(Sampled):
    name: Literal["backtranslation"]
    seed_share: Annotated[float, Field(gt=0, lt=1)]
    iterations: Count
    score: Literal["likelihood", "reward_model"]
    reward_model: str | None
    keep: Annotated[float, Field(gt=0, le=1)]


MethodSection = (
    DPO | CDPO | Robust | IPO | Hinge | KTO | DPOP | NPO | ULMA | TRDPO | SDPO | EXO | NCA | SPPO | APO | Likelihood
    | Posterior | ORPO | CPO | SimPO | Unlikelihood | SFT | Reward | RSO | OnlineDPO | RLOO | Backtranslation
)  # fmt: skip
