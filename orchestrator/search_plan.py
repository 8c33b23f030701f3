"""What a command searches: whether it does, who proposes trials, how many, on which seeds, and what speaks against it.

'beta=interval(0.005,0.5)' and no sweeper chosen -> sweeper=tpe, 20 trials, and a sentence that says so
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.config import Composer
from orchestrator.errors import BadCommand
from orchestrator.objective import Objective
from orchestrator.on_the_way import judged_by
from orchestrator.overrides import Parsed
from orchestrator.racing import wilcoxon_faults
from orchestrator.search_settings import SamplerSettings
from orchestrator.search_space import Searched
from orchestrator.settings import StudySettings, study_settings
from orchestrator.wording import count
from sweeps.dimensions import Choice, Dimension, Integer
from sweeps.errors import SweepsError
from sweeps.pruning import Pruner
from sweeps.samplers import SamplerSettings as Sampler
from sweeps.samplers import resolve
from sweeps.space import Space
from trainers.metrics_table import Dependence, known

SAMPLERS = ("tpe", "random", "gp", "cmaes", "qmc", "nsga2", "nsga3", "bruteforce", "auto")
DEFAULT_SAMPLER = "tpe"
DEFAULT_TRIALS = 20
# What the number of a metric depends on, by the swept key that changes it.
_CHANGES: Mapping[str, Dependence] = {
    "method": "method",
    "beta": "strength",
    "reference": "reference",
    "model": "tokenizer",
}
_MOST_POINTS = 100_000
_STRENGTHS = ("beta", "lambda", "tau")


@dataclass(frozen=True)
class SearchPlan:
    """A search: its space, how many trials (None: until `timeout`), and the seeds of each."""

    searched: Searched
    # As the command gives it, for whoever goes on with the study later.
    fixed: Sequence[str]
    swept: Sequence[str]
    n_trials: int | None
    seeds: Sequence[int]
    # Arguments of the pruner, with what follows from how long runs are.
    pruner: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As study.yaml keeps it."""
        return {
            "fixed": list(self.fixed),
            "swept": list(self.swept),
            "space": self.searched.space.as_dict(),
            "n_trials": self.n_trials,
            "seeds": list(self.seeds),
            "pruner": dict(self.pruner),
        }


def settings_before(compose: Composer, parsed: Parsed) -> StudySettings | None:
    """The study's settings as far as they do not depend on a trial; None where they are at fault, told elsewhere."""
    try:
        return study_settings(compose.compose([text for text in parsed.fixed if _sound(compose, text)]).config)
    except BadCommand:
        return None


def _sound(compose: Composer, text: str) -> bool:
    """Whether an override is of the study's settings or an option; whatever else is wrong shall not matter here."""
    return compose.is_option(text) or compose.key(text).split(".")[0] in StudySettings.model_fields


def with_sweeper(compose: Composer, parsed: Parsed) -> tuple[Parsed, list[str]]:
    """The command with a sampler where it has ranges and chooses none, and what is to be said of that.

    Raises BadCommand where a grid was asked for over a range.
    """
    settings = settings_before(compose, parsed)
    ranges = [sweep for sweep in parsed.sweeps if sweep.continuous]
    chosen = [str(compose.value(text)) for text in parsed.fixed if compose.key(text) == "sweeper"]
    # One that is not there is told of with all that does not compose.
    unknown = bool(chosen) and chosen[-1] != "grid"
    if settings is None or settings.sweeper.kind != "grid" or not ranges or unknown:
        return parsed, []
    others = ", ".join(SAMPLERS[1:])
    if chosen:
        raise BadCommand([
            f"{sweep}: a grid cannot sweep over a continuous range: name the values ({sweep.key}=0.05,0.1,0.5), or "
            f"search it (sweeper={SAMPLERS[0]}; or {others})"
            for sweep in ranges
        ])  # fmt: skip
    keys = " and ".join(dict.fromkeys(sweep.key for sweep in ranges))
    told = f"{keys}: a range, which is searched with sweeper={DEFAULT_SAMPLER} (or {others})"
    return replace(parsed, fixed=[*parsed.fixed, f"sweeper={DEFAULT_SAMPLER}"]), [told]


def trials_of(settings: StudySettings, searched: Searched) -> int | None:
    """How many trials at most: as asked for, all of a finite space, or the default where nothing else ends it."""
    size = size_of(searched.space)
    asked = settings.n_trials
    if asked is None and settings.sweeper.kind != "bruteforce" and settings.timeout is None:
        asked = DEFAULT_TRIALS
    if size is None:
        return asked
    return size if asked is None else min(asked, size)


def size_of(space: Space) -> int | None:
    """How many points it has; None where there is no end to them, or none that anybody will reach."""
    if not space.finite:
        return None
    counted = sum(1 for _ in itertools.islice(space.points(), _MOST_POINTS + 1))
    return counted if counted <= _MOST_POINTS else None


def seeds_of(settings: StudySettings, swept: Sequence[int], first: int) -> Sequence[int]:
    """The seeds of each trial: those that are swept, or so many from the first on. Raises BadCommand where both are."""
    if not swept:
        return range(first, first + (settings.seeds_per_trial or 1))
    if settings.seeds_per_trial not in (None, len(swept)):
        raise BadCommand(
            [f"seeds_per_trial={settings.seeds_per_trial}, and seed= names {len(swept)}: give one of them"]
        )
    return list(swept)


