"""What the verbs do: run, resume and cancel here, plan and status by their views."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from orchestrator import forecast, sync
from orchestrator.cli import Command, command_line
from orchestrator.command_settings import changed_settings
from orchestrator.config import Source
from orchestrator.errors import BadCommand, OrchestratorError
from orchestrator.evaluation.command import evaluate
from orchestrator.exit_codes import COMPLETED, GO_ON_LATER, SOME_FAILED, STOPPED
from orchestrator.interrupts import ENDING, interrupting
from orchestrator.launchers import choose, cluster
from orchestrator.objective import Objective
from orchestrator.plan import Plan, make_plan
from orchestrator.plan_view import say_what_is_not_swept, say_what_was_found, show_plan
from orchestrator.progress import log, progress, screen
from orchestrator.settings import StudySettings, study_settings
from orchestrator.status_view import show_status
from orchestrator.store import StudyFolder, StudyRecord, held, holder, open_study
from orchestrator.study import Study, by_trial
from orchestrator.study_table import study_table
from orchestrator.terminal import show, tell
from orchestrator.wording import clock, count, one_line
from sweeps.grid import GridSweeper
from trainers.machine import Machine
from trainers.spec import RunSpec


def carry_out(command: Command, argv: Sequence[str]) -> int:
    """Do what the verb says; returns the exit code."""
    console = screen()
    verbs: Mapping[str, Callable[[], int]] = {
        "run": lambda: _run(command, argv, console),
        "plan": lambda: show_plan(_make_plan(command, fitting=False), command.multirun, console),
        "status": lambda: show_status(_folder(command), console),
        "resume": lambda: _resume(command, argv, console),
        "cancel": lambda: _cancel(_folder(command), console),
        "sync": lambda: sync.sync(_folder(command), console),
        "evaluate": lambda: evaluate(command.folders, command.overrides, command.checkpoint, command.again, console),
    }
    return verbs[command.verb]()


def _run(command: Command, argv: Sequence[str], console: Console) -> int:
    plan = _make_plan(command)
    _refuse_other_gpu(plan)
    cluster.refuse_unreachable(plan.settings.launcher)
    folder = StudyFolder(plan.root)
    with contextlib.ExitStack() as stack:
        with _writing(folder):
            still_held = stack.enter_context(held(folder))
            record = folder.record()
            if record is None:
                record = _record(plan, command, command_line(argv))
                folder.create(record, [*plan.steps, *plan.runs])
            else:
                _refuse_abandoning(folder, record, plan.settings)
                _keep_settings(folder, record, plan.settings)
            known = {*record.runs, *record.steps}
            folder.write_specs([run for run in (*plan.steps, *plan.runs) if run.run_id in known])
            _note(folder, argv)
            cluster.keep_code(plan.settings.launcher, folder.root)
        say_what_was_found(plan, console)
        say_what_is_not_swept(plan, command.multirun, console)
        if cluster.has_own_controller(plan.settings.launcher):
            return _hand_over(stack, plan.settings, folder, console)
        return _work(folder, record, plan.settings, console, still_held)[0]


def _refuse_other_gpu(plan: Plan) -> None:
    """Raises BadCommand where runs were weighed for another GPU than the one they would get."""
    gpu = plan.settings.gpu
    if gpu is not None and cluster.machine(plan.settings.launcher, {}) is None and gpu != Machine.here().gpu_model:
        kind = plan.settings.launcher.kind
        raise BadCommand([f"gpu={gpu} is for plan and for launcher=slurm: with launcher={kind} runs get what is here"])


def resume(command: Command, argv: Sequence[str], *, failed_again: bool) -> int:
    """What a controller does that is a job, and that may be one for the second time.

    GO_ON_LATER where it was told to end before the study was over.
    """
    return _resume(command, argv, screen(), failed_again=failed_again, as_job=True)


def _resume(
    command: Command, argv: Sequence[str], console: Console, *, failed_again: bool = True, as_job: bool = False
) -> int:
    folder, record = open_study(_folder(command))
    given = _settings(record, command)
    settings = cluster.attached(given, command.overrides)
    cluster.refuse_unreachable(settings.launcher)
    missing = _missing(folder, record)
    _refuse_abandoning(folder, record, settings)
    refused, notes = cluster.check(settings.launcher, folder.root, missing)
    if refused:
        raise BadCommand(refused)
    for note in notes:
        tell(console, note, style="yellow")
    with contextlib.ExitStack() as stack:
        with _writing(folder):
            still_held = stack.enter_context(held(folder))
            _note(folder, argv)
            if missing and not as_job:
                _keep_settings(folder, record, given)
            cluster.keep_code(settings.launcher, folder.root)
        if cluster.has_own_controller(settings.launcher):
            return _hand_over(stack, settings, folder, console)
        code, left = _work(folder, record, settings, console, still_held, failed_again=failed_again)
        return GO_ON_LATER if left and as_job else code


def _missing(folder: StudyFolder, record: StudyRecord) -> list[RunSpec]:
    """The runs that have not completed."""
    specs = folder.specs(record)
    results = folder.results(specs)
    return [spec for spec in specs if spec.run_id not in results or results[spec.run_id].status != "completed"]


def _keep_settings(folder: StudyFolder, record: StudyRecord, settings: StudySettings) -> None:
    """What status, cancel and a controller that is a job go by is what was said last."""
    if settings.model_dump() != record.settings:
        folder.rewrite(dataclasses.replace(record, settings=settings.model_dump()))


def _refuse_abandoning(folder: StudyFolder, record: StudyRecord, settings: StudySettings) -> None:
    """Raises BadCommand where runs have jobs on a cluster that another launcher would know nothing of."""
    before = study_settings(record.settings).launcher
    if before.kind == settings.launcher.kind and getattr(before, "cluster", "") == getattr(
        settings.launcher, "cluster", ""
    ):
        return
    jobs, _ = cluster.standings(before, folder.root)
    alive = sum(job.alive for job in jobs.values())
    if alive:
        raise BadCommand(
            [
                f"launcher: {count(alive, 'run')} of this study still {'has a job' if alive == 1 else 'have jobs'} on "
                f"the cluster: end them first (python -m orchestrator cancel {folder.root}), or wait for them"
            ]
        )


def _hand_over(lease: contextlib.ExitStack, settings: StudySettings, folder: StudyFolder, console: Console) -> int:
    """Leave the study to a controller that is a job; this one gives up its lease first."""
    lease.close()
    job, new = cluster.submit_controller(settings.launcher, folder.root)
    how = "is submitted as" if new else "is already"
    tell(console, f"the controller {how} job {job}, and goes on without this command")
    _say_where_to_look(folder, console)
    return COMPLETED


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
    *,
    failed_again: bool = True,
) -> tuple[int, bool]:
    """Carry out what the study has not finished, and tell what came of it: the exit code, and whether it was left."""
    specs = folder.specs(record)
    runs = by_trial(specs)
    objective = Objective(settings.objective.metric, settings.objective.direction)
    launcher = choose.make_launcher(settings.launcher, Machine.here(), folder.root, record.run_bytes)
    with contextlib.closing(launcher):
        watcher = progress(console, folder, len(specs), launcher.capacity)
        study = Study(
            folder,
            runs,
            sweeper=GridSweeper([runs[number][0].params for number in sorted(runs)]),
            launcher=launcher,
            objective=objective,
            observer=watcher,
            fail_fast=settings.fail_fast,
            detach=settings.launcher_detaches,
            retry=lambda spec, result: choose.retry(settings.launcher, spec, result),
            failed_again=failed_again,
            still_held=still_held,
            steps=() if settings.launcher_detaches else folder.steps(record),
        )
        with contextlib.closing(watcher), interrupting(study):
            study.carry_out()
    table = study_table(record, settings, runs, study.results, study.under_way())
    if study.results or not study.left:
        show(table, console)
    try:
        table.write(folder)
    except OSError as error:
        tell(console, f"table.md and table.csv could not be written: {error.strerror or error}", style="red")
    return _closing_words(folder, specs, study, console), bool(study.left) and not study.stopped


def _closing_words(folder: StudyFolder, specs: Sequence[RunSpec], study: Study, console: Console) -> int:
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
    missing = len(specs) - sum(result.status == "completed" for result in study.results.values())
    if study.left and study.under_way():
        return _left(folder, specs, study, console)
    if missing:
        again = f"{missing} of {len(specs)} runs missing; go on with: python -m orchestrator resume {folder.root}"
        tell(console, again)
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
    _say_where_to_look(folder, console)
    if study.left in {number.name for number in ENDING}:
        return STOPPED
    failed = any(result.status == "failed" for result in study.results.values())
    return SOME_FAILED if unsent or failed else COMPLETED


def _say_where_to_look(folder: StudyFolder, console: Console) -> None:
    tell(console, f"look:   python -m orchestrator status {folder.root}")
    tell(console, f"gather: python -m orchestrator resume {folder.root}")
    tell(console, f"end:    python -m orchestrator cancel {folder.root}")


@contextlib.contextmanager
def _writing(folder: StudyFolder) -> Iterator[None]:
    """A folder that cannot be written is the user's to mend, not a bug."""
    try:
        yield
    except OSError as error:
        raise OrchestratorError(f"{error.filename or folder.root}: {error.strerror or error}") from error


