"""What each verb does: run, plan, status, resume, cancel."""

import contextlib
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from orchestrator.cli import Command, command_line
from orchestrator.config import Source
from orchestrator.errors import BadCommand, OrchestratorError
from orchestrator.launchers.choose import describe, make_launcher
from orchestrator.objective import Objective
from orchestrator.plan import Plan, changed_settings, largest, make_plan
from orchestrator.progress import State, log, progress, screen, under_way
from orchestrator.settings import StudySettings, study_settings
from orchestrator.store import StudyFolder, StudyRecord, held, holder, open_study
from orchestrator.study import Study, by_trial
from orchestrator.table import Table, make_table
from orchestrator.wording import clock, count, one_line
from sweeps.grid import GridSweeper
from trainers.footprint import Machine
from trainers.spec import RunResult, RunSpec

COMPLETED, SOME_FAILED, STOPPED = 0, 1, 130


def carry_out(command: Command, argv: Sequence[str]) -> int:
    """Do what the verb says; returns the exit code."""
    console = screen()
    verbs: Mapping[str, Callable[[], int]] = {
        "run": lambda: _run(command, argv, console),
        "plan": lambda: _plan(command, console),
        "status": lambda: _status(_folder(command), console),
        "resume": lambda: _resume(command, argv, console),
        "cancel": lambda: _cancel(_folder(command), console),
    }
    return verbs[command.verb]()


def _run(command: Command, argv: Sequence[str], console: Console) -> int:
    plan = _make_plan(command)
    folder = StudyFolder(plan.root)
    with contextlib.ExitStack() as stack:
        with _writing(folder):
            still_held = stack.enter_context(held(folder))
            record = folder.record()
            if record is None:
                record = _record(plan, command, command_line(argv))
                folder.create(record, plan.runs)
            known = set(record.runs)
            folder.write_specs([run for run in plan.runs if run.run_id in known])
            _note(folder, argv)
        _say_what_was_found(plan, console)
        return _work(folder, record, plan.settings, console, still_held)


def _resume(command: Command, argv: Sequence[str], console: Console) -> int:
    folder, record = open_study(_folder(command))
    settings = _settings(record, command)
    with contextlib.ExitStack() as stack:
        with _writing(folder):
            still_held = stack.enter_context(held(folder))
            _note(folder, argv)
        return _work(folder, record, settings, console, still_held)


def _note(folder: StudyFolder, argv: Sequence[str]) -> None:
    """Keep the command that works on the study from now on."""
    with folder.command.open("a", encoding="utf-8", errors="backslashreplace") as commands:
        commands.write(command_line(argv) + "\n")
    log(folder, command_line(argv))


def _work(
    folder: StudyFolder,
    record: StudyRecord,
    settings: StudySettings,
    console: Console,
    still_held: Callable[[], bool],
) -> int:
    """Carry out what the study has not finished, and tell what came of it."""
    specs = folder.specs(record)
    runs = by_trial(specs)
    objective = Objective(settings.objective.metric, settings.objective.direction)
    with contextlib.closing(make_launcher(settings.launcher, Machine.here(), record.run_bytes)) as launcher:
        watcher = progress(console, folder, len(specs), launcher.capacity)
        study = Study(
            folder,
            runs,
            sweeper=GridSweeper(record.space),
            launcher=launcher,
            objective=objective,
            observer=watcher,
            fail_fast=settings.fail_fast,
            still_held=still_held,
        )
        with contextlib.closing(watcher), _signals(study):
            study.carry_out()
    table = make_table(runs, study.results, list(record.space), objective)
    _show(table, console)
    try:
        table.write(folder)
    except OSError as error:
        _tell(console, f"table.md and table.csv could not be written: {error.strerror or error}", style="red")
    return _closing_words(folder, specs, study, console)


def _tell(console: Console, text: str, style: str = "") -> None:
    """A line as it is: neither wrapped nor read as markup."""
    console.print(Text(text, style), soft_wrap=True)


def _show(table: Table, console: Console) -> None:
    shown, hidden = table.rich(console.width)
    console.print(shown)
    for line in [*table.captions(), *hidden]:
        _tell(console, line)


def _closing_words(folder: StudyFolder, specs: Sequence[RunSpec], study: Study, console: Console) -> int:
    failed = [result for result in study.results.values() if result.status == "failed"]
    for result in failed[:10]:
        told = f"{result.run_id} failed: {one_line(result.error or 'no reason told')}"
        _tell(console, told, style="red")
    if failed:
        where = folder.run(failed[0].run_id)
        _tell(console, f"logs: {where}/log.txt and so on")
    _tell(console, f"study: {folder.root}")
    if any((spec.run_dir / "wandb").exists() and not study.results[spec.run_id].tracking_url
           for spec in specs if spec.run_id in study.results):  # fmt: skip
        _tell(console, f"tracked offline; send it up with: wandb sync {folder.root}/runs/*/wandb/offline-run-*")
    missing = len(specs) - sum(result.status == "completed" for result in study.results.values())
    if missing:
        again = f"{missing} of {len(specs)} runs missing; go on with: python -m orchestrator resume {folder.root}"
        _tell(console, again)
    if study.stopped and not study.failed_fast:
        return STOPPED
    return SOME_FAILED if missing else COMPLETED


