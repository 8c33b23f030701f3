"""From a command to everything it would run, checked: trials, their runs, and what would go wrong with them.

    method=dpo,ipo beta=0.1 seed=0,1 -> trials [0: dpo, 1: ipo], runs [t0000-s0-…, t0000-s1-…, t0001-s0-…, t0001-s1-…]

Writes nothing. All faults of a command are told together, before anything expensive starts.
"""

import difflib
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import lineage
from orchestrator.config import Composer, Parsed, Source, Sweep, composer, run_sections
from orchestrator.errors import BadCommand
from orchestrator.faults import NO_TRIAL, Faults
from orchestrator.forecast import Need, largest, needs
from orchestrator.launchers import cluster
from orchestrator.launchers.choose import describe
from orchestrator.published import published
from orchestrator.reference_step import reference_steps
from orchestrator.resources import run_resources
from orchestrator.settings import RESOURCES, StudySettings, study_settings
from orchestrator.store import BYTES_A_RUN, StudyFolder
from orchestrator.wording import one_line
from orchestrator.worker import TRAIN
from sweeps.grid import GridSweeper
from sweeps.types import Scalar, Trial
from trainers import inputs, limits, tracking
from trainers.config import RUN_SECTIONS, RunConfig
from trainers.config_check import check, mended
from trainers.data import Report, advice, inspect
from trainers.errors import InvalidInput, NotAtHand
from trainers.footprint import Machine, missing, too_large
from trainers.methods import METHODS
from trainers.metric_names import EVAL_METRICS, SAMPLE_METRICS
from trainers.spec import RunSpec


@dataclass(frozen=True)
class Plan:
    """A study as it would be, with its runs in the order in which they would start."""

    name: str
    root: Path
    identity: str
    settings: StudySettings
    # The swept keys and their values, without the seed.
    space: Mapping[str, Sequence[Scalar]]
    trials: Sequence[Trial]
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
    # What the runs ask of their models beyond what these were made for.
    warnings: Sequence[str] = ()
    # What methods should be set to on their data, and are not.
    advice: Sequence[str] = ()
    # Why runs do not fit, and what is missing here to carry them out, where the plan was to be made all the same.
    unfit: Sequence[str] = ()
    absent: Sequence[str] = ()


def make_plan(overrides: Sequence[str], *, sweep: bool, source: Source, machine: Machine, fitting: bool = True) -> Plan:
    """Compose and check every run. Raises BadCommand with every fault found.

    A run that does not fit is a fault, and so is a model or data set that is neither here nor to be had; with
    `fitting=False` such are told in the plan, where there are no others.
    """
    with composer(source) as compose:
        parsed = compose.parse(overrides)
        if sweep:
            parsed = compose.with_own_sweep(parsed)
        space = {s.key: s.values for s in parsed.sweeps if s.key != "seed"}
        trials = GridSweeper(space).ask(math.prod(map(len, space.values())))
        faults = Faults(trials)
        faults.add_all(trials, [*parsed.faults, *_misplaced(parsed.sweeps, allowed=sweep)])
        settings = _settings(compose, parsed, faults)
        planned = _composed(compose, parsed, trials, faults)
    planned = _linked(planned, settings, faults)
    if settings.gpu is not None:
        machine = machine.with_gpu(settings.gpu)
    machine = machine.shared_by(getattr(settings.launcher, "runs_per_gpu", 1))

    def machine_of(run: _Planned) -> Machine:
        return cluster.machine(settings.launcher, run.resources, settings.gpu) or machine

    found = _inspect(planned, _cache_dir(settings), faults)
    absent = Faults(trials) if fitting else faults.take(NotAtHand)
    unfit = Faults(trials)
    for runs in _grouped(planned, _weighed):
        longest = found.longest(runs[0])
        unfit.add_all((run.trial for run in runs), too_large(runs[0].config, machine_of(runs[0]), longest))
    if fitting or faults.told():
        faults.add_from(absent)
        faults.add_from(unfit)
    different = {run.fingerprint: run for run in planned}.values()
    memory = needs((run.config, found.of(run), machine_of(run)) for run in different)
    if not unfit.told():
        faults.add(NO_TRIAL, _too_many_workers(settings, machine, memory))
    faults.add(NO_TRIAL, _unreadable_published(settings))
    plan = _assemble(settings, space, trials, planned, found, memory, machine, faults)
    return replace(plan, unfit=unfit.told(), absent=absent.told(), advice=_advice(planned, trials))