def _cancel(root: Path, console: Console) -> int:
    folder, record = open_study(root)
    settings = study_settings(record.settings)
    who = holder(folder)
    if who is not None:
        with _writing(folder):
            folder.cancel.touch()
        told = f"asked {who} to stop; its runs save a checkpoint, and resume goes on from there"
        tell(console, told)
        return 0
    asked, unreached = cluster.cancel(settings.launcher, folder.root)
    if unreached:
        raise OrchestratorError(f"Slurm does not answer: {unreached} arrays of jobs were not cancelled; try again")
    if not asked:
        tell(console, "no controller and no job works on this study: nothing to cancel")
        return 0
    tell(console, f"{count(asked, 'job')} asked to end: what waits leaves the queue, what runs saves a checkpoint")
    tell(console, "once more to end them at once")
    return 0


def _make_plan(command: Command, *, fitting: bool = True) -> Plan:
    source = Source(command.config_name, command.config_dir)
    return make_plan(command.overrides, sweep=command.multirun, source=source, machine=Machine.here(), fitting=fitting)


def _record(plan: Plan, command: Command, line: str) -> StudyRecord:
    return StudyRecord(
        name=plan.name,
        identity=plan.identity,
        command=line,
        created=clock(),
        space={key: list(values) for key, values in plan.space.items()},
        settings=plan.settings.model_dump(),
        source={"config_name": command.config_name, "config_dir": _absolute(command.config_dir)},
        runs=[run.run_id for run in plan.runs],
        steps=[step.run_id for step in plan.steps],
        run_bytes=forecast.largest(plan.memory),
        trials=len(plan.trials),
        data={name: None if report is None else report.as_dict() for name, report in plan.data.items()},
    )


def _absolute(folder: str | None) -> str | None:
    """A study may be resumed from anywhere."""
    return None if folder is None else str(Path(folder).expanduser().resolve())


def _settings(record: StudyRecord, command: Command) -> StudySettings:
    """The study's settings, with what resume was told to change: where and how runs go on, not what they compute."""
    foreign = [text for text in command.overrides if not re.match(r"(launcher(\.\w+)?|fail_fast)=", text)]
    if foreign:
        raise BadCommand([f"{text}: resume changes launcher and fail_fast alone" for text in foreign])
    return changed_settings(record.settings, command.overrides, Source(**record.source))


def _folder(command: Command) -> Path:
    (folder,) = command.folders
    return folder