@contextlib.contextmanager
def _signals(study: Study) -> Iterator[None]:
    """Ctrl-C, SIGTERM or a closed terminal ask the study to stop; the second time it stops at once."""

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        study.stop(f"{signal.Signals(number).name}; once more to stop at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
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
    for heading in ("trial", *plan.space, "seeds", "done"):
        table.add_column(escape(heading), no_wrap=True)
    for number, runs in by_trial(plan.runs).items():
        complete = sum(done[run.run_id].status == "completed" for run in runs if run.run_id in done)
        values = (escape(one_line(str(plan.trials[number].params[key]))) for key in plan.space)
        seeds = one_line(", ".join(str(run.seed) for run in runs), limit=40)
        table.add_row(str(number), *values, seeds, f"{complete}/{len(runs)}")
    console.print(table)
    distinct = len({run.fingerprint for run in plan.runs})
    less = f", {distinct} of them different" if distinct < len(plan.runs) else ""
    _tell(console, f"\n{count(len(plan.trials), 'trial')}, {count(len(plan.runs), 'run')}{less}")
    for line in (*_resources(plan), *_training(plan)):
        _tell(console, line)
    _say_what_was_found(plan, console)
    _tell(console, f"would lie in {plan.root}")
    return 0


def _resources(plan: Plan) -> Iterator[str]:
    machine = Machine.here()
    gpus = count(len(machine.gpu_bytes), "GPU") if machine.gpu_bytes else "no GPU"
    yield f"this machine: {count(machine.cores, 'core')}, {gpus}, {machine.ram_bytes / 2**30:.0f} GiB of memory"
    yield f"launcher {plan.settings.launcher.kind}: {describe(plan.settings.launcher, machine, largest(plan.memory))}"
    for name, need in plan.memory.items():
        yield f"model {name}: about {need} a run"


def _training(plan: Plan) -> Iterator[str]:
    """How runs train, a line for each way: what a person wants to see before hours go by."""
    for name, report in plan.data.items():
        if report is not None:
            yield f"data {name}: {count(report.train_pairs, 'train pair')}, {report.heldout_pairs} held out"
    ways = {
        f"training: learning rate {t['learning_rate']:g}, {t['batch_size'] * t['gradient_accumulation']} pairs a step, "
        + (count(t["max_steps"], "step") if t["max_steps"] > 0 else count(t["epochs"], "epoch"))
        + f", at most {t['max_length']} tokens"
        for t in (run.config["training"] for run in plan.runs)
    }
    yield from sorted(ways)[:5]


def _status(root: Path, console: Console) -> int:
    folder, record = open_study(root)
    specs = folder.specs(record)
    results = _results(folder, specs)
    who = holder(folder)
    settings = study_settings(record.settings)
    objective = Objective(settings.objective.metric, settings.objective.direction)
    _tell(console, f"{record.name}: {one_line(record.command, limit=1000)}")
    _tell(console, f"held by {one_line(who)}" if who else "no controller works on it")
    running = [spec for spec in specs if who and under_way(spec)]
    results = {run_id: result for run_id, result in results.items() if run_id not in {run.run_id for run in running}}
    table = make_table(by_trial(specs), results, list(record.space), objective, {run.run_id for run in running})
    _show(table, console)
    for spec in running:
        now = State.of(spec)
        _tell(console, f"{spec.run_id}: {now.phase} {now.step} {now.loss}")
    for result in results.values():
        if result.status == "failed":
            _tell(console, f"{result.run_id} failed: {one_line(result.error or '')}", style="red")
    complete = sum(result.status == "completed" for result in results.values())
    _tell(console, f"{complete} of {count(len(specs), 'run')} completed")
    return 0


def _cancel(root: Path, console: Console) -> int:
    folder, _ = open_study(root)
    who = holder(folder)
    if who is None:
        _tell(console, "no controller works on this study: nothing to cancel")
        return 0
    with _writing(folder):
        folder.cancel.touch()
    told = f"asked {who} to stop; its runs save a checkpoint, and resume goes on from there"
    _tell(console, told)
    return 0


def _make_plan(command: Command) -> Plan:
    source = Source(command.config_name, command.config_dir)
    return make_plan(command.overrides, sweep=command.multirun, source=source, machine=Machine.here())


def _record(plan: Plan, command: Command, line: str) -> StudyRecord:
    return StudyRecord(
        name=plan.name,
        identity=plan.identity,
        command=line,
        created=clock(),
        space={key: list(values) for key, values in plan.space.items()},
        settings=plan.settings.model_dump(),
        source={"config_name": command.config_name, "config_dir": command.config_dir},
        runs=[run.run_id for run in plan.runs],
        run_bytes=largest(plan.memory),
        data={name: None if report is None else report.as_dict() for name, report in plan.data.items()},
    )


def _settings(record: StudyRecord, command: Command) -> StudySettings:
    """The study's settings, with what resume was told to change: where and how runs go on, not what they compute."""
    foreign = [text for text in command.overrides if not re.match(r"(launcher(\.\w+)?|fail_fast)=", text)]
    if foreign:
        raise BadCommand([f"{text}: resume changes launcher and fail_fast alone" for text in foreign])
    return changed_settings(record.settings, command.overrides, Source(**record.source))


def _results(folder: StudyFolder, specs: Sequence[RunSpec]) -> dict[str, RunResult]:
    found = {spec.run_id: folder.result(spec.run_id) for spec in specs}
    return {run_id: result for run_id, result in found.items() if result is not None}


def _say_what_was_found(plan: Plan, console: Console) -> None:
    for name, report in plan.data.items():
        for warning in report.warnings() if report is not None else ():
            _tell(console, f"data {name}: {warning}", style="yellow")


def _folder(command: Command) -> Path:
    assert command.folder is not None
    return command.folder
