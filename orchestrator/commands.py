"""What each verb does: run, plan, status, resume, cancel."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table as RichTable

from orchestrator.cli import Command, command_line
from orchestrator.config import Source, StudySettings
from orchestrator.errors import BadCommand, OrchestratorError
from orchestrator.launchers.choose import describe, make_launcher
from orchestrator.objective import Objective
from orchestrator.plan import Plan, make_plan, make_settings
from orchestrator.progress import State, log, one_line, progress
from orchestrator.store import StudyFolder, StudyRecord, held, holder, open_study
from orchestrator.study import Study, by_trial, clock
from orchestrator.table import Table, make_table
from sweeps.grid import GridSweeper
from trainers.footprint import Machine
from trainers.spec import RunResult, RunSpec

COMPLETED, SOME_FAILED, STOPPED = 0, 1, 130


def carry_out(command: Command, argv: Sequence[str]) -> int:
    """Do what the verb says; returns the exit code."""
    console = _console()
    verbs: Mapping[str, Callable[[], int]] = {
        "run": lambda: _run(command, argv, console),
        "plan": lambda: _plan(command, console),
        "status": lambda: _status(_folder(command), console),
        "resume": lambda: _resume(command, argv, console),
        "cancel": lambda: _cancel(_folder(command), console),
    }
    return verbs[command.verb]()


def _console() -> Console:
    """A pipe or a file has no width: there a table gets what it needs."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=200)


def _run(command: Command, argv: Sequence[str], console: Console) -> int:
    plan = _make_plan(command)
    folder = StudyFolder(plan.root)
    with _writing(folder), held(folder):
        record = folder.record()
        if record is None:
            record = _record(plan, command_line(argv))
            folder.create(record, plan.runs)
        _say_what_was_found(plan, console)
        return _work(folder, record, plan.settings, argv, console)


def _resume(command: Command, argv: Sequence[str], console: Console) -> int:
    folder, record = open_study(_folder(command))
    settings = _settings(record, command)
    with _writing(folder), held(folder):
        return _work(folder, record, settings, argv, console)


def _work(
    folder: StudyFolder, record: StudyRecord, settings: StudySettings, argv: Sequence[str], console: Console
) -> int:
    """Carry out what the study has not finished, and tell what came of it."""
    with folder.command.open("a", encoding="utf-8", errors="backslashreplace") as commands:
        commands.write(command_line(argv) + "\n")
    log(folder, command_line(argv))
    specs = folder.specs(record)
    runs = by_trial(specs)
    objective = Objective(settings.objective.metric, settings.objective.direction)
    with contextlib.closing(make_launcher(settings.launcher, Machine.here())) as launcher:
        watcher = progress(console, folder, len(specs), launcher.capacity)
        study = Study(
            folder,
            runs,
            sweeper=GridSweeper(record.space),
            launcher=launcher,
            objective=objective,
            observer=watcher,
            fail_fast=settings.fail_fast,
        )
        with contextlib.closing(watcher), _signals(study):
            study.carry_out()
    table = make_table(runs, study.results, list(record.space), objective)
    _show(table, console)
    try:
        table.write(folder)
    except OSError as error:
        told = f"table.md and table.csv could not be written: {error.strerror or error}"
        console.print(told, style="red", highlight=False, markup=False)
    return _closing_words(folder, specs, study, console)


def _show(table: Table, console: Console) -> None:
    shown, hidden = table.rich(console.width)
    console.print(shown)
    for line in [*table.captions(), *hidden]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _closing_words(folder: StudyFolder, specs: Sequence[RunSpec], study: Study, console: Console) -> int:
    failed = [result for result in study.results.values() if result.status == "failed"]
    for result in failed[:10]:
        told = f"{result.run_id} failed: {one_line(result.error or 'no reason told')}"
        console.print(told, style="red", soft_wrap=True, highlight=False, markup=False)
    if failed:
        where = folder.run(failed[0].run_id)
        console.print(f"logs: {where}/log.txt and so on", soft_wrap=True, highlight=False, markup=False)
    console.print(f"study: {folder.root}", soft_wrap=True, highlight=False, markup=False)
    missing = len(specs) - sum(result.status == "completed" for result in study.results.values())
    if missing:
        again = f"{missing} of {len(specs)} runs missing; go on with: python -m orchestrator resume {folder.root}"
        console.print(again, soft_wrap=True, highlight=False, markup=False)
    if study.stopped and not (failed and len(failed) == missing):
        return STOPPED
    return SOME_FAILED if missing else COMPLETED


