"""From a command to everything it would run, checked: trials, their runs, and what would go wrong with them.

    method=dpo,ipo beta=0.1 seed=0,1 -> trials [0: dpo, 1: ipo], runs [t0000-s0-…, t0000-s1-…, t0001-s0-…, t0001-s1-…]

Writes nothing. All faults of a command are told together, before anything expensive starts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import inspection, search_plan
from orchestrator.command_settings import misplaced, settings_of
from orchestrator.config import Composer, Source, composer
from orchestrator.errors import BadCommand
from orchestrator.faults import NO_TRIAL, Faults
from orchestrator.forecast import Need, largest
from orchestrator.inspection import Found
from orchestrator.launchers import cluster
from orchestrator.launchers.choose import describe
from orchestrator.objective import Objective
from orchestrator.on_the_way import Preparing
from orchestrator.overrides import Parsed, Sweep
from orchestrator.planned import Planned, planned_runs
from orchestrator.published import published
from orchestrator.reference_step import reference_steps, scored_before
from orchestrator.search_plan import SearchPlan
from orchestrator.search_space import Searched, draft_search, every_point
from orchestrator.settings import DEFAULT_OBJECTIVE, StudySettings
from orchestrator.specs import spec_of
from orchestrator.store import BYTES_A_RUN, StudyFolder
from orchestrator.study_name import (
    cache_of,
    held_by_another,
    identity_of,
    name_of,
    no_room,
    root_of,
    search_identity,
)
from orchestrator.trials import draft_trials
from sweeps.types import Scalar, Trial
from trainers.config import RUN_SECTIONS
from trainers.data import Report
from trainers.errors import InvalidInput, NotAtHand
from trainers.machine import Machine
from trainers.spec import RunSpec


@dataclass(frozen=True)
class Plan:
    """A study as it would be, with its runs in the order in which they would start."""

    name: str
    root: Path
    identity: str
    settings: StudySettings
    # The swept keys and their values, without the seed; a trial has those that its options know.
    space: Mapping[str, Sequence[Scalar]]
    trials: Sequence[Trial]
    # What the command asks for and not every trial has.
    left_out: Sequence[str]
    runs: Sequence[RunSpec]
    # What comes before them and is done once for all.
    steps: Sequence[RunSpec]
    # What was found in the data, by the name of the data set; None where only the run can look.
    data: Mapping[str, Report | None]
    # What runs take of memory and time.
    memory: Sequence[Need]
    # The machine that runs go to, or stand in for one that was named, where they go to no cluster.
    machine: Machine
    # What could not be checked of where the runs are to go.
    notes: Sequence[str] = ()
    # What the runs ask of their models beyond what these were made for, and what they will never come to do.
    warnings: Sequence[str] = ()
    # What methods should be set to on their data, and are not.
    advice: Sequence[str] = ()
    # How trials are found where not all are made at once: `trials` and `runs` are then the corners of its space.
    search: SearchPlan | None = None
    # Why runs do not fit, and what is missing here to carry them out, where the plan was to be made all the same.
    unfit: Sequence[str] = ()
    absent: Sequence[str] = ()


@dataclass(frozen=True)
class _Command:
    """What a command says, composed: its settings, its trials and their runs."""

    settings: StudySettings
    space: Mapping[str, Sequence[Scalar]]
    trials: Sequence[Trial]
    left_out: Sequence[str]
    planned: Sequence[Planned]
    faults: Faults
    search: SearchPlan | None = None


def make_plan(overrides: Sequence[str], *, sweep: bool, source: Source, machine: Machine, fitting: bool = True) -> Plan:
    """Compose and check every run. Raises BadCommand with every fault found.

    A run that does not fit is a fault, and so is a model or data set that is neither here nor to be had; with
    `fitting=False` such are told in the plan, where there are no others.
    """
    with composer(source) as compose:
        parsed = compose.parse(overrides)
        if sweep:
            parsed = compose.with_own_sweep(parsed)
        try:
            command = _composed(compose, parsed, sweep=sweep)
        except BadCommand as error:  # where nothing composes
            raise BadCommand([*parsed.faults, *error.faults]) from None
    settings, planned, faults = command.settings, command.planned, command.faults
    if settings.gpu is not None:
        machine = machine.with_gpu(settings.gpu)
    machine = machine.shared_by(getattr(settings.launcher, "runs_per_gpu", 1))

    def machine_of(run: Planned) -> Machine:
        return cluster.machine(settings.launcher, run.resources, settings.gpu) or machine

    cache_dir = _place(lambda: cache_of(settings), faults)
    found = inspection.look(planned, faults)
    absent = faults.take(NotAtHand)
    before = scored_before({run.fingerprint: run.config for run in planned}, settings)
    unfit = inspection.too_large_for(planned, found, machine_of, before, command.trials)
    memory = inspection.memory(planned, found, machine_of, before)
    if not unfit.told():
        unfit.add(NO_TRIAL, _too_many_workers(settings, machine, memory))
    if fitting:
        faults.add_from(absent)
        faults.add_from(unfit)
    try:
        plan = _assemble(command, found, memory, machine, cache_dir)
    except BadCommand as error:
        raise BadCommand([*error.faults, *absent.told(), *unfit.told()]) from None
    return replace(
        plan,
        absent=absent.told(),
        unfit=unfit.told(),
        warnings=inspection.warnings(planned, found, command.trials),
        advice=inspection.advised(planned, command.trials),
    )


def _composed(compose: Composer, parsed: Parsed, *, sweep: bool) -> _Command:
    told: list[str] = []
    if sweep:
        parsed, told = search_plan.with_sweeper(compose, parsed)
    before = search_plan.settings_before(compose, parsed) if sweep else None
    structured = before is not None and not before.search.empty
    searched = None
    if before is not None and (structured or before.sweeper.kind != "grid"):
        searched, drafted = draft_search(compose, parsed, before.search)
        if before.sweeper.kind == "grid":
            drafted = every_point(compose, searched, drafted)
            searched = None
    else:
        drafted = draft_trials(compose, parsed)
    trials = [draft.trial for draft in drafted.drafts]
    faults = Faults(trials)
    faults.add(NO_TRIAL, [*parsed.faults, *misplaced(parsed.sweeps, allowed=sweep), *drafted.faults])
    settings = settings_of(compose, parsed, drafted.drafts[0], faults)
    seeds = next((sweep for sweep in parsed.sweeps if sweep.key == "seed"), None)
    search = None if searched is None else _search(searched, parsed, seeds, settings, faults)
    swept = [key for key, values in drafted.space.items() if len(values) > 1]
    by_default = searched is None and settings.objective.directions == DEFAULT_OBJECTIVE
    if sweep and searched is None:
        faults.add(NO_TRIAL, search_plan.not_of_a_grid(settings))
    faults.add(NO_TRIAL, search_plan.meaningless(settings, swept, by_default=by_default))
    planned = planned_runs(compose, drafted.drafts, seeds if search is None else None, settings, faults)
    if search is not None and planned:
        search = _checked(search, planned, settings, faults)
    left_out = [*told, *drafted.left_out]
    return _Command(settings, drafted.space, trials, left_out, planned, faults, search)


def _search(
    searched: Searched, parsed: Parsed, seeds: Sweep | None, settings: StudySettings, faults: Faults
) -> SearchPlan:
    swept = [str(sweep) for sweep in parsed.sweeps]
    given = [] if seeds is None else [int(str(value)) for value in seeds.values]
    try:
        trial_seeds = search_plan.seeds_of(settings, given, _first_seed(parsed))
    except BadCommand as error:
        faults.add(NO_TRIAL, error.faults)
        trial_seeds = given
    return SearchPlan(searched, parsed.fixed, swept, search_plan.trials_of(settings, searched), trial_seeds)


def _checked(search: SearchPlan, planned: Sequence[Planned], settings: StudySettings, faults: Faults) -> SearchPlan:
    """The search with its pruner's arguments; what its sampler and pruner do not take goes to `faults`."""
    if any(run.needs for run in planned):
        faults.add(NO_TRIAL, ["a search makes its trials one by one, and none can begin at, or be held to, another: "
                              "give the path of a finished run (start=adapter, reference=adapter)"])  # fmt: skip
    try:
        preparing = Preparing(settings.pruner, Objective.of(settings.objective.directions))
        search = replace(search, pruner=preparing.arguments(planned[0].config))
        for run in planned:
            preparing.with_values(run.config)
        faults.add(NO_TRIAL, search_plan.unusable(settings, search))
    except InvalidInput as error:
        faults.add(NO_TRIAL, error.faults)
    return search