def _weighed(config: RunConfig) -> object:
    """All that a run's memory depends on."""
    parts = (config.method.name, config.model, config.start, config.reference, config.peft, config.quantization)
    return (*parts, config.training, config.data, config.evaluation.batch_size)


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


def changed_settings(settings: Mapping[str, Any], overrides: Sequence[str], source: Source) -> StudySettings:
    """A study's settings with some of them changed; `launcher=...` takes another launcher with its defaults.

    Raises BadCommand with every fault.
    """
    with composer(source) as compose:
        parsed = compose.parse(overrides)
        if parsed.faults or parsed.sweeps:
            raise BadCommand([*parsed.faults, *_misplaced(parsed.sweeps, allowed=False)])
        groups = [text for text in parsed.fixed if text.startswith("launcher=")]
        known = {**settings, "launcher": compose.compose(groups).sound()["launcher"]} if groups else settings
        return study_settings(compose.changed(known, [text for text in parsed.fixed if text not in groups]).sound())


def _settings(compose: Composer, parsed: Parsed, faults: Faults) -> StudySettings:
    """What concerns the study as a whole; where it is at fault, the defaults, so that the runs can be looked at."""
    composed = compose.compose(parsed.fixed, [s.override(s.values[0]) for s in parsed.sweeps])
    try:
        settings = study_settings(composed.config)
        faults.add_all([NO_TRIAL], _unknown_metric(settings))
        faults.add_all([NO_TRIAL], _sweep_in_sweep(settings, parsed))
        return settings
    except BadCommand as error:
        faults.add(NO_TRIAL, error.faults)
        return study_settings(compose.compose([]).config)


def _sweep_in_sweep(settings: StudySettings, parsed: Parsed) -> Iterable[str]:
    """An experiment that is swept over would bring its own sweep for its trials alone, which no grid is."""
    if settings.sweep and any(sweep.key.lstrip("+") == "experiment" for sweep in parsed.sweeps):
        yield "experiment: these bring a sweep of their own, and cannot be swept together; run them one by one"