def meaningless(settings: StudySettings, swept: Iterable[str], *, by_default: bool) -> Iterable[str]:
    """Faults of an objective whose number means something else from trial to trial.

    `by_default`: nobody has asked for the objective; a table says beside its numbers what of them cannot be compared.
    """
    if settings.objective.allow_incomparable:
        return
    changed: dict[str, str] = {}
    for key in swept:
        name = "beta" if key in _STRENGTHS else key.split(".")[0]
        if name in _CHANGES and (name != "model" or key == "model"):
            changed.setdefault(_CHANGES[name], key)
    for metric in settings.objective.directions:
        row = known(metric)
        found = [changed[what] for what in sorted(row.depends) if what in changed] if row is not None else []
        if row is None or not found or by_default:
            continue
        better = [name for name in row.instead if not _depends(name, changed)]
        instead = f"objective.metric={better[0]} can be compared" if better else "choose another metric"
        yield (
            f"objective: {metric} means something else for each {' and '.join(found)}, which {_are(found)} swept: "
            f"{instead}; objective.allow_incomparable=true compares it all the same"
        )


def _are(found: Sequence[str]) -> str:
    return "is" if len(found) == 1 else "are"


def _depends(metric: str, changed: Mapping[str, str]) -> bool:
    row = known(metric)
    return row is not None and any(what in changed for what in row.depends)


def told(settings: StudySettings, plan: SearchPlan) -> list[str]:
    """What a person should know of a search before it begins, a line each."""
    size = size_of(plan.searched.space)
    many = "trials until the time is over" if plan.n_trials is None else count(plan.n_trials, "trial")
    of = f" of {count(size, 'point')}" if size is not None else ""
    seeds = f", {len(plan.seeds)} seeds each" if len(plan.seeds) > 1 else ""
    lines = [f"sweeper={_sampler_told(settings, plan)}: {many}{of}{seeds}, for {objective_told(settings)}"]
    if settings.pruner.kind != "none":
        judged = judged_by(settings.pruner, Objective.of(settings.objective.directions)).metric
        given = ", ".join(f"{name}={value}" for name, value in plan.pruner.items())
        lines.append(f"pruner={settings.pruner.kind}, by {judged}{f' ({given})' if given else ''}")
    if settings.timeout is not None:
        lines.append(f"no new trial is begun after {settings.timeout:g} s")
    return lines


def _sampler_told(settings: StudySettings, plan: SearchPlan) -> str:
    """ "tpe", "auto (gp)"."""
    kind = settings.sweeper.kind
    if kind != "auto":
        return kind
    objectives = len(settings.objective.directions)
    return f"auto ({resolve(_sampler(settings), plan.searched.space, objectives, plan.n_trials).kind})"


def _sampler(settings: StudySettings) -> Sampler:
    """Raises SamplerError where it does not take its arguments."""
    assert isinstance(settings.sweeper, SamplerSettings)
    return Sampler(settings.sweeper.kind, settings.sweeper.seed, settings.sweeper.arguments)


def dimension_told(dimension: Dimension) -> str:
    """ "dpo, ipo", "0.005 to 0.5 (log)", "1 to 9 in steps of 2"."""
    if isinstance(dimension, Choice):
        return ", ".join(map(str, dimension.values))
    log = " (log)" if dimension.log else ""
    step = f" in steps of {dimension.step:g}" if dimension.step not in (None, 1) else ""
    whole = ", whole numbers" if isinstance(dimension, Integer) and dimension.step == 1 else ""
    return f"{dimension.low:g} to {dimension.high:g}{log}{step}{whole}"


def objective_told(settings: StudySettings) -> str:
    """ "largest eval/reward against smallest eval/kl"."""
    return Objective.of(settings.objective.directions).told()


def not_of_a_grid(settings: StudySettings) -> Iterable[str]:
    """Faults of what only a search heeds, given to a grid, which has all of its trials on all of its seeds."""
    every = "sweeper=bruteforce tries every point of a space with it"
    if settings.n_trials is not None:
        yield f"n_trials={settings.n_trials}: a grid has a trial for each of its points; sweeper=random draws some"
    if settings.seeds_per_trial is not None:
        yield f"seeds_per_trial={settings.seeds_per_trial}: a grid sweeps its seeds, seed=0,1,2; {every}"
    if settings.pruner.kind != "none":
        yield f"pruner={settings.pruner.kind}: a grid prunes nothing; {every}"


def unusable(settings: StudySettings, plan: SearchPlan) -> Iterable[str]:
    """Faults of the sampler and the pruner: what they do not take, or cannot search."""
    directions = settings.objective.directions
    try:
        resolve(_sampler(settings), plan.searched.space, len(directions), plan.n_trials)
    except SweepsError as error:
        yield f"sweeper: {error}"
    if settings.pruner.kind == "none":
        return
    try:
        if settings.pruner.kind == "wilcoxon":
            judged = judged_by(settings.pruner, Objective.of(directions))
            yield from wilcoxon_faults(settings.pruner, judged, len(plan.seeds))
        else:
            Pruner(settings.pruner.kind, plan.pruner)
    except SweepsError as error:
        yield f"pruner: {error}"
