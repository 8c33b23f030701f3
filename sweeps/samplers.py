"""The samplers there are, and what each takes: from a kind and its arguments to Optuna's sampler.

SamplerSettings("tpe", seed=3, arguments={"n_startup_trials": 20}) -> optuna.samplers.TPESampler(...)

Their arguments are Optuna's own, as far as they are plain values and not on their way out.
"""

import difflib
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeps.dimensions import Choice
from sweeps.errors import SamplerError
from sweeps.quiet import quietly
from sweeps.space import Space
from sweeps.types import Scalar

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

# By kind, Optuna's class; the grid is our own, and auto becomes one of the others.
CLASSES: Mapping[str, str] = {
    "random": "RandomSampler",
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "bruteforce": "BruteForceSampler",
}
KINDS = ("grid", *CLASSES, "auto")
ONE_OBJECTIVE = ("cmaes",)
# Objects and functions, which no config holds; what we set ourselves; what Optuna is about to remove.
_NOT_FOR_CONFIG = frozenset(
    {
        *("self", "seed", "independent_sampler", "constraints_func", "source_trials", "reference_points"),
        *("mutation", "crossover", "elite_population_selection_strategy", "child_generation_strategy"),
        *("after_trial_strategy", "warn_independent_sampling", "warn_asynchronous_seeding"),
        *("consider_prior", "prior_weight", "consider_magic_clip", "consider_endpoints", "gamma", "weights"),
        *("x0", "sigma0", "restart_strategy", "inc_popsize"),
    }
)
# What a declared type takes.
_PLAIN: Mapping[str, tuple[type, ...]] = {
    "int": (int,), "float": (float, int), "bool": (bool,), "str": (str,), "None": (type(None),),
}  # fmt: skip
# `auto`: up to so many points every one is tried; up to so many trials a Gaussian process is worth its time.
FEW_POINTS, FEW_TRIALS = 1000, 200
# From so many trials on, evolution under several objectives.
MANY_TRIALS = 1000


@dataclass(frozen=True)
class SamplerSettings:
    """Which sampler, and how: a kind of KINDS, a seed, and arguments of Optuna's class for it.

    Raises SamplerError on making, where there is no such kind or argument.
    """

    kind: str = "tpe"
    seed: int = 0
    arguments: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SamplerError(
                f"there is no sampler {self.kind}{_meant(self.kind, KINDS)}; there are {', '.join(KINDS)}"
            )
        known = arguments_of(self.kind)
        strange = [name for name in self.arguments if name not in known]
        if strange:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            told = ", ".join(f"{name}{_meant(name, known)}" for name in strange)
            raise SamplerError(f"sampler {self.kind} has no argument {told}; {takes}")
        if self.kind in CLASSES:
            import optuna

            wrong = mistyped(getattr(optuna.samplers, CLASSES[self.kind]), self.arguments)
            if wrong:
                raise SamplerError(f"sampler {self.kind}: {'; '.join(wrong)}")


def arguments_of(kind: str) -> Sequence[str]:
    """The arguments that a kind takes."""
    if kind not in CLASSES:
        return ()
    import optuna

    return plain_arguments(getattr(optuna.samplers, CLASSES[kind]))


def plain_arguments(cls: Callable[..., Any]) -> Sequence[str]:
    """Those arguments of a class of Optuna's that a config may give."""
    return [name for name in inspect.signature(cls).parameters if name not in _NOT_FOR_CONFIG]


def mistyped(cls: Callable[..., Any], given: Mapping[str, Any]) -> list[str]:
    """What is said of arguments of another type than the class declares: it would tell in the middle of a study."""
    found = []
    for name, value in given.items():
        declared = inspect.signature(cls).parameters[name].annotation
        words = re.split(r"\s*\|\s*", declared if isinstance(declared, str) else declared.__name__)
        types = tuple(kind for word in words for kind in _PLAIN.get(word, ()))
        whole = isinstance(value, bool) and bool not in types
        if types and (whole or not isinstance(value, types)):
            found.append(f"{name}={value!r} is no {' or '.join(words)}")
    return found


def resolve(settings: SamplerSettings, space: Space, objectives: int, n_trials: int | None) -> SamplerSettings:
    """The settings with `auto` become a kind. Raises SamplerError where the kind cannot search the space.

    Optuna keeps its AutoSampler outside of its package, so the rule is our own, in this order:
    a countable space of which the budget takes in every point (at most 1,000) -> bruteforce;
    several objectives -> nsga2 from 1,000 trials on, else tpe;
    conditions, unions or more choices than numbers -> tpe;
    numbers, up to 200 trials -> gp; more, or without a bound -> cmaes where all are numbers and there are two at least;
    anything else -> tpe.
    """
    if settings.kind == "auto":
        settings = SamplerSettings(_automatic(space, objectives, n_trials), settings.seed, settings.arguments)
    if settings.kind in ONE_OBJECTIVE and objectives > 1:
        raise SamplerError(
            f"sampler {settings.kind} takes one objective, not {objectives}: choose nsga2, nsga3, tpe or gp"
        )
    if settings.kind == "bruteforce" and not space.finite:
        endless = ", ".join(slot.name for slot in space.slots if slot.dimension.count is None)
        raise SamplerError(
            f"sampler bruteforce tries every point, and the continuous range of {endless} has no last one: "
            "give it a step, or choose tpe, random, gp, cmaes, qmc, nsga2, nsga3 or auto"
        )
    return settings


def _automatic(space: Space, objectives: int, n_trials: int | None) -> str:
    if _few_points(space, n_trials):
        return "bruteforce"
    if objectives > 1:
        return "nsga2" if (n_trials or 0) >= MANY_TRIALS else "tpe"
    conditional = any(slot.guard.given or slot.guard.parts for slot in space.slots)
    choices = sum(isinstance(slot.dimension, Choice) for slot in space.slots)
    if conditional or 2 * choices > len(space.slots):
        return "tpe"
    if n_trials is not None and n_trials <= FEW_TRIALS:
        return "gp"
    return "cmaes" if choices == 0 and len(space.slots) > 1 else "tpe"


def _few_points(space: Space, n_trials: int | None) -> bool:
    if not space.finite:
        return False
    most = min(FEW_POINTS, FEW_POINTS if n_trials is None else n_trials)
    return all(place < most for place, _ in enumerate(_bounded(space, most + 1)))


def _bounded(space: Space, most: int) -> list[dict[str, Scalar]]:
    from itertools import islice

    return list(islice(space.points(), most))


def make_sampler(settings: SamplerSettings, number: int, attempt: int) -> "BaseSampler":
    """Optuna's sampler for one draw, so seeded that the draw depends on seed, number and history alone.

    A sampler that lived on would draw other points after a restart than without one. Raises SamplerError.
    """
    import optuna

    cls = getattr(optuna.samplers, CLASSES[settings.kind])
    seed = derived_seed(settings.seed, number, attempt)
    given: dict[str, Any] = dict(settings.arguments)
    if settings.kind in ("gp", "cmaes", "qmc"):
        # What these cannot place, categories above all, is drawn at random; that is told by `resolve`, not by Optuna.
        given |= {"warn_independent_sampling": False, "independent_sampler": optuna.samplers.RandomSampler(seed=seed)}
    if settings.kind == "qmc":
        seed = settings.seed  # a sequence is one sequence
    try:
        with quietly():
            sampler: BaseSampler = cls(seed=seed, **given)
    except (TypeError, ValueError, ImportError) as error:
        raise SamplerError(f"sampler {settings.kind}: {error}") from None
    return sampler


def derived_seed(*parts: int) -> int:
    """A seed below 2**32 for each combination."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
