"""What `evaluate` does, from words to a table.

    python -m orchestrator evaluate outputs/STUDY --checkpoint all evaluation.samples=256

Runs are read and never changed but for their evaluation/; nobody needs to hold their study.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.errors import BadCommand
from orchestrator.evaluation.jobs import Evaluations, step_of
from orchestrator.evaluation.settings import alike, configs, foreign, launcher_of
from orchestrator.evaluation.sources import Found, Subject, Wanted, find
from orchestrator.evaluation.view import Measured, table
from orchestrator.exit_codes import COMPLETED, SOME_FAILED, STOPPED
from orchestrator.interrupts import interrupting
from orchestrator.launchers import choose, cluster
from orchestrator.progress import progress
from orchestrator.settings import LauncherSettings, SlurmSettings
from orchestrator.study_name import usual_cache
from orchestrator.terminal import tell
from orchestrator.wording import count, one_line
from trainers import at_hand, inputs
from trainers.config_check import check
from trainers.errors import InvalidInput
from trainers.machine import Machine
from trainers.needed_runs import settled
from trainers.spec import RunSpec

_SHOWN = 3
Asked = tuple[Subject, RunSpec]
# By the folder in which runs lie.
Launchers = dict[Path, LauncherSettings]


def evaluate(
    folders: Sequence[Path], overrides: Sequence[str], checkpoint: str | None, again: bool, console: Console
) -> int:
    """Measure the policies that are meant; the exit code. Raises BadCommand before anything is begun."""
    found, asked, launchers = _asked(folders, overrides, checkpoint)
    there = [] if again else [one for one in asked if _is_there(*one)]
    broken: dict[str, list[str]] = {}
    sound = []
    for subject, step in asked:
        if (subject, step) not in there:
            faults = _faults(subject, step)
            sound += [] if faults else [(subject, step)]
            for fault in faults:
                broken.setdefault(fault, []).append(subject.name)
    # What was asked for is told before anything is begun; what has become of a run, beside what is measured of others.
    if wrong := [fault for fault in broken if fault.startswith("evaluation.")]:
        raise BadCommand(wrong)
    groups = _by_launcher(sound, launchers)
    _refuse(groups)

    _tell_all(found.left_out, "left out", console, "yellow")
    _tell_all(broken, "not measured", console, "red")
    if there:
        told = f"{_names([subject.name for subject, _ in there])}: measured by these settings before"
        tell(console, f"{told}; --again does it again")
    if not asked:
        raise BadCommand(["there is nothing to evaluate"])
    measured, stopped = [subject for subject, _ in there], False
    for settings, group in groups:
        if not stopped:
            jobs = _carry_out(settings, group, console)
            stopped = jobs.stopped
            measured += [subject for subject, step in group if step.run_dir in jobs.completed]
    whole = _show([subject for subject, _ in asked if subject in measured], console)
    if stopped:
        return STOPPED
    return COMPLETED if whole and len(measured) == len(asked) else SOME_FAILED


def _show(subjects: Sequence[Subject], console: Console) -> bool:
    """The table; whether all that was asked for could be measured."""
    rows = [(subject, Measured.read(subject.spec.folder.evaluation_of(subject.policy))) for subject in subjects]
    known = [(subject, row) for subject, row in rows if row is not None]
    if known:
        console.print(table(known))
    missing: dict[str, list[str]] = {}
    for subject, row in known:
        for why in dict.fromkeys(row.missing.values()):
            names = ", ".join(name for name, reason in row.missing.items() if reason == why)
            missing.setdefault(f"{names}: {why}", []).append(subject.name)
    _tell_all(missing, "not measured", console, "red")
    return not missing


def _asked(
    folders: Sequence[Path], overrides: Sequence[str], checkpoint: str | None
) -> tuple[Found, list[Asked], Launchers]:
    """What is to be measured, how and where. Raises BadCommand with every fault of the command."""
    faults, wanted = foreign(overrides), Wanted()
    made: list[dict[str, Any]] = []
    launchers: Launchers = {}
    try:
        wanted = Wanted.parse(checkpoint)
    except BadCommand as error:
        faults += error.faults
    found = find(folders, wanted)
    faults += found.faults
    try:
        made = configs(found.subjects, overrides)
    except BadCommand as error:
        faults += error.faults
    for subject in found.subjects:
        study = subject.spec.run_dir.parent
        if study not in launchers:
            try:
                launchers[study] = launcher_of(subject, overrides)
            except BadCommand as error:
                faults += error.faults
    if faults:
        raise BadCommand(faults)
    steps = [step_of(subject, config, _cache_of(subject)) for subject, config in zip(found.subjects, made, strict=True)]
    return found, list(zip(found.subjects, steps, strict=True)), launchers


def _cache_of(subject: Subject) -> Path:
    """The run's own, as long as it is there: a study may have been moved to another machine."""
    own = subject.spec.cache_dir
    return own if own.is_dir() else usual_cache()


