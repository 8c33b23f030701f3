"""Cuts the training pairs into the stages of stepwise DPO, each held to where the one before it ended.

arXiv:2403.19270, section 3: easy pairs first, by what the reference makes of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.errors import InvalidInput
from trainers.evaluate import Scores
from trainers.method_config import SDPO


@dataclass(frozen=True)
class Stage:
    """Pairs that are trained on together, and the run's config for them; `reference` is the first stage's alone."""

    config: RunConfig
    pairs: Sequence[TokenisedPair]
    reference: Scores | None


def stages(config: RunConfig, pairs: Sequence[TokenisedPair], reference: Scores | None) -> list[Stage]:
    """One stage for all methods but sdpo, whose stages share the pairs, and `training.max_steps`, evenly.

    Raises InvalidInput where there are fewer pairs, or steps, than stages.
    """
    method = config.method
    if not isinstance(method, SDPO):
        return [Stage(config, pairs, reference)]
    assert reference is not None
    if len(pairs) < method.stages:
        raise InvalidInput([f"method.stages={method.stages}: there are {len(pairs)} training pairs"])
    steps = config.training.max_steps
    if 0 < steps < method.stages:
        raise InvalidInput([f"method.stages={method.stages}: there are {steps} steps, training.max_steps={steps}"])
    margins = reference.chosen_logps - reference.rejected_logps
    order = margins.argsort(descending=True, stable=True) if method.order == "easy_first" else torch.arange(len(pairs))
    parts = order.tensor_split(method.stages)
    return [
        Stage(
            _with_share_of_steps(config, number, method.stages),
            [pairs[index] for index in part.tolist()],
            reference.at(part) if number == 0 else None,
        )
        for number, part in enumerate(parts)
    ]


def _with_share_of_steps(config: RunConfig, stage: int, stages: int) -> RunConfig:
    if config.training.max_steps < 0:
        return config
    each, left = divmod(config.training.max_steps, stages)
    steps = each + (stage < left)
    return config.model_copy(update={"training": config.training.model_copy(update={"max_steps": steps})})