def _unknown_metric(settings: StudySettings) -> Iterable[str]:
    """A slip in the objective would only show in a table without a best."""
    metric = settings.objective.metric
    known = (*EVAL_METRICS, *SAMPLE_METRICS)
    if settings.launcher.target == TRAIN and metric.startswith("eval/") and metric not in known:
        near = difflib.get_close_matches(metric, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        yield f"objective.metric={metric}: no such metric; {hint}(metrics: {', '.join(known)}, or train/...)"


@dataclass(frozen=True)
class _Planned:
    """A run to be, before its study has a name."""

    trial: Trial
    config: RunConfig
    resources: Mapping[str, Scalar]
    fingerprint: str = ""
    # The places among the planned of the runs that must complete before this one may begin.
    needs: Sequence[int] = ()


def _misplaced(sweeps: Sequence[Sweep], *, allowed: bool) -> Iterable[str]:
    """Faults of sweeps where there may be none."""
    for sweep in sweeps:
        values = ",".join(sweep.texts)
        if not allowed:
            yield f"{sweep.key}={values}: several values make a sweep: add -m, or quote the value"
        elif sweep.key.lstrip("+").split(".")[0] in {*StudySettings.model_fields, "hydra", "tracking", RESOURCES}:
            yield f"{sweep.key}={values}: this concerns the study as a whole and cannot be swept"


def _composed(compose: Composer, parsed: Parsed, trials: Sequence[Trial], faults: Faults) -> list[_Planned]:
    """Every run's config, checked; one at fault is mended as far as can be, for what else may be wrong with it."""
    planned = []
    seeds = next((s for s in parsed.sweeps if s.key == "seed"), None)
    for trial in trials:
        swept = [s.override(trial.params[s.key]) for s in parsed.sweeps if s.key != "seed"]
        for seed in [[]] if seeds is None else [[seeds.override(value)] for value in seeds.values]:
            composed = compose.compose(parsed.fixed, [*swept, *seed])
            faults.add(trial, composed.faults)
            sections = run_sections(composed.config)
            resources, wrong = run_resources(composed.config)
            faults.add(trial, wrong)
            try:
                config: RunConfig | None = check(sections)
            except InvalidInput as error:
                faults.add(trial, error.faults)
                config = mended(sections, run_sections(compose.compose([]).config))
            if config is not None:
                planned.append(_Planned(trial, config, resources))
    return planned


def _linked(planned: Sequence[_Planned], settings: StudySettings, faults: Faults) -> list[_Planned]:
    """The runs with what they are to each other settled, and with that their fingerprints."""
    found = lineage.links([lineage.Member(run.trial, run.config) for run in planned])
    linked = list(planned)
    for place, own in found.items():
        faults.add(planned[place].trial, dict.fromkeys(link.fault for link in own.values() if link.fault))
    sound = {place: own for place, own in found.items() if not any(link.fault for link in own.values())}
    for place in lineage.in_order(len(planned), sound):
        run, own = linked[place], sound.get(place, {})
        config = run.config
        for role, link in own.items():
            other = None if link.needed is None else linked[link.needed].fingerprint
            config = lineage.settled(config, role, other)
        run = replace(run, needs=lineage.needs(own), config=config)
        linked[place] = replace(run, fingerprint=fingerprint(config, settings.launcher.target))
    if any(run.needs for run in linked) and settings.launcher_detaches:
        faults.add(
            NO_TRIAL,
            [
                "launcher.detach=true: some runs wait for others of this study, and nobody would submit them then: "
                "use launcher.controller=slurm, which leaves a controller behind"
            ],
        )
    return linked


def fingerprint(config: RunConfig, target: str = TRAIN) -> str:
    """SHA-256, in hex, of what a run computes, and of what computes it where that is not ours."""
    what = inputs.identity(config) if target == TRAIN else {**inputs.identity(config), "target": target}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Found:
    """What was found in the data: by the name of the set, and by the fingerprint of the run."""

    reports: Mapping[str, Report | None]
    by_run: Mapping[str, Report | None]

    def of(self, run: _Planned) -> Report | None:
        return self.by_run.get(run.fingerprint)

    def longest(self, run: _Planned) -> int | None:
        """Tokens of the longest sequence, where they were counted."""
        report = self.of(run)
        return None if report is None else report.longest_tokens


def _inspect(planned: Sequence[_Planned], cache_dir: Path, faults: Faults) -> _Found:
    """Look at the data and models that the runs ask for, each once; what is wrong with them goes to `faults`."""
    reports: dict[str, Report | None] = {}
    by_run: dict[str, Report | None] = {}
    for runs in _grouped(planned, lambda c: (c.data, c.model, c.training.max_length, _batch(c), _learns_from(c))):
        config = runs[0].config
        name = str(getattr(config.data, "path", config.data.kind))
        try:
            report = inspect(config)
            by_run.update((run.fingerprint, report) for run in runs)
            if reports.get(name, report) != report:  # another tokenizer cuts other answers
                name = f"{name} with model={config.model.name}, max_length={config.training.max_length}"
            reports[name] = report
        except InvalidInput as error:
            faults.add_all((run.trial for run in runs), error.faults)
    for runs in _grouped(planned, lambda c: c.tracking):
        faults.add_all((run.trial for run in runs), tracking.missing_key(runs[0].config.tracking))
    for runs in _grouped(planned, lambda c: (c.model, c.start, c.peft, c.reference, _rated_by(c))):
        faults.add_all((run.trial for run in runs), missing(runs[0].config, cache_dir))
    return _Found(reports, by_run)


def _advice(planned: Sequence[_Planned], trials: Sequence[Trial]) -> list[str]:
    """For data that are sound."""
    told = Faults(trials)
    for runs in _grouped(planned, lambda c: (c.data, c.method)):
        told.add_all((run.trial for run in runs), advice(runs[0].config))
    return told.told()


def _grouped(planned: Sequence[_Planned], key: Callable[[RunConfig], object]) -> Iterable[list[_Planned]]:
    """The runs that are alike in `key`, together."""
    groups: dict[str, list[_Planned]] = {}
    for run in planned:
        groups.setdefault(repr(key(run.config)), []).append(run)
    return groups.values()


def _rated_by(config: RunConfig) -> str | None:
    return getattr(config.method, "reward_model", None)


def _batch(config: RunConfig) -> int:
    return config.training.batch_size * config.training.gradient_accumulation


def _learns_from(config: RunConfig) -> str:
    """What of the data the method learns from, where these may be too few or of one kind for some methods alone."""
    return METHODS[config.method.name].data_format if config.answers_a_step else ""


def _cache_dir(settings: StudySettings) -> Path:
    given = settings.cache_dir or os.environ.get("PREFSWEEP_CACHE") or "~/.cache/prefsweep"
    return _path("cache_dir", given)


def _path(key: str, given: str) -> Path:
    """The absolute path that a user means. Raises BadCommand where there can be none."""
    try:
        path = Path(given).expanduser().resolve()
        path.exists()  # asks the file system, which may refuse the very name
    except (OSError, ValueError, RuntimeError) as error:
        raise BadCommand([f"{key}={one_line(given)}: {getattr(error, 'strerror', None) or error}"]) from None
    return path


def _assemble(
    settings: StudySettings,
    space: Mapping[str, Sequence[Scalar]],
    trials: Sequence[Trial],
    planned: Sequence[_Planned],
    found: _Found,
    memory: Sequence[Need],
    machine: Machine,
    faults: Faults,
) -> Plan:
    identity = _identity(planned)
    name = settings.study or _name(planned, identity)
    folder = StudyFolder(_path("output_root", settings.output_root) / name)
    faults.add(NO_TRIAL, _room_for(folder.root, len(planned) * BYTES_A_RUN))
    faults.raise_if_any()  # before the next, whose answer depends on the runs being what the user wants
    faults.add(NO_TRIAL, _held_by_another(folder, name, identity, planned))
    faults.raise_if_any()
    cache_dir = _cache_dir(settings)
    runs = _with_needs(planned, [_spec(run, name, folder, cache_dir) for run in planned])
    refused, notes = cluster.check(settings.launcher, folder.root, runs)
    faults.add(NO_TRIAL, refused)
    faults.raise_if_any()
    steps, runs = reference_steps(runs, settings)
    return Plan(
        name, folder.root, identity, settings, space, trials, runs, steps, found.reports, memory, machine, notes,
        warnings=_limits(planned, found),
    )  # fmt: skip


def _limits(planned: Sequence[_Planned], found: _Found) -> Sequence[str]:
    groups = _grouped(planned, lambda c: (c.model, c.training.max_length, c.data))
    return list(dict.fromkeys(told for g in groups for told in limits.warnings(g[0].config, found.longest(g[0]))))


def _spec(run: _Planned, study: str, folder: StudyFolder, cache_dir: Path) -> RunSpec:
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


def _with_needs(planned: Sequence[_Planned], specs: Sequence[RunSpec]) -> list[RunSpec]:
    return [
        replace(spec, needs=tuple(specs[place].run_id for place in run.needs))
        for run, spec in zip(planned, specs, strict=True)
    ]


def _identity(planned: Sequence[_Planned]) -> str:
    """A digest of the study's runs and what they stand for, whatever their order."""
    parts = sorted(json.dumps([dict(run.trial.params), run.fingerprint], sort_keys=True) for run in planned)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _name(planned: Sequence[_Planned], identity: str) -> str:
    def distinct(part: Callable[[Any], str]) -> str:
        names = list(dict.fromkeys(_plain(part(run.config)) for run in planned))
        return "-".join(names[:4]) + ("-etc" if len(names) > 4 else "")

    return "_".join(
        (
            distinct(lambda config: config.method.name),
            distinct(lambda config: config.model.name),
            distinct(lambda config: config.data.kind),
            identity[:6],
        )
    )


def _plain(name: str) -> str:
    """A name as a folder may have it."""
    return re.sub(r"[^\w+-]+", "-", name)[:30].strip("-") or "x"


def _room_for(root: Path, needed_bytes: int) -> Iterable[str]:
    """Faults of the place where the study would lie, found without writing there."""
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        yield f"output_root: {place} is not a folder; choose another with output_root=..."
    elif not os.access(place, os.W_OK | os.X_OK):
        yield f"output_root: {place} is not writable; choose another with output_root=..."
    elif (free := shutil.disk_usage(place).free) < needed_bytes:
        yield (
            f"output_root: {place} has {free >> 20} MiB left, and these runs need {needed_bytes >> 20} MiB at least; "
            "make room, or choose another disk with output_root=..."
        )


def _held_by_another(folder: StudyFolder, name: str, identity: str, planned: Sequence[_Planned]) -> Iterable[str]:
    record = folder.record()
    if record is None or record.identity == identity:
        return
    what_changed = inputs.changed(planned[0].config, folder.specs(record)[0].inputs) if record.runs else []
    if what_changed:
        yield f"study={name}: {folder.root} was made on other inputs: {'; '.join(what_changed)}"
    else:
        yield (
            f"study={name}: {folder.root} holds another study ({one_line(record.command)}); "
            "give this one another name, or use resume to go on with that one"
        )


assert set(RUN_SECTIONS).isdisjoint(StudySettings.model_fields), "a key belongs to the run or to the study"
