"""Which stages a run's method trains in: one on the pairs as they are, or several, or on data that it makes itself.

stages(materials) -> [make the first, make the second, ...], each called when its turn has come
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch

from trainers import backtranslation, online_dpo, rloo, rso
from trainers.config import RunConfig
from trainers.errors import InvalidInput
from trainers.method_config import SDPO
from trainers.stage import Maker, Materials, Stage


def stages(materials: Materials) -> list[Maker]:
    """One stage on all pairs for most methods. Raises InvalidInput where there are fewer pairs than stages."""
    return PIPELINES.get(materials.config.method.name, _whole)(materials)


def _whole(materials: Materials) -> list[Maker]:
    return [lambda: Stage(materials.config, materials.pairs, materials.reference)]


def _stepwise(materials: Materials) -> list[Maker]:
    """One after the other, with DPO's loss, -log σ(β [h(w) - h(l)]); they share pairs and `training.max_steps` evenly.

    Each is held to where the one before it ended. arXiv:2403.19270, section 3: easy pairs first, by what the reference
    makes of them. Raises InvalidInput where there are fewer pairs, or steps, than stages.
    """
    config, pairs, reference = materials.config, materials.pairs, materials.reference
    method = config.method
    assert isinstance(method, SDPO)
    assert reference is not None
    if len(pairs) < method.stages:
        raise InvalidInput([f"method.stages={method.stages}: there are {len(pairs)} training pairs"])
    steps = config.training.max_steps
    if 0 < steps < method.stages:
        raise InvalidInput([f"method.stages={method.stages}: there are {steps} steps, training.max_steps={steps}"])
    margins = reference.chosen_logps - reference.rejected_logps
    order = margins.argsort(descending=True, stable=True) if method.order == "easy_first" else torch.arange(len(pairs))
    parts = order.tensor_split(method.stages)

    def make(number: int) -> Stage:
        part = parts[number]
        own = [pairs[index] for index in part.tolist()]
        share = _with_share_of_steps(config, number, method.stages)
        return Stage(share, own, reference.at(part) if number == 0 else materials.score(own))

    return [partial(make, number) for number in range(method.stages)]


def _with_share_of_steps(config: RunConfig, stage: int, stages: int) -> RunConfig:
    if config.training.max_steps < 0:
        return config
    each, left = divmod(config.training.max_steps, stages)
    steps = each + (stage < left)
    return config.model_copy(update={"training": config.training.model_copy(update={"max_steps": steps})})


# Methods of several stages, or of one on data that they make.
PIPELINES: Mapping[str, Callable[[Materials], list[Maker]]] = {
    "sdpo": _stepwise,
    "rso": rso.stages,
    "online_dpo": online_dpo.stages,
    "rloo": rloo.stages,
    "backtranslation": backtranslation.stages,
}