@contextlib.contextmanager
def _signals(study: Study) -> Iterator[None]:
    """Ctrl-C, or SIGTERM, asks the study to stop; the second time it stops at once."""

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        study.stop(f"{signal.Signals(number).name}; once more to stop at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _writing(folder: StudyFolder) -> Iterator[None]:
    """A folder that cannot be written is the user's to mend, not a bug."""
    try:
        yield
    except OSError as error:
        raise OrchestratorError(f"{error.filename or folder.root}: {error.strerror or error}") from error


def _plan(command: Command, console: Console) -> int:
    plan = _make_plan(command)
    done = _results(StudyFolder(plan.root), plan.runs)
    table = RichTable(box=None, pad_edge=False)
    for heading in ("trial", *plan.space, "runs", "done"):
        table.add_column(heading, justify="left", no_wrap=True)
    for number, runs in by_trial(plan.runs).items():
        complete = sum(done[r.run_id].status == "completed" for r in runs if r.run_id in done)
        seeds = f"{len(runs)} (seed {', '.join(str(run.seed) for run in runs)})"
        table.add_row(str(number), *(str(plan.trials[number].params[key]) for key in plan.space), seeds, str(complete))
    console.print(table)
    distinct = len({run.fingerprint for run in plan.runs})
    console.print(f"\n{len(plan.trials)} trials, {len(plan.runs)} runs", end="", highlight=False)
    console.print(f", {distinct} of them different" if distinct < len(plan.runs) else "", highlight=False)
    for line in _resources(plan):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    _say_what_was_found(plan, console)
    console.print(f"would lie in {plan.root}", soft_wrap=True, highlight=False, markup=False)
    return 0


def _resources(plan: Plan) -> Iterator[str]:
    machine = Machine.here()
    gpus = f"{len(machine.gpu_bytes)} GPUs, " if machine.gpu_bytes else "no GPU, "
    yield f"this machine: {machine.cores} cores, {gpus}{machine.ram_bytes / 2**30:.0f} GiB of memory"
    yield f"launcher {plan.settings.launcher.kind}: {describe(plan.settings.launcher, machine)}"
    for name, need in plan.memory.items():
        yield f"model {name}: about {need} a run"


def _status(root: Path, console: Console) -> int:
    folder, record = open_study(root)
    specs = folder.specs(record)
    results = _results(folder, specs)
    who = holder(folder)
    settings = StudySettings.model_validate(record.settings)
    objective = Objective(settings.objective.metric, settings.objective.direction)
    console.print(f"{record.name}: {record.command}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"held by {who}" if who else "no controller works on it", highlight=False, markup=False)
    _show(make_table(by_trial(specs), results, list(record.space), objective), console)
    if who:
        for spec in specs:
            if spec.run_id not in results and spec.folder.heartbeat.exists():
                now = State.of(spec)
                console.print(f"{spec.run_id}: {now.phase} {now.step} {now.loss}", highlight=False, markup=False)
    for result in results.values():
        if result.status == "failed":
            told = f"{result.run_id} failed: {one_line(result.error or '')}"
            console.print(told, style="red", soft_wrap=True, highlight=False, markup=False)
    complete = sum(result.status == "completed" for result in results.values())
    console.print(f"{complete} of {len(specs)} runs completed", highlight=False)
    return 0


def _cancel(root: Path, console: Console) -> int:
    folder, _ = open_study(root)
    who = holder(folder)
    if who is None:
        console.print("no controller works on this study: nothing to cancel", highlight=False)
        return 0
    with _writing(folder):
        folder.cancel.touch()
    told = f"asked {who} to stop; its runs save a checkpoint, and resume goes on from there"
    console.print(told, soft_wrap=True, highlight=False, markup=False)
    return 0


def _make_plan(command: Command) -> Plan:
    source = Source(command.config_name, command.config_dir)
    return make_plan(command.overrides, sweep=command.multirun, source=source, machine=Machine.here())


def _record(plan: Plan, command: str) -> StudyRecord:
    return StudyRecord(
        name=plan.name,
        identity=plan.identity,
        command=command,
        created=clock(),
        space={key: list(values) for key, values in plan.space.items()},
        settings=plan.settings.model_dump(),
        runs=[run.run_id for run in plan.runs],
        data={name: None if report is None else report.as_dict() for name, report in plan.data.items()},
    )


def _settings(record: StudyRecord, command: Command) -> StudySettings:
    """The study's settings, with what resume was told to change: where and how runs go on, not what they compute."""
    stored = StudySettings.model_validate(record.settings)
    foreign = [text for text in command.overrides if not text.startswith(("launcher", "fail_fast="))]
    if foreign:
        raise BadCommand([f"{text}: resume changes launcher and fail_fast alone" for text in foreign])
    if not command.overrides:
        return stored
    given = make_settings(command.overrides, Source(command.config_name, command.config_dir))
    return stored.model_copy(update={"launcher": given.launcher, "fail_fast": given.fail_fast})


def _results(folder: StudyFolder, specs: Sequence[RunSpec]) -> dict[str, RunResult]:
    found = {spec.run_id: folder.result(spec.run_id) for spec in specs}
    return {run_id: result for run_id, result in found.items() if result is not None}


def _say_what_was_found(plan: Plan, console: Console) -> None:
    for name, report in plan.data.items():
        for warning in report.warnings() if report is not None else ():
            console.print(f"data {name}: {warning}", style="yellow", soft_wrap=True, highlight=False, markup=False)


def _folder(command: Command) -> Path:
    assert command.folder is not None
    return command.folder
