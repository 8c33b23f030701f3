"""Works on a study until it is done, left or stopped, and tells what came of it.

outputs/STUDY with 12 of 18 runs completed -> the other six, the comparison table, and where to look
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from orchestrator import search_summary, sync
from orchestrator.exit_codes import COMPLETED, SOME_FAILED, STOPPED
from orchestrator.interrupts import ENDING, interrupting
from orchestrator.launchers import choose
from orchestrator.limits import Limits
from orchestrator.objective import Objective
from orchestrator.onlookers import RunWatch
from orchestrator.progress import progress
from orchestrator.search_work import SearchWork, search_work
from orchestrator.settings import StudySettings
from orchestrator.store import StudyFolder, StudyRecord
from orchestrator.study import Study
from orchestrator.study_table import study_table
from orchestrator.terminal import show, tell
from orchestrator.trial_runs import PreparedRuns, TrialRuns, by_trial
from orchestrator.wording import one_line
from sweeps.grid import GridSweeper
from sweeps.types import Sweeper
from trainers.machine import Machine
from trainers.spec import RunSpec


@dataclass(frozen=True)
class _Trials:
    """Who says which trials there are, and makes their runs; `total` runs at most, None where only time ends it."""

    sweeper: Sweeper
    runs: TrialRuns
    limits: Limits
    watch: RunWatch | None
    total: int | None
    search: SearchWork | None = None


@contextlib.contextmanager
def _trials(folder: StudyFolder, record: StudyRecord, settings: StudySettings) -> Iterator[_Trials]:
    """Of a grid all are there; a search makes them on the way. Raises OrchestratorError where it cannot go on."""
    limits = Limits(settings.max_parallel, settings.timeout, settings.max_failure_rate)
    if record.search is not None:
        with search_work(folder, record, settings) as work:
            yield _Trials(work.asked, work.runs, limits, work.watch, work.total, work)
        return
    specs = folder.specs(record)
    runs = by_trial(specs)
    sweeper = GridSweeper([runs[number][0].params for number in sorted(runs)])
    prepared = PreparedRuns(runs, Objective.of(settings.objective.directions))
    # Of a grid every trial is asked for, whatever became of others.
    yield _Trials(sweeper, prepared, Limits(settings.max_parallel, settings.timeout), None, len(specs))


def work_on(
    folder: StudyFolder,
    record: StudyRecord,
    settings: StudySettings,
    console: Console,
    still_held: Callable[[], bool],
    *,
    failed_again: bool = True,
) -> tuple[int, bool]:
    """Carry out what the study has not finished, and tell what came of it: the exit code, and whether it was left."""
    launcher = choose.make_launcher(settings.launcher, Machine.here(), folder.root, record.run_bytes)
    with contextlib.closing(launcher), _trials(folder, record, settings) as trials:
        watcher = progress(console, folder, trials.total, launcher.capacity)
        study = Study(
            folder,
            trials.runs,
            sweeper=trials.sweeper,
            launcher=launcher,
            observer=watcher,
            limits=trials.limits,
            watch=trials.watch,
            fail_fast=settings.fail_fast,
            detach=settings.launcher_detaches,
            retry=lambda spec, result: choose.retry(settings.launcher, spec, result),
            # What has failed a search has learnt from.
            failed_again=failed_again and trials.search is None,
            still_held=still_held,
            steps=() if settings.launcher_detaches else folder.steps(record),
        )
        with contextlib.closing(watcher), interrupting(study):
            if trials.search is not None:
                watcher.found(trials.search.before)
                for text in trials.search.sweeper.news:
                    watcher.say(text)
            study.carry_out()
        specs = sorted(trials.runs.known(), key=lambda spec: (spec.trial, spec.seed))
        _show_table(folder, record, settings, specs, study, console)
        if trials.search is not None:
            for line in search_summary.told(trials.search, settings, study.all_results()):
                tell(console, line)
        code = _closing_words(folder, specs, study, console, trials.search)
        return code, bool(study.left) and not study.stopped


def _show_table(
    folder: StudyFolder,
    record: StudyRecord,
    settings: StudySettings,
    specs: Sequence[RunSpec],
    study: Study,
    console: Console,
) -> None:
    results = study.all_results()
    table = study_table(record, settings, by_trial(specs), results, study.under_way())
    if results or not study.left:
        show(table, console)
    try:
        table.write(folder)
    except OSError as error:
        tell(console, f"table.md and table.csv could not be written: {error.strerror or error}", style="red")


def _closing_words(
    folder: StudyFolder, specs: Sequence[RunSpec], study: Study, console: Console, search: SearchWork | None
) -> int:
    failed = [result for result in study.results.values() if result.status == "failed"]
    for result in failed[:10]:
        told = f"{result.run_id} failed: {one_line(result.error or 'no reason told')}"
        tell(console, told, style="red")
    if failed:
        log_path = folder.run(failed[0].run_id) / "log.txt"
        where = f"{log_path} and so on" if log_path.exists() else f"{folder.root}/jobs/*/*.out"
        tell(console, f"logs: {where}")
    tell(console, f"study: {folder.root}")
    if sync.offline(folder.root):
        tell(console, f"tracked offline; send it up with: python -m orchestrator sync {folder.root}")
    if study.left and study.under_way():
        return _left(folder, specs, study, console)
    missing = len(specs) - sum(result.final for result in study.results.values())
    again = f"go on with: python -m orchestrator resume {folder.root}"
    if search is not None:
        missing = len(failed)
        if study.stopped:
            tell(console, f"{search.left_of(specs, study.all_results())}; {again}")
    elif missing:
        tell(console, f"{missing} of {len(specs)} runs missing; {again}")
    if study.stopped and not study.failed_fast:
        return STOPPED
    return SOME_FAILED if missing else COMPLETED


def _left(folder: StudyFolder, specs: Sequence[RunSpec], study: Study, console: Console) -> int:
    """What the user should know of a study whose jobs go on without its controller."""
    unsent = study.unsent
    under_way = len(study.under_way())
    unsubmitted = len(specs) - len(study.results) - under_way
    tell(console, f"{under_way - unsent} runs are queued or running on the cluster, and go on without this command")
    if unsent:
        tell(console, f"{unsent} could not be submitted, Slurm not taking them now: resume submits them", style="red")
    if unsubmitted:
        tell(console, f"{unsubmitted} more are not submitted yet (launcher.max_submitted): resume submits them")
    say_where_to_look(folder, console)
    if study.left in {number.name for number in ENDING}:
        return STOPPED
    failed = any(result.status == "failed" for result in study.results.values())
    return SOME_FAILED if unsent or failed else COMPLETED


def say_where_to_look(folder: StudyFolder, console: Console) -> None:
    """Commands for a study that goes on without this one."""
    tell(console, f"look:   python -m orchestrator status {folder.root}")
    tell(console, f"gather: python -m orchestrator resume {folder.root}")
    tell(console, f"end:    python -m orchestrator cancel {folder.root}")