def _first_seed(parsed: Parsed) -> int:
    given = [text.partition("=")[2] for text in parsed.fixed if text.startswith("seed=")]
    return int(given[-1]) if given and given[-1].isdigit() else 0


def _too_many_workers(settings: StudySettings, machine: Machine, memory: Sequence[Need]) -> Sequence[str]:
    try:
        describe(settings.launcher, machine, run_bytes=largest(memory))
    except BadCommand as error:
        return error.faults
    return ()


def _unreadable_published(settings: StudySettings) -> Sequence[str]:
    try:
        published(settings.table.published)
    except BadCommand as error:
        return error.faults
    return ()


def _place(find: Callable[[], Path], faults: Faults) -> Path:
    try:
        return find()
    except BadCommand as error:
        faults.add(NO_TRIAL, error.faults)
        return Path()


def _assemble(command: _Command, found: Found, memory: Sequence[Need], machine: Machine, cache_dir: Path) -> Plan:
    settings, planned, faults = command.settings, command.planned, command.faults
    identity = identity_of(planned) if command.search is None else search_identity(planned, command.search, settings)
    name = settings.study or name_of(planned, identity)
    folder = StudyFolder(_place(lambda: root_of(settings, name), faults))
    faults.add(NO_TRIAL, _unreadable_published(settings))
    faults.add(NO_TRIAL, no_room(folder.root, _expected(command) * BYTES_A_RUN))
    runs = _with_needs(planned, [spec_of(run, name, folder, cache_dir) for run in planned])
    refused, notes = cluster.check(settings.launcher, folder.root, runs)
    faults.add(NO_TRIAL, refused)
    faults.raise_if_any()  # before the next, whose answer depends on the runs being what the user wants
    faults.add(NO_TRIAL, held_by_another(folder, name, identity, planned, adopt=_adopts(command)))
    faults.raise_if_any()
    steps, runs = ([], runs) if command.search is not None else reference_steps(runs, settings)
    return Plan(
        name, folder.root, identity, settings, command.space, command.trials, command.left_out, runs, steps,
        found.reports, memory, machine, notes, search=command.search,
    )  # fmt: skip


def _adopts(command: _Command) -> bool:
    return command.search is not None and command.settings.search.adopt


def _expected(command: _Command) -> int:
    """How many runs there will be."""
    if command.search is None:
        return len(command.planned)
    return (command.search.n_trials or len(command.planned)) * len(command.search.seeds)


def _with_needs(planned: Sequence[Planned], specs: Sequence[RunSpec]) -> list[RunSpec]:
    return [
        replace(spec, needs=tuple(specs[place].run_id for place in run.needs))
        for run, spec in zip(planned, specs, strict=True)
    ]


assert set(RUN_SECTIONS).isdisjoint(StudySettings.model_fields), "a key belongs to the run or to the study"