def _is_there(subject: Subject, step: RunSpec) -> bool:
    """Whether the policy was measured by these settings before."""
    known = Measured.read(subject.spec.folder.evaluation_of(subject.policy))
    if known is None or known.policy != subject.policy or known.missing:
        return False
    return alike(known.settings, step.config["evaluation"])


def _faults(subject: Subject, step: RunSpec) -> list[str]:
    """Why a policy cannot be measured (any more), as far as that is known before it is loaded."""
    spec = subject.spec
    try:
        config = check(step.config)
        if changed := inputs.changed(config, spec.inputs):
            return changed
        if missing := at_hand.missing(settled(config, spec)):
            return missing
    except InvalidInput as error:
        return list(error.faults)
    closed = [at for at in (spec.run_dir, spec.run_dir.parent) if not os.access(at, os.W_OK | os.X_OK)]
    return [f"{closed[-1]} cannot be written: copy the study to where it can be"] if closed else []


def _by_launcher(asked: Sequence[Asked], launchers: Launchers) -> list[tuple[LauncherSettings, list[Asked]]]:
    """Those that one launcher can carry out together: of one study, where that is a cluster's."""
    groups: dict[str, tuple[LauncherSettings, list[Asked]]] = {}
    for subject, step in asked:
        study = subject.spec.run_dir.parent
        settings = launchers[study]
        of_study = study if isinstance(settings, SlurmSettings) else None
        groups.setdefault(f"{settings!r} {of_study}", (settings, []))[1].append((subject, step))
    return list(groups.values())


def _refuse(groups: Sequence[tuple[LauncherSettings, Sequence[Asked]]]) -> None:
    """Raises BadCommand with what is wrong with the places where this is to be done."""
    faults: list[str] = []
    for settings, group in groups:
        cluster.refuse_unreachable(settings)
        if isinstance(settings, SlurmSettings):
            faults += [
                f"launcher=slurm: {subject.spec.run_dir} lies in no study, as its jobs need: use launcher=local"
                for subject, _ in group
                if subject.study is None
            ]
        if not faults:
            faults += cluster.check(settings, _root(group), [step for _, step in group])[0]
    if faults:
        raise BadCommand(faults)


def _root(group: Sequence[Asked]) -> Path:
    """The study's folder; that above the run where there is none, which only launchers of this machine take."""
    subject = group[0][0]
    return subject.spec.run_dir.parent if subject.study is None else subject.study.root


def _carry_out(settings: LauncherSettings, group: Sequence[Asked], console: Console) -> Evaluations:
    largest = max((subject.record.run_bytes or 0 for subject, _ in group if subject.record is not None), default=0)
    launcher = choose.make_launcher(settings, Machine.here(), _root(group), largest or None)
    with contextlib.closing(launcher):
        watcher = progress(console, None, len(group), launcher.capacity)
        jobs = Evaluations(
            [step for _, step in group], launcher, watcher, lambda step, result: choose.retry(settings, step, result)
        )
        with contextlib.closing(watcher), interrupting(jobs):
            jobs.carry_out()
    failed = [step for _, step in group if step.run_dir in jobs.failed]
    if failed:
        more = " and so on" if len(failed) > 1 else ""
        tell(console, f"logs: {failed[0].folder.log}{more}")
    return jobs


def _tell_all(reasons: Mapping[str, Sequence[str]], what: str, console: Console, style: str) -> None:
    for why, names in reasons.items():
        tell(console, f"{_names(names)}: {what}: {one_line(why, limit=1000)}", style=style)


def _names(names: Sequence[str]) -> str:
    more = f" and {count(len(names) - _SHOWN, 'other')}" if len(names) > _SHOWN else ""
    return ", ".join(map(one_line, names[:_SHOWN])) + more
