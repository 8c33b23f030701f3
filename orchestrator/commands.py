"""What the verbs do: run, resume and cancel here, plan and status by their views."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from orchestrator import forecast, search_plan, sync
from orchestrator.cli import Command, command_line
from orchestrator.command_settings import changed_settings
from orchestrator.config import Source
from orchestrator.errors import BadCommand, OrchestratorError
from orchestrator.evaluation.command import evaluate
from orchestrator.exit_codes import COMPLETED, GO_ON_LATER
from orchestrator.launchers import cluster
from orchestrator.plan import Plan, make_plan
from orchestrator.plan_view import say_what_is_not_swept, say_what_was_found, show_plan
from orchestrator.progress import log, screen
from orchestrator.settings import StudySettings, study_settings
from orchestrator.status_view import show_status
from orchestrator.store import StudyFolder, StudyRecord, held, holder, open_study
from orchestrator.terminal import tell
from orchestrator.wording import clock, count
from orchestrator.working import say_where_to_look, work_on
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
                folder.create(record, [] if plan.search is not None else [*plan.steps, *plan.runs])
            else:
                _refuse_abandoning(folder, record, plan.settings)
                record = _kept(folder, record, plan)
            known = {*record.runs, *record.steps}
            folder.write_specs([run for run in (*plan.steps, *plan.runs) if run.run_id in known])
            _note(folder, argv)
            cluster.keep_code(plan.settings.launcher, folder.root)
        if plan.search is not None:
            for line in search_plan.told(plan.settings, plan.search):
                tell(console, line)
        say_what_was_found(plan, console)
        say_what_is_not_swept(plan, command.multirun, console)
        if cluster.has_own_controller(plan.settings.launcher):
            return _hand_over(stack, plan.settings, folder, console)
        return work_on(folder, record, plan.settings, console, still_held)[0]


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
            if (missing or record.search is not None) and not as_job:
                _keep_settings(folder, record, given)
            cluster.keep_code(settings.launcher, folder.root)
        if cluster.has_own_controller(settings.launcher):
            return _hand_over(stack, settings, folder, console)
        code, left = work_on(folder, record, settings, console, still_held, failed_again=failed_again)
        return GO_ON_LATER if left and as_job else code


def _missing(folder: StudyFolder, record: StudyRecord) -> list[RunSpec]:
    """The runs of which there is no result that stands."""
    specs = folder.specs(record)
    results = folder.results(specs)
    return [spec for spec in specs if spec.run_id not in results or not results[spec.run_id].final]


def _kept(folder: StudyFolder, record: StudyRecord, plan: Plan) -> StudyRecord:
    """The record with what the command says now: of a search also how many trials, and with adopt another space."""
    search = None if plan.search is None else plan.search.record()
    now = dataclasses.replace(record, settings=plan.settings.model_dump(by_alias=True), search=search)
    if now.identity != plan.identity:
        space = {key: list(values) for key, values in plan.space.items()}
        now = dataclasses.replace(now, identity=plan.identity, space=space)
    if now != record:
        folder.rewrite(now)
    return now


def _keep_settings(folder: StudyFolder, record: StudyRecord, settings: StudySettings) -> None:
    """What status, cancel and a controller that is a job go by is what was said last."""
    if settings.model_dump(by_alias=True) != record.settings:
        folder.rewrite(dataclasses.replace(record, settings=settings.model_dump(by_alias=True)))


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
    say_where_to_look(folder, console)
    return COMPLETED


def _note(folder: StudyFolder, argv: Sequence[str]) -> None:
    """Keep the command that works on the study from now on."""
    with folder.command.open("a", encoding="utf-8", errors="backslashreplace") as commands:
        commands.write(command_line(argv) + "\n")
    log(folder, command_line(argv))


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
        search=None if plan.search is None else plan.search.record(),
        settings=plan.settings.model_dump(by_alias=True),
        source={"config_name": command.config_name, "config_dir": _absolute(command.config_dir)},
        runs=[] if plan.search is not None else [run.run_id for run in plan.runs],
        steps=[] if plan.search is not None else [step.run_id for step in plan.steps],
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
