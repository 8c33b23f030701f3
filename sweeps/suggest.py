"""One draw of Optuna's sampler along the slots of a space: a slot is asked for once those before it are decided."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweeps.dimensions import Choice, Dimension, Integer, same
from sweeps.slots import Draw, Slot, walk
from sweeps.types import Scalar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import Trial as OptunaTrial


def suggest(study: "Study", slots: Sequence[Slot], fixed: Draw) -> tuple["OptunaTrial", dict[str, Scalar]]:
    """A new running trial of the study, and the point that it holds; `fixed` slots are not for the sampler."""
    if fixed:
        by_name = {slot.name: slot for slot in slots}
        study.enqueue_trial({name: to_optuna(by_name[name].dimension, value) for name, value in fixed.items()})
    trial = study.ask()
    _, params = walk(slots, lambda slot: _suggested(trial, slot))
    return trial, params


def _suggested(trial: "OptunaTrial", slot: Slot) -> Scalar:
    dimension = slot.dimension
    if isinstance(dimension, Choice):
        words = choices(dimension)
        return dimension.values[words.index(trial.suggest_categorical(slot.name, words))]
    if isinstance(dimension, Integer):
        step = {} if dimension.log else {"step": dimension.step}
        return trial.suggest_int(slot.name, dimension.low, dimension.high, log=dimension.log, **step)
    number = trial.suggest_float(slot.name, dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return dimension.read(number)


def choices(dimension: Choice) -> list[Any]:
    """The values as Optuna is to have them: where it would take two for one, as true and 1, their texts."""
    values = dimension.values
    alike = any(one == other for place, one in enumerate(values) for other in values[:place])
    return [repr(value) for value in values] if alike else list(values)


def to_optuna(dimension: Dimension, value: Scalar) -> Any:
    """A value of the dimension as Optuna has it."""
    if not isinstance(dimension, Choice):
        return value
    place = next(place for place, own in enumerate(dimension.values) if same(own, value))
    return choices(dimension)[place]


def distribution(dimension: Dimension) -> "BaseDistribution":
    """The dimension in Optuna's terms."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(choices(dimension))
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def in_optuna(
    slots: Sequence[Slot], draw: Mapping[str, Scalar]
) -> tuple[dict[str, Any], "dict[str, BaseDistribution]"]:
    """The draw as a row has it: params and distributions, in the order in which they were decided."""
    dimensions = {slot.name: slot.dimension for slot in slots if slot.name in draw}
    return (
        {name: to_optuna(dimension, draw[name]) for name, dimension in dimensions.items()},
        {name: distribution(dimension) for name, dimension in dimensions.items()},
    )
