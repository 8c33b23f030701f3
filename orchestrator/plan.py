"""From a command to everything it would run, checked: trials, their runs, and what would go wrong with them.

    method=dpo,ipo beta=0.1 seed=0,1 -> trials [0: dpo, 1: ipo], runs [t0000-s0-…, t0000-s1-…, t0001-s0-…, t0001-s1-…]

Writes nothing. All faults of a command are told together, before anything expensive starts.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import inspection
from orchestrator.command_settings import misplaced, settings_of
from orchestrator.config import Composer, Source, composer
from orchestrator.errors import BadCommand
from orchestrator.faults import NO_TRIAL, Faults
from orchestrator.forecast import Need, largest
from orchestrator.inspection import Found
from orchestrator.launchers import cluster
from orchestrator.launchers.choose import describe
from orchestrator.overrides import Parsed
from orchestrator.planned import Planned, planned_runs
from orchestrator.published import published
from orchestrator.reference_step import reference_steps, scored_before
from orchestrator.settings import StudySettings
from orchestrator.store import BYTES_A_RUN, StudyFolder
from orchestrator.study_name import cache_of, held_by_another, identity_of, name_of, no_room, root_of
from orchestrator.trials import draft_trials
from sweeps.types import Scalar, Trial
from trainers import inputs
from trainers.config import RUN_SECTIONS
from trainers.data import Report
from trainers.errors import NotAtHand
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
    drafted = draft_trials(compose, parsed)
    trials = [draft.trial for draft in drafted.drafts]
    faults = Faults(trials)
    faults.add(NO_TRIAL, [*parsed.faults, *misplaced(parsed.sweeps, allowed=sweep), *drafted.faults])
    settings = settings_of(compose, parsed, drafted.drafts[0], faults)
    seeds = next((sweep for sweep in parsed.sweeps if sweep.key == "seed"), None)
    planned = planned_runs(compose, drafted.drafts, seeds, settings, faults)
    return _Command(settings, drafted.space, trials, drafted.left_out, planned, faults)


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
    identity = identity_of(planned)
    name = settings.study or name_of(planned, identity)
    folder = StudyFolder(_place(lambda: root_of(settings, name), faults))
    faults.add(NO_TRIAL, _unreadable_published(settings))
    faults.add(NO_TRIAL, no_room(folder.root, len(planned) * BYTES_A_RUN))
    runs = _with_needs(planned, [_spec(run, name, folder, cache_dir) for run in planned])
    refused, notes = cluster.check(settings.launcher, folder.root, runs)
    faults.add(NO_TRIAL, refused)
    faults.raise_if_any()  # before the next, whose answer depends on the runs being what the user wants
    faults.add(NO_TRIAL, held_by_another(folder, name, identity, planned))
    faults.raise_if_any()
    steps, runs = reference_steps(runs, settings)
    return Plan(
        name, folder.root, identity, settings, command.space, command.trials, command.left_out, runs, steps,
        found.reports, memory, machine, notes,
    )  # fmt: skip


def _spec(run: Planned, study: str, folder: StudyFolder, cache_dir: Path) -> RunSpec:
    spec = RunSpec(
        study=study,
        trial=run.trial.number,
        seed=run.config.seed,
        method=run.config.method.name,
        params=run.trial.params,
        config=inputs.resolved(run.config),
        fingerprint=run.fingerprint,
        run_dir=folder.root,
        cache_dir=cache_dir,
        tracking_id=secrets.token_hex(8),
        inputs=inputs.digests(run.config),
        resources=run.resources,
    )
    return spec.at(folder.run(spec.run_id))


def _with_needs(planned: Sequence[Planned], specs: Sequence[RunSpec]) -> list[RunSpec]:
    return [
        replace(spec, needs=tuple(specs[place].run_id for place in run.needs))
        for run, spec in zip(planned, specs, strict=True)
    ]


assert set(RUN_SECTIONS).isdisjoint(StudySettings.model_fields), "a key belongs to the run or to the study"
